"""Sounds made different each time they are learnt from: tempo, vocal tract, noise, masks.

A pure function of seeds, so that a resumed run hears what the one that was not interrupted heard. Masks after
SpecAugment (Park et al. 2019), vocal tracts after Jaitly & Hinton 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MASKED_SECONDS = 0.1
MASKED_SHARE = 0.2  # of the bands, and at most of a sound's frames
NOISE_DB = (5.0, 30.0)  # of the sound above the noise


@dataclass(frozen=True)
class Perturbation:
    """How much: tempo and warp as shares, noise as the share of sounds that get some, masks as numbers."""

    tempo: float = 0.0
    warp: float = 0.0
    noise: float = 0.0
    time_masks: int = 0
    mel_masks: int = 0

    def rates(self, random: np.random.Generator, count: int) -> tuple[list[float], list[float]]:
        """(tempo, warp) of each sound: as often so much faster as slower."""
        pair = [np.exp(random.uniform(-np.log1p(most), np.log1p(most), count)) for most in (self.tempo, self.warp)]
        return pair[0].tolist(), pair[1].tolist()

    def noisy(self, random: np.random.Generator, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The sound (N,), or it with white noise of some loudness."""
        if not self.noise or random.random() >= self.noise:
            return samples
        power = float(np.square(samples, dtype=np.float64).mean()) * 10 ** (-random.uniform(*NOISE_DB) / 10)
        return samples + random.normal(0, np.sqrt(power), len(samples)).astype(np.float32)

    def masks(
        self, random: np.random.Generator, frames: list[int], mels: int, hop_seconds: float
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """What is silenced: frames (T, B) and bands (B, mels)."""
        times = np.zeros((max(frames), len(frames)), bool)
        bands = np.zeros((len(frames), mels), bool)
        for b, count in enumerate(frames):
            longest = int(min(MASKED_SECONDS / hop_seconds, MASKED_SHARE * count))
            for _ in range(self.time_masks):
                width = int(random.integers(0, longest + 1))
                start = int(random.integers(0, count - width + 1))
                times[start : start + width, b] = True
            for _ in range(self.mel_masks):
                width = int(random.integers(0, int(MASKED_SHARE * mels) + 1))
                start = int(random.integers(0, mels - width + 1))
                bands[b, start : start + width] = True
        return times, bands
