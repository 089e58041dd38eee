"""Log-mel features of batches of sounds in torch: the same numbers as `elman.runtime.features`, wherever torch runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.nn import ragged
from elman.runtime.features import BLOCK, DELTA, FLOOR, LEAST_VARIANCE, Features


class LogMel(nn.Module):
    """Sounds (B, N) of so many samples each -> normalised features (T, B, channels) and how many frames are theirs.

    Without weights. `mean` and `scale` (channels,) are set from the training data. Frames beyond a sound's end are 0.
    """

    def __init__(self, spec: Features, normalise: str = "global") -> None:
        super().__init__()
        self.spec, self.normalise = spec, normalise
        self.window: Tensor
        self.bank: Tensor
        self.mean: Tensor
        self.scale: Tensor
        with torch.device("cpu"):  # also where a model file is read on the meta device
            self.register_buffer("window", torch.from_numpy(spec.window.copy()))
            self.register_buffer("bank", torch.from_numpy(spec.bank()))
            self.register_buffer("mean", torch.zeros(spec.channels))
            self.register_buffer("scale", torch.ones(spec.channels))

    def forward(
        self,
        samples: Tensor,
        lengths: Sequence[int],
        tempo: Sequence[float] | None = None,
        warp: Sequence[float] | None = None,
    ) -> tuple[Tensor, list[int]]:
        x, frames = self.log_mel(samples, lengths, tempo, warp)
        ends = torch.tensor(frames, device=x.device)
        if self.spec.deltas:
            first = _slope(x, ends)
            x = torch.cat([x, first, _slope(first, ends)], -1)
        inside = ragged.inside(frames, x)
        if self.normalise == "utterance":
            wide = x.double().masked_fill(~inside, 0)
            x = (wide - wide.sum(0) / ends[:, None]).masked_fill(~inside, 0).to(x.dtype)
            variance = x.double().square().sum((0, 2)) / (ends * self.spec.channels)
            x = x / (variance + LEAST_VARIANCE).sqrt().to(x.dtype)[:, None]
        return ((x - self.mean) / self.scale).masked_fill(~inside, 0), frames

    def log_mel(
        self, samples: Tensor, lengths: Sequence[int], tempo: Any = None, warp: Any = None
    ) -> tuple[Tensor, list[int]]:
        """The logarithms of the bands' energies (T, B, mels), and the frames of each sound."""
        spec, batch = self.spec, len(lengths)
        starts = [spec.starts(n, 1.0 if tempo is None else tempo[b]) for b, n in enumerate(lengths)]
        frames = [len(one) for one in starts]
        places = np.zeros((max(frames), batch), np.int64)  # beyond a sound's end the first frame again, masked later
        for b, one in enumerate(starts):
            places[: len(one), b] = one
        at = torch.from_numpy(places).to(samples.device)
        bank = self.bank
        if warp is not None:
            bank = torch.from_numpy(np.stack([spec.bank(one) for one in warp])).to(samples.device)  # (B, F, mels)
        missing = max(0, spec.size - samples.shape[1])
        windows = nn.functional.pad(samples, (0, missing)).unfold(1, spec.size, 1)  # (B, N - W + 1, W), a view
        every, column = max(1, BLOCK // (batch * spec.size)), torch.arange(batch, device=samples.device)
        parts = []
        for a in range(0, len(at), every):
            framed = windows[column, at[a : a + every]].double() * self.window  # (t, B, W)
            spectrum = torch.fft.rfft(framed, spec.fft)
            power = spectrum.real**2 + spectrum.imag**2
            bands = power @ bank if warp is None else torch.einsum("tbf,bfm->tbm", power, bank)
            parts.append((bands + FLOOR).log().float())
        x = torch.cat(parts)  # after a sound's end its first frame stands, which changes no maximum
        return x.maximum(x.amax((0, 2), keepdim=True) - spec.top), frames


def _slope(x: Tensor, ends: Tensor) -> Tensor:
    """The slope over time (T, B, C); before the first frame of a sound and after its last these two go on."""
    total = torch.zeros_like(x)
    at = torch.arange(len(x), device=x.device)[:, None]
    column = torch.arange(x.shape[1], device=x.device)
    for k in range(1, DELTA + 1):
        after, before = torch.minimum(at + k, ends - 1), (at - k).clamp(min=0)
        total += k * (x[after, column] - x[before, column])
    return total / (2 * sum(k * k for k in range(1, DELTA + 1)))


def stacked(x: Tensor, count: int) -> Tensor:
    """(T, B, C) -> (ceil(T / count), B, count · C): neighbours side by side, zeros after the end."""
    if count == 1:
        return x
    x = nn.functional.pad(x, (0, 0, 0, 0, 0, -len(x) % count))
    steps, batch, channels = len(x) // count, *x.shape[1:]
    return x.view(steps, count, batch, channels).transpose(1, 2).reshape(steps, batch, count * channels)
