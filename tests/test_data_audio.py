"""Sounds: every width of PCM by both decoders, hostile headers, resampling against the tone itself, lists, folders."""

from __future__ import annotations

import io
import struct
import tarfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import audio, read_table
from elman.data.audio import Sounds, read_sound, resampled, sound_size, sound_table
from elman.errors import DataError


@pytest.fixture(params=["soundfile", "wave"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read; the second is that of an installation without soundfile."""
    if request.param == "wave":
        monkeypatch.setattr(audio, "_soundfile", lambda: None)
    return str(request.param)


def pcm(values: np.ndarray, width: int) -> bytes:
    """Values in [-1, 1) as little-endian PCM."""
    whole = np.round(values * 2.0 ** (8 * width - 1)).astype(np.int64)
    if width == 1:
        return (whole + 128).astype(np.uint8).tobytes()
    return b"".join(int(v).to_bytes(width, "little", signed=True) for v in whole.ravel())


def write(path: Path, values: np.ndarray, rate: int = 8000, width: int = 2) -> Path:
    """values (N,) or (N, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if values.ndim == 1 else values.shape[1], width, rate, 0, "NONE", ""))
        file.writeframes(pcm(values, width))
    return path


def tone(count: int, hertz: float, rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_width_and_channel(tmp_path: Path, decoder: str, width: int, channels: int) -> None:
    values = np.random.default_rng(0).uniform(-0.9, 0.9, (37, channels))
    path = write(tmp_path / "a.wav", values, 11025, width)
    samples, rate = read_sound(path)
    assert (rate, samples.dtype, samples.shape) == (11025, np.float32, (37,))
    assert np.allclose(samples, values.mean(1), atol=2.0 ** (1 - 8 * width) + 1e-7)
    assert sound_size(path) == (37, 11025)


def test_a_sound_longer_than_a_block(tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_BLOCK", 10)
    values = np.linspace(-0.9, 0.9, 101)
    assert np.allclose(read_sound(write(tmp_path / "a.wav", values))[0], values, atol=1e-4)


def test_floats_need_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = np.array([0.25, -1.5, 3.0], np.float32)
    soundfile.write(tmp_path / "a.wav", values, 16000, subtype="FLOAT")
    assert read_sound(tmp_path / "a.wav")[0].tolist() == values.tolist()
    soundfile.write(tmp_path / "b.flac", values / 4, 16000)
    assert np.allclose(read_sound(tmp_path / "b.flac")[0], values / 4, atol=1e-4)
    soundfile.write(tmp_path / "c.wav", np.array([0.0, np.nan], np.float32), 16000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"c\.wav: sample 2 is not a finite number"):
        read_sound(tmp_path / "c.wav")
    monkeypatch.setattr(audio, "_soundfile", lambda: None)
    with pytest.raises(DataError, match=r"pip install 'elman\[data\]'"):
        read_sound(tmp_path / "a.wav")


def test_files_that_are_no_sounds(tmp_path: Path, decoder: str) -> None:
    whole = write(tmp_path / "whole.wav", np.zeros(100)).read_bytes()
    bad: dict[str, tuple[bytes, str]] = {
        "empty.wav": (b"", "cannot be read as a sound|not a PCM WAV"),
        "text.wav": (b"hello, this is a text and no sound at all\n" * 5, "cannot be read as a sound|not a PCM WAV"),
        "none.wav": (write(tmp_path / "n.wav", np.zeros(0)).read_bytes(), "holds no sound: it has 0 samples"),
        "cut.wav": (whole[:-50], r"was cut off.*200 bytes of sound are promised and 150 are there"),
        "huge.wav": (whole[:40] + struct.pack("<I", 0xFFFFFFF0) + whole[44:], "4,294,967,280 bytes of sound"),
        "header.wav": (whole[:16] + struct.pack("<I", 1 << 30) + whole[20:], "1,073,741,824 bytes of its header"),
        "slow.wav": (whole[:24] + struct.pack("<I", 1) + whole[28:], "claims 1 samples a second"),
        "fast.wav": (whole[:24] + struct.pack("<I", 10**9) + whole[28:], "claims 1,000,000,000 samples a second"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            read_sound(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"there is no file .*wole\.wav \(did you mean 'whole\.wav'\?\)"):
        read_sound(tmp_path / "wole.wav")
    with pytest.raises(DataError, match="is a folder where a sound is expected"):
        read_sound(tmp_path)


def test_a_sound_that_is_too_long(tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_SAMPLES", 99)
    with pytest.raises(DataError, match="claims 100 samples or more; a sound may have 99"):
        sound_size(write(tmp_path / "a.wav", np.zeros(100)))


def test_damaged_files_are_read_or_refused(tmp_path: Path, decoder: str) -> None:
    """Headers with any byte changed, files cut anywhere: samples, or one sentence."""
    whole = write(tmp_path / "whole.wav", np.linspace(-0.5, 0.5, 60)).read_bytes()
    random = np.random.default_rng(1)
    damaged = [whole[:count] for count in range(0, len(whole), 7)]
    for _ in range(200):
        copy = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            copy[random.integers(0, 44)] = random.integers(0, 256)
        damaged.append(bytes(copy))
    read = 0
    for content in damaged:
        (tmp_path / "a.wav").write_bytes(content)
        try:
            samples, _ = read_sound(tmp_path / "a.wav")
        except DataError:
            continue
        read += 1
        assert 0 < len(samples) <= 8 * len(whole)
    assert 0 < read < len(damaged)


# -- rates -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "after"), [(8000, 16000), (16000, 8000), (44100, 16000), (8000, 11025), (7919, 8009), (48000, 8000)]
)
def test_a_tone_at_another_rate_is_the_tone(before: int, after: int) -> None:
    count, hertz = before // 4, 0.3 * min(before, after)
    found = resampled(tone(count, hertz, before).astype(np.float32), before, after)
    assert len(found) == -(-count * after // before)
    middle = slice(len(found) // 4, -len(found) // 4)  # the ends know nothing of what lies beyond them
    assert np.abs(found - tone(len(found), hertz, after))[middle].max() < 1e-3  # -54 dB, of a filter made for -70
    flat = resampled(np.ones(count, np.float32), before, after)
    assert np.allclose(flat[middle], 1, atol=1e-5)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    found = resampled(tone(16000, 6000, 16000).astype(np.float32), 16000, 8000)
    assert np.abs(found[1000:-1000]).max() < 1e-3
    same = np.arange(5, dtype=np.float32)
    assert resampled(same, 8000, 8000) is same
    assert len(resampled(np.ones(1, np.float32), 48000, 8000)) == 1


# -- sounds ------------------------------------------------------------------------------------------------------------
def test_sounds_come_at_one_rate(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.wav", tone(800 + i, 440, 8000)) for i in range(3)]
    paths.append(write(tmp_path / "other.wav", tone(1601, 440, 16000), 16000))
    with pytest.warns(UserWarning, match=r"1 of 4 sounds have another rate \(16,000 Hz\).*8,000 Hz; resampled"):
        sounds = Sounds(paths, str)
    assert sounds.rate == 8000
    assert [len(sounds[i]) for i in range(4)] == sounds.lengths.tolist() == [800, 801, 802, 801]
    assert np.allclose(sounds[3][100:700], tone(801, 440, 8000)[100:700], atol=1e-3)
    assert sounds[0] is sounds[0]  # kept
    some = sounds.part([3, 0])
    assert [len(some), *some.lengths] == [2, 801, 800]
    assert np.array_equal(some[1], sounds[0])
    with pytest.warns(UserWarning, match="8,000 Hz"):
        assert Sounds(paths[:1], str, 4000).lengths.tolist() == [400]


def test_sounds_beyond_the_store_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "KEPT_SAMPLES", 150)
    sounds = Sounds([write(tmp_path / f"{i}.wav", tone(100, 440, 8000)) for i in range(2)], str)
    assert sounds[0] is sounds[0]
    assert sounds[1] is not sounds[1]
    assert np.array_equal(sounds[1], sounds[1])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (np.zeros(5, np.int16), "samples are numbers from -1 to 1; divide int16 by 32767"),
        (np.zeros((5, 2)), "an array of samples"),
        (["a"], "a sound is a path"),
        (3, "a sound is a path"),
        (np.zeros(0), "no samples"),
        (np.array([0, np.inf]), "not finite"),
        ("missing.wav", "there is no file missing.wav"),
    ],
)
def test_entries_that_are_no_sounds(entry: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        Sounds([np.zeros(3), entry], lambda i: f"record {i}", 8000)
    assert str(error.value).startswith("record 1: ")


def test_arrays_need_a_rate() -> None:
    with pytest.raises(DataError, match="set the option rate"):
        Sounds([np.zeros(3)], str)


# -- tables ------------------------------------------------------------------------------------------------------------
def test_lists_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.wav", "a.WAV", "deep/c.wav"):
        write(folder / name, np.zeros(10))
    (folder / "README.md").write_text("not a sound")
    assert sound_table(folder).columns == {"path": [str(folder / n) for n in ("a.WAV", "b.wav", "deep/c.wav")]}
    assert sound_table(folder / "b.wav").columns == {"path": [str(folder / "b.wav")]}
    (folder / "b.txt").write_text("bee\n  bee\n")
    with pytest.raises(DataError, match=r"a\.WAV has no text beside it \(a\.txt\)"):
        sound_table(folder)
    (folder / "a.txt").write_text("ay")
    (folder / "deep" / "c.txt").write_text("sea")
    assert sound_table(folder, target="said").columns["said"] == ["ay", "bee bee", "sea"]
    (tmp_path / "list.tsv").write_text("path\ttext\nclips/b.wav\tbee\n")
    assert sound_table(tmp_path / "list.tsv").columns == {"path": [str(folder / "b.wav")], "text": ["bee"]}
    with pytest.raises(DataError, match="no column 'file'"):
        sound_table(tmp_path / "list.tsv", "file")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none holds no sounds"):
        sound_table(tmp_path / "none")


def test_real_digits(shared_data: Path, tmp_path: Path) -> None:
    """As long as the list that came with them says."""
    folder = shared_data / "fsdd"
    index = read_table(folder / "index.csv")
    frames = dict(zip(index.column("file"), map(int, index.column("frames"))))
    with tarfile.open(folder / "test.tar.gz") as archive:
        members = [member for member in archive if member.name.endswith(".wav")][:20]
        for member in members:
            content = archive.extractfile(member)
            assert content is not None
            raw = content.read()
            path = tmp_path / Path(member.name).name
            path.write_bytes(raw)
            samples, rate = read_sound(path)
            assert (len(samples), rate) == (frames[path.name], 8000)
            with wave.open(io.BytesIO(raw)) as file:
                expected = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
            assert np.array_equal(samples, expected.astype(np.float32))
