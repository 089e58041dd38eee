"""The network of a captioner: what reads a picture, a clip or features, and the decoder that writes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.models.estimator import initial_linear
from elman.models.write.decoder import Carried, DecoderNetwork
from elman.models.write.views import View
from elman.nn import Attention, Recurrent
from elman.nn.attention import Memory
from elman.nn.head import last_output

SIDE = 8
"""The convolution halves a picture until no side is longer than this."""


def halvings(height: int, width: int) -> int:
    """How often a picture is halved, once at least."""
    return max(1, math.ceil(math.log2(max(height, width) / SIDE)))


def grid(view: View) -> tuple[int, ...]:
    """The places that attention chooses from: of a picture those after the convolution; else of the features."""
    if not view.drawn:
        return view.places
    height, width, _ = view.shape
    for _ in range(halvings(height, width)):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def convolution(view: View, channels: int) -> nn.Sequential:
    """(N, C, h, w) -> (N, channels, *grid): layers of 3 x 3 that halve each side, and one more that does not."""
    height, width, size = view.shape
    layers: list[nn.Module] = []
    count = halvings(height, width)
    for k in range(count + 1):
        wide = max(1, channels // 2) if k == 0 else channels
        layer = nn.Conv2d(size, wide, 3, stride=2 if k < count else 1, padding=1)
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        layers += [layer, nn.ReLU()]
        size = wide
    return nn.Sequential(*layers)


class CaptionerNetwork(DecoderNetwork):
    """Inputs of a View -> the memory (S, B, M) and its summary (B, N), from which the decoder writes.

    Features are scaled; pictures go through the convolution. Places of a grid become relu(W·x + p), with an embedding
    p of the place, so that attention can tell left from right. Frames are read by recurrent layers.
    """

    def __init__(
        self, view: View, channels: int, size: int, target: nn.Embedding, encoder: Recurrent | None, decoder: Recurrent,
        attention: Attention | None, **options: Any,
    ) -> None:  # fmt: skip
        wide = view.shape[-1] if view.kind == "vector" else size if encoder is None else encoder.output_size
        super().__init__(target, decoder, wide, attention, **options)
        self.view, self.encoder = view, encoder
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(view.shape[-1], device="cpu"))
        self.register_buffer("scale", torch.ones(view.shape[-1], device="cpu"))
        places, features = math.prod(grid(view)), view.shape[-1]
        self.convolution: nn.Sequential | None = None
        self.project: nn.Linear | None = None
        self.places: nn.Parameter | None = None
        if view.drawn:
            self.convolution = convolution(view, channels)
            features = channels * places if view.kind == "clip" else channels
        if view.kind in ("grid", "image", "clip"):
            self.project = initial_linear(nn.Linear(features, size))
        if view.kind in ("grid", "image"):
            self.places = nn.Parameter(torch.empty(places, size))
            nn.init.uniform_(self.places, -0.1, 0.1)

    def encode(self, x: Tensor, lengths: Sequence[int] | None) -> tuple[Memory | None, Carried]:
        """Vectors (B, I), grids (B, ..., I), pictures (B, h, w, C), or frames (T, B, I) and clips (T, B, h, w, C) with
        lengths -> what the decoder looks at, and what it begins from."""
        x = (x.to(self.output.weight.dtype) - self.mean) / self.scale
        if self.encoder is not None:
            frames = x if self.convolution is None else self._frames(x)
            output, state = self.encoder(self.dropout(frames), lengths=lengths)
            summary = last_output(self.encoder, state)
            return self.remember(self.dropout(output), lengths), self.begin(self.dropout(summary))
        if self.places is None:
            return None, self.begin(self.dropout(x))
        assert self.project is not None
        if self.convolution is not None:
            x = self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        memory = (self.project(x.flatten(1, -2)) + self.places).relu().transpose(0, 1)
        return self.remember(self.dropout(memory)), self.begin(self.dropout(memory.mean(0)))

    def _frames(self, x: Tensor) -> Tensor:
        """Clips (T, B, h, w, C) -> vectors (T, B, H)."""
        assert self.convolution is not None
        assert self.project is not None
        seen = self.convolution(x.flatten(0, 1).permute(0, 3, 1, 2)).flatten(1)
        vectors: Tensor = self.project(seen).relu()
        return vectors.view(*x.shape[:2], -1)
