"""Sounds: WAV files (and what else soundfile reads) as mono float32 at one rate, and tables of sounds with transcripts.

Nothing that a header says is believed before it is compared with the file: a sound is read in blocks.
"""

from __future__ import annotations

import copy
import math
import os
import stat
import struct
import warnings
import wave
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from elman.data.files import PathLike, brief, check_exists, open_bytes
from elman.data.folders import SOUNDS, with_texts
from elman.data.readers import read_table
from elman.data.table import Table
from elman.errors import DataError, ElmanError

Samples = npt.NDArray[np.float32]
MAX_SAMPLES = 1 << 28
"""Of one sound, over all its channels: nine hours at 8 kHz, half an hour of 48 kHz in three channels."""
KEPT_SAMPLES = 1 << 26
"""Sounds that were read are kept until they have so many samples, 256 MiB; the others are read again when needed."""
RATES = (100, 768_000)
_BLOCK = 1 << 20


def read_sound(path: PathLike) -> tuple[Samples, int]:
    """A sound file -> its samples (N,) in [-1, 1], channels averaged, and its rate in Hz.

    DataError for what is no sound, was cut off, has no samples, or holds numbers that are not finite.
    """
    name = os.fspath(path)
    claimed, rate = sound_size(path)
    parts, total = [], 0
    for block in _blocks(path):
        total += block.size
        if total > MAX_SAMPLES:
            raise _too_long(name, total)
        parts.append(block.mean(1, dtype=np.float32))
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise DataError(f"{name} holds no sound: its header promises {claimed:,} samples; record or convert it again")
    if not np.isfinite(samples).all():
        raise DataError(f"{name}: sample {int(np.argmin(np.isfinite(samples))) + 1:,} is not a finite number")
    return samples, rate


def sound_size(path: PathLike) -> tuple[int, int]:
    """(samples a channel, rate in Hz) of a sound file, by its header alone. DataError for a header that cannot be."""
    name = os.fspath(path)
    if stat.S_ISDIR(check_exists(path)):
        raise DataError(f"{name} is a folder where a sound is expected; name a file in it")
    with open_bytes(path) as file:
        start = file.read(12)
        if start[:4] in (b"RIFF", b"RIFX", b"RF64") and start[8:] == b"WAVE":
            _check_wav(name, file, "big" if start[:4] == b"RIFX" else "little", wide=start[:4] == b"RF64")
    frames, rate, channels = _header(path)
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{name} claims {rate:,} samples a second; {RATES[0]:,} to {RATES[1]:,} Hz are taken")
    if frames <= 0 or channels <= 0:
        raise DataError(f"{name} holds no sound: it has {max(0, frames):,} samples; record or convert it again")
    if frames * channels > MAX_SAMPLES:
        raise _too_long(name, frames * channels)
    return frames, rate


def _too_long(name: str, samples: int) -> DataError:
    return DataError(
        f"{name} claims {samples:,} samples or more; a sound may have {MAX_SAMPLES:,}, so cut it into parts"
    )


def _check_wav(name: str, file: BinaryIO, order: str, *, wide: bool) -> None:
    """DataError where a chunk of a WAV file is longer than the rest of the file: decoders read on in silence."""
    long = 0
    size = file.seek(0, os.SEEK_END)
    at = 12
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack(("<" if order == "little" else ">") + "4sI", file.read(8))
        at += 8
        if wide and kind == b"ds64" and at + 16 <= size:
            long = int(struct.unpack("<8xQ", file.read(16))[0])
        if wide and kind == b"data" and length == 0xFFFFFFFF:
            length = long
        if at + length > size:
            what = "sound" if kind == b"data" else "its header"
            raise DataError(
                f"{name} was cut off, or written without its length: {length:,} bytes of {what} are promised and "
                f"{size - at:,} are there; copy or convert it again"
            )
        at += length + length % 2


def _soundfile() -> Any:
    """The soundfile library, or None where it is missing: PCM in WAV files is then read by the standard library."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the library is there, but not the libsndfile that it needs
        return None
    return soundfile


def _header(path: PathLike) -> tuple[int, int, int]:
    """(samples a channel, rate, channels)."""
    if soundfile := _soundfile():
        try:
            about = soundfile.info(os.fspath(path))
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
            raise _no_sound(path, error) from None
        return int(about.frames), int(about.samplerate), int(about.channels)
    with _wave(path) as file:
        return file.getnframes(), file.getframerate(), file.getnchannels()


def _blocks(path: PathLike) -> Iterator[Samples]:
    """The samples (n, channels) block by block."""
    if soundfile := _soundfile():
        try:
            with soundfile.SoundFile(os.fspath(path)) as file:
                while len(block := file.read(max(1, _BLOCK // file.channels), dtype="float32", always_2d=True)):
                    yield block
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise _no_sound(path, error) from None
        return
    with _wave(path) as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        while data := file.readframes(max(1, _BLOCK // channels)):
            whole = len(data) - len(data) % (width * channels)
            yield _pcm(data[:whole], width).reshape(-1, channels)


def _wave(path: PathLike) -> wave.Wave_read:
    try:
        file = wave.open(os.fspath(path), "rb")  # noqa: SIM115 (the caller closes it)
        if file.getsampwidth() <= 4:
            return file
        file.close()
        error: Any = f"{8 * file.getsampwidth()} bits"
    except (wave.Error, EOFError, struct.error, OSError) as problem:
        error = str(problem) or "it ends too early"
    hint = "other sounds than WAV files of whole numbers need soundfile: pip install 'elman[data]'"
    raise DataError(f"{os.fspath(path)} is not a PCM WAV file ({error}); {hint}")


def _pcm(data: bytes, width: int) -> Samples:
    """Little-endian samples of 1 (unsigned), 2, 3 or 4 bytes as numbers in [-1, 1)."""
    raw = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        return (raw[:, 0].astype(np.float32) - 128) / np.float32(128)
    whole = np.zeros((len(raw), 4), np.uint8)
    whole[:, 4 - width :] = raw
    return whole.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)


def _no_sound(path: PathLike, error: Exception) -> DataError:
    reason = brief(str(error).rpartition(": ")[2].strip(" .") or type(error).__name__, 100)
    return DataError(f"{os.fspath(path)} cannot be read as a sound ({reason}); is it a whole {', '.join(SOUNDS)}?")


# -- rates -------------------------------------------------------------------------------------------------------------
def resampled(samples: Samples, before: int, after: int) -> Samples:
    """A sound (N,) at `before` Hz at `after` Hz (ceil(N · after / before),): a windowed sinc, one set of taps a phase.

    What lies above the lower of both Nyquist frequencies is taken out; from 14 % below it on it fades.
    """
    common = math.gcd(before, after)
    up, down = after // common, before // common
    if up == down:
        return samples
    cutoff = 0.93 * min(1.0, up / down)  # of the old Nyquist frequency
    reach = math.ceil(32 / cutoff)
    count = -(-len(samples) * up // down)
    padded = np.pad(samples, (reach, reach + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    result = np.empty(count, np.float32)
    for phase in range(min(up, count)):  # output n lies at n · down / up of the old samples
        places = np.arange(phase, count, up) * down // up
        offset = (phase * down) % up / up
        distance = np.arange(-reach, reach + 1) - offset
        kaiser = np.i0(7 * np.sqrt(1 - (distance / (reach + 1)) ** 2))  # 70 dB
        taps = np.sinc(cutoff * distance) * kaiser
        taps = (taps / taps.sum()).astype(np.float32)  # a constant stays what it is
        for a in range(0, len(places), _BLOCK // 16):
            part = places[a : a + _BLOCK // 16]
            result[phase + a * up : phase + (a + len(part)) * up : up] = windows[part] @ taps
    return result


class Sounds:
    """Sounds at one rate, read from their files when they are needed; every header is looked at when it is made.

    entries: paths, or arrays (N,) at `rate`. rate None: that of most files. Sounds of other rates are resampled, and a
    warning says so once. `lengths` are in samples at `rate`.
    """

    def __init__(self, entries: Sequence[Any], place: Callable[[int], str], rate: int | None = None) -> None:
        self.entries, self._place = [_entry(one, place(i)) for i, one in enumerate(entries)], place
        sizes: list[tuple[int, int | None]] = []
        for i, entry in enumerate(self.entries):
            with _named(place, i):
                sizes.append((len(entry), None) if isinstance(entry, np.ndarray) else sound_size(entry))
        found = Counter(own for _, own in sizes if own is not None)
        if rate is None and not found:
            raise DataError("arrays do not say how many samples a second they have; set the option rate, such as 16000")
        self.rate: int = rate if rate is not None else found.most_common(1)[0][0]
        if odd := [own for own in found if own != self.rate]:
            count = sum(found[own] for own in odd)
            what = f"{count:,} of {len(sizes):,} sounds have" if len(sizes) > 1 else f"{entries[0]} has"
            warnings.warn(
                f"{what} another rate ({', '.join(f'{own:,}' for own in sorted(odd)[:3])} Hz) than the model, which "
                f"takes {self.rate:,} Hz; resampled",
                stacklevel=3,
            )
        self.lengths = np.array([_length(n, own or self.rate, self.rate) for n, own in sizes], np.int64)
        self._kept: dict[int, Samples] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Samples:
        entry = self.entries[index]
        if isinstance(entry, np.ndarray):
            return entry
        if index in self._kept:
            return self._kept[index]
        with _named(self._place, index):
            samples = resampled(*read_sound(entry), self.rate)
        if self._count + len(samples) <= KEPT_SAMPLES:
            self._kept[index] = samples
            self._count += len(samples)
        return samples

    def part(self, places: Sequence[int]) -> Sounds:
        """Some of the sounds."""
        chosen = copy.copy(self)
        chosen.entries, chosen.lengths = [self.entries[i] for i in places], self.lengths[list(places)]
        chosen._place, chosen._kept, chosen._count = lambda i: self._place(places[i]), {}, 0
        return chosen

    def identity(self) -> Iterator[npt.NDArray[Any] | str]:
        """What tells these sounds from others, for resuming: arrays, names and sizes of files."""
        for entry in self.entries:
            yield entry if isinstance(entry, np.ndarray) else f"{Path(entry).name} {Path(entry).stat().st_size}"


class _named:
    """Says which record a DataError belongs to."""

    def __init__(self, place: Callable[[int], str], index: int) -> None:
        self.place, self.index = place, index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if isinstance(error, ElmanError) and (where := self.place(self.index)):
            raise DataError(f"{where}: {error}") from None


def _length(samples: int, before: int, after: int) -> int:
    return -(-samples * after // before)


def _entry(value: Any, where: str) -> Samples | str:
    """A path, or samples (N,) as float32."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or array.ndim != 1:
            raise ValueError
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: a sound is a path, or an array of samples (N,), not {type(value).__name__}"
        ) from None
    if array.dtype.kind in "iu":
        raise DataError(
            f"{where}: samples are numbers from -1 to 1; divide {array.dtype} by {np.iinfo(array.dtype).max}"
        )
    if not array.size:
        raise DataError(f"{where}: the sound has no samples")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{where}: the sound holds samples that are not finite numbers")
    return array


# -- tables ------------------------------------------------------------------------------------------------------------
def sound_table(path: PathLike, input: str = "path", target: str = "text", **reading: Any) -> Table:
    """A table of sounds: one file, a folder, or a list of files (.tsv, .csv, .jsonl) with a column `input` of paths.

    A folder gives all sounds in it and below; where a text of the same name lies beside each (a.wav, a.txt), it is the
    transcript. Paths in a list are taken from where the list lies. reading: as `read_table` takes it, for a list.
    """
    path = Path(path)
    if stat.S_ISDIR(check_exists(path)):
        return with_texts(path, SOUNDS, "sounds", input, target)
    if path.suffix.lower() in SOUNDS:
        return Table(str(path), {input: [str(path)]}, [1], "record")
    return read_table(path, **reading).beside(path.parent, input)
