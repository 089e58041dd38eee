"""What a forecaster learns from: random windows of all series, the same for the same seed and epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from elman.data.batching import random
from elman.data.timeseries import TimeSeries
from elman.models.forecast import network
from elman.models.forecast.windows import Batch, Indices, Windows

UNKNOWN_SHARE = 0.05
"""How often a series is taken as unknown while learning, so that the network can read one that it never saw."""


class Trainee:
    """What the loop trains: `model`, a Forecaster, on random windows of all series."""

    unit = "values"
    monitor = "loss"
    maximize = False

    def __init__(
        self,
        model: Any,
        windows: Windows,
        train: tuple[Indices, Indices],
        held_windows: Windows,
        held: tuple[Indices, Indices],
    ) -> None:
        self.model, self.module = model, model.module_
        self.windows, self.train, self.held_windows, self.held = windows, train, held_windows, held

    def epoch(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Batches of windows drawn at random, and which of their series are taken as unknown."""
        generator, size = random(self.model.seed, number), (self.model.epoch_batches, self.model.batch_size)
        drawn = generator.integers(0, len(self.train[0]), size=size)
        return list(zip(drawn, generator.random(size) < UNKNOWN_SHARE))

    def loss(self, batch: tuple[np.ndarray, np.ndarray], carry: Any) -> tuple[Tensor, int, None]:
        drawn, unknown = batch
        given = self.windows.batch(self.train[0][drawn], self.train[1][drawn])
        given.series[unknown] = 0
        total, count = self._sum(self.windows, given)
        return total / count.clamp(min=1), max(1, int(count)), None

    def _sum(self, windows: Windows, given: Batch) -> tuple[Tensor, Tensor]:
        return network.loss(self.module, self.model.likelihood, windows.recipe, given, self.model._like)

    def validate(self) -> dict[str, float]:
        total, count = 0.0, 0.0
        for start in range(0, len(self.held[0]), 256):
            chosen = slice(start, start + 256)
            one, many = self._sum(
                self.held_windows, self.held_windows.batch(self.held[0][chosen], self.held[1][chosen])
            )
            total, count = total + float(one), count + float(many)
        return {"loss": total / count} if count else {}


def true_values(series: list[TimeSeries], number: Indices, origins: Indices, horizon: int) -> np.ndarray:
    """(N, H): what came after each origin."""
    return np.stack([series[index].values[origin : origin + horizon] for index, origin in zip(number, origins)])


def thinned(windows: tuple[Indices, Indices], most: int) -> tuple[Indices, Indices]:
    """At most so many of the windows, evenly chosen."""
    count = len(windows[0])
    kept = np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))
    return windows[0][kept], windows[1][kept]


def whole_scale(values: np.ndarray, scaling: str) -> tuple[float, float]:
    """(center, scale) of a whole series."""
    there = values[~np.isnan(values)]
    if scaling == "none" or not len(there):
        return 0.0, 1.0
    center, scale = (0.0, np.abs(there).mean()) if scaling == "mean" else (there.mean(), there.std())
    return float(center), float(scale) if scale > 1e-7 * abs(center) else max(abs(float(center)), 1.0)
