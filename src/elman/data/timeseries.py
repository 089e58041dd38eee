"""Series over regular time, with the inputs beside them: out of tables that are long, wide or have a series a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.data.table import Table
from elman.data.times import Frequency, infer_frequency, parse_times, show
from elman.errors import DataError, OptionError, did_you_mean

Floats = npt.NDArray[np.float64]

LAYOUTS = ("auto", "long", "wide", "rows")
_TIME = ("time", "date", "timestamp", "datetime", "ds", "month", "day", "year", "hour", "quarter", "week")
_SERIES = ("series", "unique_id", "series_id", "item_id", "id")
_TARGET = ("value", "y", "target")
_EMPTY = ("", "nan", "na", "null", "none")
MAX_STEPS = 1 << 27
"""Steps of all series together, with those that gaps in time make."""


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """One series: values (T,) with NaN for what is missing, and what stands beside them.

    start: the time of the first value (datetime64, or a whole number); frequency: the step between two.
    known (T + F, K): inputs that are known ahead, for F steps more; past (T, P): inputs known only up to now.
    """

    values: Floats
    name: str = ""
    start: Any = None
    frequency: Frequency | None = None
    known: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    past: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        for name, rank in (("values", 1), ("known", 2), ("past", 2)):
            try:
                array = np.asarray(getattr(self, name), np.float64)
            except (TypeError, ValueError):
                raise DataError(f"series {brief(self.name)}: the {name} are not an array of numbers") from None
            if array.ndim != rank:
                raise DataError(f"series {brief(self.name)}: the {name} have the shape {array.shape}, not rank {rank}")
            if np.isinf(array).any():
                raise DataError(f"series {brief(self.name)}: the {name} hold an infinite number; write NaN for missing")
            object.__setattr__(self, name, array)
        for name in ("known", "past"):
            rows = len(getattr(self, name))
            if getattr(self, name).shape[1] and (rows < len(self) if name == "known" else rows != len(self)):
                raise DataError(f"series {brief(self.name)} has {len(self)} values, but {rows} rows of {name} inputs")

    def __len__(self) -> int:
        return len(self.values)

    def times(self, first: int, count: int) -> list[str]:
        """The times of steps first, first + 1, ... for people; numbers from 1 where there are no times."""
        if self.frequency is None or self.start is None:
            return [str(1 + step) for step in range(first, first + count)]
        return [show(time) for time in self.frequency.times(self.start, first, count)]

    def head(self, count: int) -> TimeSeries:
        """The first `count` values; known inputs stay for as long as they are known."""
        return TimeSeries(
            self.values[:count],
            self.name,
            self.start,
            self.frequency,
            self.known,
            self.past[:count],
        )


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what. layout "rows": a series is a row, its values in the columns `targets`."""

    layout: str
    time: str | None
    series: str | None
    targets: tuple[str, ...]
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()


def find_columns(
    table: Table,
    *,
    layout: str = "auto",
    time: str | None = None,
    series: str | None = None,
    target: str | None = None,
    known: Sequence[str] = (),
    past: Sequence[str] = (),
) -> Columns:
    """The columns as they are named, the others by their usual names; every column that is left is then a series.

    target: "a", or "a,b" or "*" for several series side by side. DataError for a name that the table does not have.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"--layout has no {layout!r}{did_you_mean(str(layout), LAYOUTS)}")
    for name in (time, series, *known, *past):
        if name is not None:
            table.column(name)
    taken = {time, series, *known, *past}
    if time is None and layout != "rows":
        time = _usual(table, _TIME, taken)
    if series is None and layout != "wide":
        series = _usual(table, _SERIES, taken)
    if layout == "long" and series is None:
        raise OptionError(f"--layout long needs --series, the column of {table.source} that tells the series apart")
    rest = [name for name in table.names if name not in {*taken, time, series}]
    if layout == "rows":
        if known or past or time:
            raise OptionError("--layout rows has a series a row, and no room for times or inputs; leave those out")
        return Columns("rows", None, series, tuple(rest))
    if target is None:
        usual = _usual(table, _TARGET, taken)
        targets = tuple(rest) if usual is None or layout == "wide" else (usual,)
    else:
        targets = tuple(rest) if target == "*" else tuple(name.strip() for name in target.split(","))
    for name in targets:
        table.column(name)
        if name in {time, series, *known, *past}:
            raise OptionError(f"the column {name!r} is both a target and something else; name it once")
    if not targets:
        raise DataError(f"{table.source} has no column left for the values; --target names it")
    return Columns("wide" if series is None else "long", time, series, targets, tuple(known), tuple(past))


def _usual(table: Table, usual: Sequence[str], taken: set[str | None]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(table.names) if name not in taken}
    return next((lower[name] for name in usual if name in lower), None)


def read_series(
    table: Table, columns: Columns, *, frequency: Frequency | None = None, time_format: str | None = None
) -> tuple[list[TimeSeries], list[str]]:
    """The series of a table, and notes about what was done to them.

    Rows are sorted by time, gaps become missing values, empty values at both ends are cut off: rows after the last
    value say what is known ahead. `frequency`: the one that the times must have; default: what they show.
    """
    if columns.layout == "rows":
        return _rows(table, columns), []
    numbers = {name: _numbers(table, name) for name in (*columns.targets, *columns.known, *columns.past)}
    groups = _groups(table, columns.series)
    notes: list[str] = []
    times = None
    if columns.time is not None:
        times = parse_times(table.column(columns.time), table, columns.time, time_format)
        groups = {name: _sorted(rows, times, table, name, notes) for name, rows in groups.items()}
        frequency = frequency or infer_frequency([times[rows] for rows in groups.values()], table.source)
    elif frequency is not None and frequency.unit != "step":
        raise DataError(f"{table.source} has no column of times, but the model knows a step of {frequency}; --time")
    found, total = list[TimeSeries](), 0
    for group, rows in groups.items():
        places, start = np.arange(len(rows)), None
        if times is not None and frequency is not None:
            start = times[rows[0]]
            places = _places(frequency, times[rows], start, table, rows)
        total += int(places[-1]) + 1
        if total > max(MAX_STEPS // 128, 64 * len(table)) or total > MAX_STEPS:
            raise DataError(
                f"{table.source}: with the gaps filled, the series have {total:,} steps of {frequency} or more for "
                f"{len(table):,} rows; is a time wrong, or the step ({frequency}) too small?"
            )
        for target in columns.targets:
            name = target if columns.series is None else f"{group}/{target}" if len(columns.targets) > 1 else group
            found.append(_series(name, target, numbers, columns, rows, places, start, frequency, table))
    return found, notes


def _series(
    name: str,
    target: str,
    numbers: dict[str, Floats],
    columns: Columns,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    start: Any,
    frequency: Frequency | None,
    table: Table,
) -> TimeSeries:
    def spread(names: Sequence[str]) -> Floats:
        array = np.full((int(places[-1]) + 1, len(names)), np.nan)
        for column, one in enumerate(names):
            array[places, column] = numbers[one][rows]
        return array

    values = spread([target])[:, 0]
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        raise DataError(f"{table.source}: series {brief(name)} has no values, all are missing; leave it out")
    first, end = int(there[0]), int(there[-1]) + 1
    if start is not None and frequency is not None:
        start = frequency.times(start, first, 1)[0]
    return TimeSeries(
        values[first:end], name, start, frequency, spread(columns.known)[first:], spread(columns.past)[first:end]
    )


def _numbers(table: Table, name: str) -> Floats:
    values = table.column(name)
    found = np.empty(len(values))
    for index, value in enumerate(values):
        if value is None or (isinstance(value, str) and value.strip().lower() in _EMPTY):
            found[index] = np.nan
            continue
        try:
            found[index] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{table.place(index)}: column {name!r} holds {brief(value)}, which is no number") from None
        if math.isinf(found[index]):
            raise DataError(f"{table.place(index)}: column {name!r} is infinite; leave it empty if it is not known")
    return found


def _groups(table: Table, series: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each series, in order of first appearance."""
    if series is None:
        return {"": np.arange(len(table))}
    found: dict[str, list[int]] = {}
    for index, value in enumerate(table.column(series)):
        if value is None or value == "" or value != value:
            raise DataError(f"{table.place(index)}: column {series!r} is empty; every row must say its series")
        found.setdefault(str(value), []).append(index)
    return {name: np.array(rows) for name, rows in found.items()}


def _sorted(
    rows: npt.NDArray[np.int64], times: npt.NDArray[Any], table: Table, name: str, notes: list[str]
) -> npt.NDArray[np.int64]:
    order = rows[np.argsort(times[rows], kind="stable")]
    shown = f"series {brief(name)}" if name else "the rows"
    same = np.flatnonzero(times[order[1:]] == times[order[:-1]])
    if len(same):
        one, two = sorted((int(order[same[0]]), int(order[same[0] + 1])))
        hint = "keep one" if name else "keep one, or name the column that tells series apart (--series)"
        raise DataError(
            f"{table.place(two)}: {shown} has the time {show(times[two])} a second time (also {table.unit} "
            f"{table.lines[one]}); {hint}"
        )
    if (order != rows).any() and not notes:
        notes.append(f"{table.source}: {shown} were not in order of time; sorted")
    return order


def _places(
    frequency: Frequency, times: npt.NDArray[Any], start: Any, table: Table, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The step of each row. DataError for a time between two steps."""
    if (times.dtype.kind == "i") != (frequency.unit == "step"):
        raise DataError(f"{table.source}: the times are of another kind than the step, {frequency}")
    steps = frequency.positions(times, start)
    odd = np.flatnonzero((steps != np.round(steps)) | (np.diff(steps, prepend=-1) == 0))
    if len(odd):
        where, time = table.place(int(rows[odd[0]])), show(times[odd[0]])
        raise DataError(f"{where}: the time {time} is not a whole number of steps of {frequency} after {show(start)}")
    if steps[-1] >= MAX_STEPS:
        raise DataError(f"{table.source}: from {show(start)} to {show(times[-1])} are too many steps of {frequency}")
    return steps.astype(np.int64)


def _rows(table: Table, columns: Columns) -> list[TimeSeries]:
    """A series a row, as in the files of the M competitions: empty fields at the end fill up shorter ones."""
    matrix = np.stack([_numbers(table, name) for name in columns.targets], 1)  # (rows, T)
    names = (
        [str(n) for n in table.column(columns.series)] if columns.series else [str(i + 1) for i in range(len(table))]
    )
    found: dict[str, TimeSeries] = {}
    for index, name in enumerate(names):
        there = np.flatnonzero(~np.isnan(matrix[index]))
        if not len(there):
            raise DataError(f"{table.place(index)}: series {brief(name)} has no values; leave it out")
        if name in found:
            raise DataError(f"{table.place(index)}: a second series is named {brief(name)}; give each its own name")
        found[name] = TimeSeries(matrix[index, there[0] : there[-1] + 1], name)
    return list(found.values())
