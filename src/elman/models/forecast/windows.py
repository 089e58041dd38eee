"""Windows of series as a forecaster's network reads them: scaled, with seasons, calendar and inputs, gaps filled.

A window has its origin at step t0: L steps of lookback before it, H steps of horizon from it on. The network's input at
step t tells what is known before t: the value at t - 1, and what the calendar, the seasons and known inputs say of t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.data.times import calendar
from elman.data.timeseries import TimeSeries
from elman.errors import DataError

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_FLOOR = 0.05  # a window's scale is at least this share of its series' so far: a quiet lookback says little


@dataclass(frozen=True)
class Recipe:
    """All that decides how a window is read."""

    lookback: int
    horizon: int
    recursive: bool = False
    seasons: tuple[int, ...] = ()
    relative: str = "none"
    scaling: str = "standard"
    calendar: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()

    @property
    def moving(self) -> int:
        """Columns of the input that follow the values; they come first."""
        return 3 + 2 * len(self.seasons)

    @property
    def input_size(self) -> int:
        """I, without what stands for the series itself."""
        direct = 0 if self.recursive else 1
        return self.moving + direct + 4 * len(self.calendar) + len(self.known) + len(self.past)


@dataclass(frozen=True)
class Batch:
    """Windows side by side; T = L + H."""

    x: npt.NDArray[np.float32]
    """(T, B, I)"""
    target: npt.NDArray[np.float32]
    """(T, B) scaled values, 0 where there is none."""
    inside: npt.NDArray[np.bool_]
    """(T, B): whether there is a value."""
    reference: npt.NDArray[np.float32]
    """(T, B) the scaled value that the network's output is added to."""
    center: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    """(B): value = center + scale · scaled value."""
    series: Indices
    """(B) the series as the network knows it: 0 unknown, else its number plus 1."""
    recent: npt.NDArray[np.float32]
    """(R, B) the last scaled values before the origin, as many as the seasons look back."""


class Windows:
    """Series laid end to end, each with room for a horizon after its last value."""

    def __init__(
        self,
        series: Sequence[TimeSeries],
        recipe: Recipe,
        *,
        inputs: tuple[Array, Array] | None = None,
        scales: dict[str, tuple[float, float]] | None = None,
        numbers: dict[str, int] | None = None,
    ) -> None:
        """inputs: (mean, scale) of the known and past inputs; scales: of the series learnt from, where they are scaled
        by those; numbers: the series that the network knows apart."""
        self.series, self.recipe = list(series), recipe
        self.lengths = np.array([len(one) for one in series], np.int64)
        ends = np.cumsum(self.lengths + recipe.horizon)
        self.offsets = ends - self.lengths - recipe.horizon
        total = int(ends[-1]) if len(ends) else 0
        self.values, self.observed = np.zeros(total), np.zeros(total, bool)
        self.spread = np.zeros(total)
        self.ahead = np.zeros((total, 4 * len(recipe.calendar) + len(recipe.known)), np.float32)
        self.past = np.zeros((total, len(recipe.past)), np.float32)
        self.inputs = self._input_scales() if inputs is None else inputs
        for one, offset in zip(series, self.offsets):
            self._lay(one, int(offset))
        self.numbers = np.array([(numbers or {}).get(one.name, -1) + 1 for one in series], np.int64)
        fixed = [(scales or {}).get(one.name) for one in series]
        self.fixed = np.array([(np.nan, np.nan) if pair is None else pair for pair in fixed]).reshape(-1, 2)

    def _input_scales(self) -> tuple[Array, Array]:
        """Mean and scale of every known and past input over all series."""
        columns = [
            np.concatenate([getattr(one, kind)[:, column] for one in self.series])
            for kind, names in (("known", self.recipe.known), ("past", self.recipe.past))
            for column in range(len(names))
        ]
        there = [column[~np.isnan(column)] for column in columns]
        for name, column in zip((*self.recipe.known, *self.recipe.past), there):
            if not len(column):
                raise DataError(f"the input {name!r} has no values at all; leave it out")
        mean = np.array([column.mean() for column in there])
        deviation = np.array([column.std() for column in there])
        return mean, np.where(deviation <= 1e-7 * np.abs(mean) + 1e-30, 1.0, deviation)

    def _lay(self, one: TimeSeries, offset: int) -> None:
        recipe, length = self.recipe, len(one)
        here = slice(offset, offset + length)
        there = ~np.isnan(one.values)
        if not there.any():
            raise DataError(f"series {brief(one.name)} has no values, all are missing; leave it out")
        self.values[here] = filled = _filled(one.values, there, recipe.seasons)
        self.observed[here] = there
        self.spread[here] = _spread_so_far(filled, recipe.scaling)
        whole = slice(offset, offset + length + recipe.horizon)
        dates = 4 * len(recipe.calendar)
        if dates:
            assert one.frequency is not None, "the estimator has seen to it"
            times = one.frequency.times(one.start, 0, length + recipe.horizon)
            self.ahead[whole, :dates] = calendar(times, recipe.calendar)
        mean, scale = self.inputs
        if recipe.known:
            rows = one.known[: length + recipe.horizon]
            count = len(recipe.known)
            self.ahead[offset : offset + len(rows), dates:] = (_carried(rows, mean[:count]) - mean[:count]) / scale[
                :count
            ]
        if recipe.past:
            ours = slice(len(recipe.known), None)
            self.past[here] = (_carried(one.past, mean[ours]) - mean[ours]) / scale[ours]

    def require_values(self, steps: int = 0, why: str = "") -> None:
        """DataError for a series that is shorter than a lookback before its last `steps`, which are there for `why`."""
        need = self.recipe.lookback + steps
        for one in self.series:
            if len(one) < need:
                judged = f" and {steps:,} {why}" if steps else ""
                raise DataError(
                    f"series {brief(one.name)} has {len(one):,} values, but {need:,} are needed: the model's lookback "
                    f"of {self.recipe.lookback:,}{judged}"
                )

    def require_known(self, series: Indices, origins: Indices) -> None:
        """DataError where a known input is missing in the horizon of one of these windows."""
        for number, origin in zip(series, origins) if self.recipe.known else ():
            one, rows = self.series[number], np.full((self.recipe.horizon, len(self.recipe.known)), np.nan)
            there = one.known[origin : origin + self.recipe.horizon]
            rows[: len(there)] = there
            if np.isnan(rows).any():
                step, column = np.argwhere(np.isnan(rows))[0]
                raise DataError(
                    f"series {brief(one.name)}: the known input {self.recipe.known[column]!r} is missing at "
                    f"{one.times(origin + step, 1)[0]}, step {step + 1} of {self.recipe.horizon} to be forecast; give "
                    "rows with it"
                )

    # -- which windows there are ---------------------------------------------------------------------------------------
    def origins(self, first: Indices, last: Indices, stride: int = 1) -> tuple[Indices, Indices]:
        """(series, origin), both (S,): in each series the origins first, first + stride, ... up to last."""
        counts = np.maximum((last - first) // stride + 1, 0)
        series = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return series, first[series] + stride * place

    # -- a batch -------------------------------------------------------------------------------------------------------
    def batch(self, series: Indices, origins: Indices) -> Batch:
        """The windows (B) of these series with these origins."""
        recipe = self.recipe
        steps = origins + np.arange(-recipe.lookback, recipe.horizon)[:, None]  # (T, B)
        offset, length = self.offsets[series], self.lengths[series]
        limit = length if recipe.recursive else origins  # values from here on are not to be seen
        center, scale = self._scales(series, origins)

        def scaled(at: Indices) -> Array:
            """The values at these steps of the series; those before its beginning as the first."""
            return np.asarray((self.values[offset + np.clip(at, 0, limit - 1)] - center) / scale)

        def seen(at: Indices) -> Array:
            return np.asarray((at >= 0) & (at < limit) & self.observed[offset + np.clip(at, 0, limit - 1)])

        before = steps - 1
        known = before < limit
        value = np.where(known & (before >= 0), scaled(before), 0.0)
        columns = [value, np.where(known & (before >= 1), value - scaled(before - 1), 0.0), seen(before)]
        lags = []
        for season in recipe.seasons:
            lags.append(scaled(self._season_before(steps, season, limit)))
            error = value - scaled(self._season_before(before, season, limit))
            columns += [lags[-1], np.where(known & (before >= season), error, 0.0)]
        if not recipe.recursive:
            columns.append(np.maximum(steps - origins + 1, 0) / recipe.horizon)
        x = np.concatenate(
            [
                np.stack(columns, -1).astype(np.float32),
                self.ahead[offset + np.clip(steps, 0, length + recipe.horizon - 1)],
                np.where(known[..., None], self.past[offset + np.clip(before, 0, limit - 1)], 0.0).astype(np.float32),
            ],
            -1,
        )  # fmt: skip
        reference = np.zeros_like(value)
        if recipe.relative != "none":
            reference = lags[0] if recipe.relative == "season" else scaled(before)
        inside = (steps >= 0) & (steps < length) & self.observed[offset + np.clip(steps, 0, length - 1)]
        target = (self.values[offset + np.clip(steps, 0, length - 1)] - center) / scale
        recent = origins + np.arange(-max(2, *recipe.seasons, 2), 0)[:, None]
        return Batch(
            x, np.where(inside, target, 0.0).astype(np.float32), inside, reference.astype(np.float32),
            center.astype(np.float32), scale.astype(np.float32), self.numbers[series],
            ((self.values[offset + np.clip(recent, 0, None)] - center) / scale).astype(np.float32),
        )  # fmt: skip

    @staticmethod
    def _season_before(steps: Indices, season: int, limit: Indices) -> Indices:
        """The last step of the same place in the season that may be seen."""
        back = np.maximum(1, -((limit - 1 - steps) // season))
        return np.asarray(steps - season * back)

    def _scales(self, series: Indices, origins: Indices) -> tuple[Array, Array]:
        """(center, scale), both (B), from the lookback alone, or as the model knows the series."""
        kind = self.recipe.scaling
        if kind == "none":
            return np.zeros(len(series)), np.ones(len(series))
        at = self.offsets[series] + np.maximum(origins + np.arange(-self.recipe.lookback, 0)[:, None], 0)  # (L, B)
        values, there = self.values[at], self.observed[at]
        there = there | ~there.any(0)
        count = there.sum(0)
        if kind == "mean":
            center, scale = np.zeros(len(series)), np.where(there, np.abs(values), 0).sum(0) / count
        else:
            center = np.where(there, values, 0).sum(0) / count
            scale = np.sqrt((np.where(there, values - center, 0) ** 2).sum(0) / count)
        scale = np.maximum(scale, _FLOOR * self.spread[at[-1]])
        flat = scale <= 1e-7 * np.abs(center)
        scale = np.where(flat, np.maximum(np.abs(center), 1e-30), scale)
        scale = np.where(scale <= 1e-30, 1.0, scale)
        fixed = self.fixed[series]
        own = ~np.isnan(fixed[:, 0])
        return np.where(own, fixed[:, 0], center), np.where(own, fixed[:, 1], scale)


def _filled(values: Array, there: Array, seasons: Sequence[int]) -> Array:
    """Without gaps: a missing value is the one a season ago, or else the last one."""
    filled = values.copy()
    if there.all():
        return filled
    first = int(np.flatnonzero(there)[0])
    filled[:first] = values[first]
    season = seasons[0] if seasons else 1
    for step in np.flatnonzero(~there):
        if step > first:
            filled[step] = filled[step - season if step >= season else step - 1]
    return filled


def _spread_so_far(values: Array, scaling: str) -> Array:
    """The scale of a series up to and with each step."""
    count = np.arange(1, len(values) + 1)
    if scaling == "mean":
        return np.asarray(np.cumsum(np.abs(values)) / count)
    moved = values - values[0]  # numbers far from 0 would lose their variance in the sum of squares
    return np.sqrt(np.maximum(np.cumsum(moved**2) / count - (np.cumsum(moved) / count) ** 2, 0))


def _carried(rows: Array, first: Array) -> Array:
    """Inputs with the last value before in place of a missing one; before any, `first`."""
    there = ~np.isnan(rows)
    last = np.maximum.accumulate(np.where(there, np.arange(len(rows))[:, None], -1), 0)
    return np.where(last >= 0, np.take_along_axis(rows, np.maximum(last, 0), 0), first)
