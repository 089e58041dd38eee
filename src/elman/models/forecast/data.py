"""What users hand to a forecaster, as series; and what it hands back: forecasts, their intervals, a back-test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.data.table import Table
from elman.data.times import Frequency
from elman.data.timeseries import Columns, TimeSeries, find_columns, read_series
from elman.errors import DataError
from elman.models.inputs import as_table
from elman.models.options import ForecasterOptions
from elman.training.pictures.forecasts import MOST, Panel, forecast_picture

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Collection:
    """Series, the columns that they came from (None: from arrays), and notes about how they were read."""

    series: list[TimeSeries]
    columns: Columns | None
    notes: list[str]

    @property
    def frequency(self) -> Frequency | None:
        """The step of all series that have times."""
        return next((one.frequency for one in self.series if one.frequency is not None), None)


def as_series(
    data: Any, options: ForecasterOptions, columns: Columns | None = None, frequency: Frequency | None = None
) -> Collection:
    """A Path, a Table or a data frame, a TimeSeries, an array (T,), or several of those two in a list or by name.

    columns, frequency: what a model knows of the tables that it learnt from. Raises DataError.
    """
    if hasattr(data, "columns") and getattr(getattr(getattr(data, "index", None), "dtype", None), "kind", "") == "M":
        data = data.rename_axis("time").reset_index()  # pandas, with times for an index
    data = as_table(data)
    if isinstance(data, Table):
        if columns is None or columns.layout == "rows" or options.target is not None:
            found = find_columns(
                data, layout=options.layout, time=options.time, series=options.series, target=options.target,
                known=_names(options.known), past=_names(options.past),
            )  # fmt: skip
            # A model may be used on other columns than it learnt from; how a table is laid out stays.
            columns = found if columns is None else dataclasses.replace(columns, targets=found.targets)
        series, notes = read_series(data, columns, frequency=frequency, time_format=options.time_format)
        return Collection(series, columns, notes)
    if isinstance(data, TimeSeries):
        data = [data]
    if isinstance(data, Mapping):
        data = [_one(value, str(name)) for name, value in data.items()]
    elif isinstance(data, str | bytes) or not hasattr(data, "__iter__"):
        raise DataError(f"series come as a Path, a table, arrays or TimeSeries, not as {type(data).__name__}")
    elif isinstance(next(iter(data), None), int | float | np.number):
        data = [_one(data, "")]
    else:
        data = [_one(value, str(number)) for number, value in enumerate(data, 1)]
    names = [one.name for one in data]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two series are named {brief(twice)}; give each its own name")
    frequencies = {str(one.frequency) for one in data if one.frequency is not None}
    if len(frequencies) > 1 or (frequency is not None and frequencies and frequencies != {str(frequency)}):
        raise DataError(f"the series have steps of {', '.join(sorted(frequencies))}; all must have one, the model's")
    return Collection(data, None, [])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one(value: Any, name: str) -> TimeSeries:
    return value if isinstance(value, TimeSeries) else TimeSeries(value, name)


@dataclass(frozen=True)
class Forecasts:
    """Forecasts (N, H) of N series, and quantiles (N, H, Q) at `levels`."""

    series: list[TimeSeries]
    origins: list[int]
    """Steps of each series before its forecast."""
    point: Array
    """(N, H): means or medians, as the loss asks for."""
    quantiles: Array
    """(N, H, Q)"""
    levels: tuple[float, ...]
    intervals: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.series)

    def interval(self, percent: int) -> tuple[Array, Array]:
        """(low, high), both (N, H): between them so many percent of the values are to lie."""
        low, high = interval_levels(percent)
        return self.quantiles[..., self.levels.index(low)], self.quantiles[..., self.levels.index(high)]

    def times(self, index: int) -> list[str]:
        """The times of the forecasts of one series, for people."""
        return self.series[index].times(self.origins[index], self.point.shape[1])

    def records(self) -> Iterator[dict[str, Any]]:
        """Plain data, one record a step: series, time, step, forecast, and low and high of each interval."""
        for index, one in enumerate(self.series):
            for step, time in enumerate(self.times(index)):
                record: dict[str, Any] = {"series": one.name, "time": time, "step": step + 1}
                record["forecast"] = _short(self.point[index, step])
                for percent in self.intervals:
                    low, high = self.interval(percent)
                    record |= {f"low_{percent}": _short(low[index, step]), f"high_{percent}": _short(high[index, step])}
                yield record

    def picture(self, out_png: Path, *, steps: int | None = None) -> None:
        """Draw a few of the forecasts, evenly chosen, after the last `steps` (default: three horizons) of history."""
        horizon = self.point.shape[1]
        steps = steps or 3 * horizon
        chosen = np.unique(np.linspace(0, len(self) - 1, min(MOST, len(self))).astype(int))
        panels = []
        for index in chosen:
            one, origin = self.series[index], self.origins[index]
            first = max(0, origin - steps)
            at = np.arange(first + 1, origin + horizon + 1)
            if one.frequency is not None and one.start is not None:
                at = one.frequency.times(one.start, first, origin + horizon - first)
            actual = np.full(horizon, np.nan)
            actual[: len(one) - origin] = one.values[origin : origin + horizon]
            between = {percent: tuple(side[index] for side in self.interval(percent)) for percent in self.intervals}
            title = one.name or "series"
            panels.append(Panel(title, at, one.values[first:origin], self.point[index], between, actual))
        forecast_picture(panels, out_png)


def _short(value: Any) -> float:
    """Seven digits: what float32 knows."""
    return float(f"{float(value):.7g}")


def interval_levels(percent: int) -> tuple[float, float]:
    """The two quantiles between which so many percent lie."""
    return (100 - percent) / 200, (100 + percent) / 200


@dataclass(frozen=True)
class Backtest:
    """Forecasts from origins in the past, beside what came and what naive forecasts said."""

    forecasts: Forecasts
    true: Array
    """(N, H), NaN where there is no value."""
    rows: dict[str, dict[str, float]]
    """Figures by method: the model, and the naive forecasts."""

    def figures(self) -> dict[str, float]:
        """The model's figures by name, and those of the naive forecasts with the method's name before them."""
        (_, model), *others = self.rows.items()
        return {**model, **{f"{name}_{figure}": value for name, row in others for figure, value in row.items()}}

    def __str__(self) -> str:
        return figures_table(self.rows)


def figures_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Figures by method as lines of text; what a method does not have stays empty."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [["", *(name.replace("_", " ") for name in names)]]
    lines += [[method, *(f"{row[name]:.4g}" if name in row else "" for name in names)] for method, row in rows.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names) + 1)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:]))]).rstrip()
        for line in lines
    )


def conformal_factors(scores: Array, percent: Sequence[int]) -> Array:
    """(P, H): by how much intervals are to be stretched so that they would have held their percentages of values.

    scores (P, S, H): the distance of each true value from the forecast, in units of the interval's own reach; NaN where
    there is none. A step borrows from its neighbours until there are about 200 scores (split conformal prediction:
    Vovk, Gammerman & Shafer 2005; Romano, Patterson & Candès 2019).
    """
    count, horizon = scores.shape[1:]
    reach = 0
    while reach < horizon and count * (2 * reach + 1) < 200:
        reach += 1
    factors = np.ones((len(percent), horizon))
    for row, share in enumerate(percent):
        for step in range(horizon):
            near = scores[row, :, max(0, step - reach) : step + reach + 1]
            near = near[~np.isnan(near)]
            if len(near):
                factors[row, step] = np.quantile(near, min(1, share / 100 * (1 + 1 / len(near))), method="higher")
    return factors
