"""Log-mel features of sounds in numpy: frames, mel filters, deltas, normalisation, stacking.

`elman.models.speech.log_mel` computes the same numbers in torch. Both work in float64 inside: beside a loud tone,
float32's rounding is as large as the quiet bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.errors import OptionError

Floats = npt.NDArray[np.floating[Any]]
NORMALISATIONS = ("utterance", "global")
FLOOR = 1e-9
"""Added to every band's energy, so that silence has a logarithm; 16 bits round with about 1e-10."""
LOWEST_HZ = 20.0
MAX_BANK = 1 << 18
"""Numbers of the mel filters: a model file may not claim what takes more than 2 MiB."""
LEAST_VARIANCE = 0.01
"""Added to that of a sound: silence does not become loud noise."""
DELTA = 2
"""Frames on each side that a delta is taken over."""
BLOCK = 1 << 22
"""Samples that are framed at once: a long sound takes no more memory than its features."""


@dataclass(frozen=True)
class Features:
    """How a sound at `rate` Hz becomes a sequence of vectors.

    Frames of `window_ms` every `hop_ms`; the logarithm of the energy in `mels` bands; with `deltas` their first and
    second slope over time; `stack` frames side by side make one step. Energies more than `top_db` decibels below a
    sound's loudest band count as so many below it (None: as they are). Raises OptionError for what cannot be.
    """

    rate: int
    mels: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0
    deltas: bool = False
    stack: int = 1
    top_db: float | None = None

    def __post_init__(self) -> None:
        whole = {"rate": (100, 768_000), "mels": (1, 512), "stack": (1, 64)}
        for name, (low, high) in {**whole, "window_ms": (1, 1000), "hop_ms": (0.5, 1000)}.items():
            value = getattr(self, name)
            if type(value) not in ((int,) if name in whole else (int, float)) or not low <= value <= high:
                kind = "a whole number" if name in whole else "a number"
                raise OptionError(f"--{name.replace('_', '-')} must be {kind} from {low:,} to {high:,}, not {value!r}")
        if self.top_db is not None and (type(self.top_db) not in (int, float) or not 1 <= self.top_db <= 1000):
            raise OptionError(f"--top-db must be a number from 1 to 1,000, or none, not {self.top_db!r}")
        if (self.fft // 2 + 1) * self.mels > MAX_BANK:
            raise OptionError(
                f"--window-ms {self.window_ms:g} at {self.rate:,} Hz is too long for {self.mels} bands; take a shorter "
                "one, or fewer --mels"
            )
        bins = np.floor(self._edges() * self.fft / self.rate)  # the last frequency below each edge
        if not (np.ceil(self._edges() * self.fft / self.rate)[2:] - 1 > bins[:-2]).all():
            raise OptionError(
                f"--mels {self.mels} are too many for a window of {self.window_ms:g} ms at {self.rate:,} Hz: some "
                "bands lie between two frequencies; take fewer, or a longer --window-ms"
            )

    @property
    def size(self) -> int:
        """W, the samples of a window."""
        return max(1, round(self.rate * self.window_ms / 1000))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return max(1, round(self.rate * self.hop_ms / 1000))

    @property
    def top(self) -> float:
        """`top_db` in nats."""
        return math.inf if self.top_db is None else self.top_db * math.log(10) / 10

    @property
    def channels(self) -> int:
        """Numbers a frame."""
        return self.mels * (3 if self.deltas else 1)

    @cached_property
    def window(self) -> npt.NDArray[np.float64]:
        """The Hann window (W,), of energy 1: a longer window does not make a louder sound."""
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(self.size) + 0.5) / self.size)
        return np.asarray(hann / math.sqrt(np.square(hann).sum()))

    @property
    def fft(self) -> int:
        """Points of the Fourier transform."""
        return 1 << (self.size - 1).bit_length()

    def frames(self, samples: int, tempo: float = 1.0) -> int:
        """The frames of a sound of so many samples; one that is shorter than a window has one."""
        return 1 + max(0, int((samples - self.size) / (self.hop * tempo)))

    def steps(self, samples: int, tempo: float = 1.0) -> int:
        """The steps that a network takes over it."""
        return -(-self.frames(samples, tempo) // self.stack)

    def starts(self, samples: int, tempo: float = 1.0) -> npt.NDArray[np.int64]:
        """Where each frame begins: a tempo of 1.1 takes fewer frames, as from somebody who speaks 10 % faster."""
        return (np.arange(self.frames(samples, tempo)) * (self.hop * tempo)).astype(np.int64)

    def bank(self, warp: float = 1.0) -> npt.NDArray[np.float64]:
        """The mel filters (fft // 2 + 1, mels): triangles (Davis & Mermelstein 1980).

        warp moves them as another length of the vocal tract moves the formants (Jaitly & Hinton 2013); 1: not at all.
        """
        top, edges = self.rate / 2, self._edges()
        knee = 0.8 * top * min(warp, 1.0) / warp
        edges = np.where(edges <= knee, edges * warp, top - (top - knee * warp) / (top - knee) * (top - edges))
        hz = np.arange(self.fft // 2 + 1)[:, None] * (self.rate / self.fft)
        left, middle, right = edges[:-2], edges[1:-1], edges[2:]
        return np.maximum(0, np.minimum((hz - left) / (middle - left), (right - hz) / (right - middle)))

    def centres(self) -> npt.NDArray[np.float64]:
        """The frequency (mels,) in Hz that each band hears best."""
        return self._edges()[1:-1]

    def _edges(self) -> npt.NDArray[np.float64]:
        """Where bands begin, are at their highest and end: evenly spaced on the mel scale (mels + 2,)."""
        top = self.rate / 2
        low, high = (1127 * math.log1p(hz / 700) for hz in (min(LOWEST_HZ, top / 10), top))
        return np.asarray(700 * np.expm1(np.linspace(low, high, self.mels + 2) / 1127))


def log_mel(samples: Floats, spec: Features, *, tempo: float = 1.0, warp: float = 1.0) -> npt.NDArray[np.float32]:
    """A sound (N,) in [-1, 1] -> the logarithms of its bands' energies (T, mels)."""
    if len(samples) < spec.size:
        samples = np.pad(samples, (0, spec.size - len(samples)))
    starts, bank = spec.starts(len(samples), tempo), spec.bank(warp)
    windows = np.lib.stride_tricks.sliding_window_view(samples, spec.size)
    result = np.empty((len(starts), spec.mels), np.float32)
    every = max(1, BLOCK // spec.size)
    for a in range(0, len(starts), every):
        spectrum = np.fft.rfft(windows[starts[a : a + every]] * spec.window, spec.fft)
        result[a : a + every] = np.log((spectrum.real**2 + spectrum.imag**2) @ bank + FLOOR)
    np.maximum(result, result.max() - np.float32(spec.top), out=result)
    return result


def with_deltas(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(T, C) -> (T, 3C): the features, their slope over 2 frames on each side, and the slope of that."""
    first = _slope(x)
    return np.concatenate([x, first, _slope(first)], 1)


def _slope(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    padded = np.pad(x, ((DELTA, DELTA), (0, 0)), mode="edge")
    total = np.zeros_like(x)
    for k in range(1, DELTA + 1):
        total += k * (padded[DELTA + k : len(x) + DELTA + k] - padded[DELTA - k : len(x) + DELTA - k])
    return total / np.float32(2 * sum(k * k for k in range(1, DELTA + 1)))


def stacked(x: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """(T, C) -> (ceil(T / count), count · C): neighbours side by side, zeros after the end."""
    padded = np.pad(x, ((0, -len(x) % count), (0, 0)))
    return padded.reshape(len(padded) // count, -1)


def features(
    samples: Floats, spec: Features, mean: Floats, scale: Floats, normalise: str = "global"
) -> npt.NDArray[np.float32]:
    """A sound (N,) as what the recurrent layers of a Transcriber read (steps, stack · channels).

    mean, scale (channels,): those of the training data. normalise "utterance": the sound's own mean of each channel and
    one deviation over all of them are taken out before.
    """
    x = log_mel(samples, spec)
    if spec.deltas:
        x = with_deltas(x)
    if normalise == "utterance":
        x = (x - x.mean(0, dtype=np.float64)).astype(np.float32)
        x /= np.float32(np.sqrt(np.square(x, dtype=np.float64).mean() + LEAST_VARIANCE))
    return stacked(((x - mean) / scale).astype(np.float32), spec.stack)
