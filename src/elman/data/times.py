"""Time stamps: reading them, the regular step between them, and what a calendar says of them.

Times are numpy datetime64[us] without a zone (those with one are turned into UTC), or whole numbers that count steps.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError, OptionError, did_you_mean

Array = npt.NDArray[Any]
SECOND = 1_000_000  # of microseconds
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
_NAMES = (
    (DAY, "day"),
    (HOUR, "hour"),
    (MINUTE, "minute"),
    (SECOND, "second"),
    (1000, "millisecond"),
    (1, "microsecond"),
)


@dataclass(frozen=True)
class Frequency:
    """The step from one time to the next: so many microseconds, or months, or plain steps."""

    unit: Literal["microsecond", "month", "step"]
    count: int

    def __str__(self) -> str:
        size, name = 1, str(self.unit)
        if self.unit == "microsecond":
            size, name = next((size, name) for size, name in _NAMES if self.count % size == 0)
        count = self.count // size
        return f"{count} {name}s" if count > 1 else f"1 {name}"

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """The frequency that `str` wrote. DataError for what it did not."""
        found = re.fullmatch(r"([0-9]{1,12}) (\w+?)s?", text, re.ASCII)
        sizes: dict[str, int] = {name: size for size, name in _NAMES}
        if found is not None and int(found[1]) > 0:
            if found[2] in ("month", "step"):
                return cls(found[2], int(found[1]))  # type: ignore[arg-type]
            if found[2] in sizes and int(found[1]) * sizes[found[2]] < 1 << 62:
                return cls("microsecond", int(found[1]) * sizes[found[2]])
        raise DataError(f"{brief(text)} is not a step of time such as '1 hour' or '3 months'")

    @property
    def season(self) -> int | None:
        """Steps of the season that such data mostly have: 24 for hours, 7 for days, 12 for months; None: not known."""
        if self.unit == "month":
            return 12 // self.count if 12 % self.count == 0 and self.count < 12 else None
        if self.unit == "microsecond":
            if self.count == DAY:
                return 7
            if self.count < DAY and DAY % self.count == 0 and self.count >= MINUTE:
                return DAY // self.count
        return None

    def positions(self, times: Array, start: Any) -> npt.NDArray[np.float64]:
        """How many steps each time is from the start; not whole for a time that is off the grid."""
        if self.unit == "month":
            months = times.astype("M8[M]").astype(np.int64) - start.astype("M8[M]").astype(np.int64)
            return np.asarray(months / self.count)
        return np.asarray((times - start).astype(np.int64) / self.count)

    def times(self, start: Any, first: int, count: int) -> Array:
        """The times of steps first, first + 1, ... from the start; a month's last day stays a last day."""
        steps = np.arange(first, first + count) * self.count
        if self.unit == "step":
            return np.asarray(start + steps)
        if self.unit == "microsecond":
            return np.asarray(start + steps.astype("m8[us]"))
        month = start.astype("M8[M]")
        ends = (start + np.timedelta64(DAY, "us")).astype("M8[M]") != month
        months = month + steps
        last = (months + 1).astype("M8[D]") - 1
        day = (start.astype("M8[D]") - month.astype("M8[D]")).astype(np.int64)
        days = last if ends else np.minimum(months.astype("M8[D]") + day, last)
        return np.asarray(days + (start - start.astype("M8[D]").astype("M8[us]")))


def parse_times(values: Sequence[Any], table: Table, column: str, time_format: str | None = None) -> Array:
    """A column of time stamps as datetime64[us], or whole numbers as int64; DataError names the first that is neither.

    Texts are ISO 8601 (also 1949-01 for a month), or as `time_format` says (the codes of strptime).
    """
    found: list[Any] = []
    for index, value in enumerate(values):
        time, problem = _parse(value, time_format)
        if not problem and found and type(time) is not type(found[0]):
            problem = "is of another kind than those before (a number, a time with a zone, one without): use one"
        if problem:
            raise DataError(f"{table.place(index)}: column {column!r} {problem}")
        found.append(time)
    if found and isinstance(found[0], int):
        return np.array(found, np.int64)
    return np.array([_in_utc(time) for time in found], "M8[us]")


class _Zoned(datetime.datetime):
    """A time with a zone, so that it does not mix with those without."""


def _in_utc(time: datetime.datetime) -> datetime.datetime:
    return time.astimezone(datetime.UTC).replace(tzinfo=None) if time.tzinfo else time


def _parse(value: Any, time_format: str | None) -> tuple[Any, str]:
    """A time (int, datetime, _Zoned), and what is wrong with it (empty when nothing is)."""
    if isinstance(value, np.datetime64):
        value = value.astype("M8[us]").item()
    if isinstance(value, np.integer):
        value = int(value)
    if type(value) is int:
        return value, "" if abs(value) < 1 << 62 else f"holds {brief(value)}, which is too large for a time"
    if isinstance(value, str) and value.strip():
        value, problem = _parse_text(value.strip(), time_format)
        if problem:
            return None, problem
    if type(value) is int:
        return value, ""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime) or value != value:  # pandas' NaT differs from itself
        empty = value is None or value == "" or value != value or (isinstance(value, str) and not value.strip())
        shown = "is empty" if empty else f"holds {brief(value)}"
        return None, f"{shown} where a time is expected; give each row one"
    kind = datetime.datetime if value.tzinfo is None else _Zoned
    return kind(*value.timetuple()[:6], value.microsecond, value.tzinfo), ""


def _parse_text(text: str, time_format: str | None) -> tuple[Any, str]:
    try:
        if time_format is not None:
            return datetime.datetime.strptime(text, time_format), ""
        if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) and len(text) != 8:
            return int(text), ""
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}", text, re.ASCII):
            text += "-01"
        return datetime.datetime.fromisoformat(text), ""
    except ValueError:
        form = "2024-01-31 or 2024-01-31 13:00" if time_format is None else repr(time_format)
        hint = "; --time-format tells another form, such as %d.%m.%Y" if time_format is None else ""
        return None, f"holds {brief(text)}, which is not a time in the form {form}{hint}"


def infer_frequency(times: Sequence[Array], where: str) -> Frequency:
    """The regular step of some series of rising times: the commonest difference, of which all others are multiples."""
    pairs = [part for part in times if len(part) > 1]
    if not pairs:
        raise DataError(f"{where}: a single time says nothing of the step between times; give two or more")
    if pairs[0].dtype.kind == "i":
        return _commonest([np.diff(part) for part in pairs], "step", pairs, where)
    if all(_same_day(part) for part in pairs):
        months = [np.diff(part.astype("M8[M]").astype(np.int64)) for part in pairs]
        if all((m > 0).all() for m in months):
            return _commonest(months, "month", pairs, where)
    return _commonest([np.diff(part).astype(np.int64) for part in pairs], "microsecond", pairs, where)


def _same_day(times: Array) -> bool:
    """Whether all times have one day of the month, or are the last day of theirs, at one time of the day."""
    days, months = times.astype("M8[D]"), times.astype("M8[M]")
    if len(np.unique(times - days)) > 1:
        return False
    of_month = np.unique(days - months.astype("M8[D]"))
    return len(of_month) == 1 or bool(((days + 1).astype("M8[M]") != months).all())


def _commonest(
    differences: Sequence[Array], unit: Literal["microsecond", "month", "step"], times: Sequence[Array], where: str
) -> Frequency:
    counts = Counter(np.concatenate(differences).tolist())
    step = min(counts, key=lambda d: (-counts[d], d))
    frequency = Frequency(unit, int(step))
    for part, gaps in zip(times, differences):
        odd = np.flatnonzero(gaps % step)
        if len(odd):
            before, after = part[odd[0]], part[odd[0] + 1]
            raise DataError(
                f"{where}: the times are irregular: after {show(before)} comes {show(after)}, which is no multiple of "
                f"the commonest step, {frequency}; bring them to a regular step"
            )
    return frequency


def show(time: Any) -> str:
    """A time for people: without what is zero at its end."""
    if not isinstance(time, np.datetime64):
        return str(time)
    text = str(time.astype("M8[us]")).replace("T", " ").removesuffix(".000000").removesuffix(":00")
    return text.removesuffix(" 00:00")


# -- the calendar ------------------------------------------------------------------------------------------------------
def _of_day(times: Array) -> Array:
    return np.asarray((times - times.astype("M8[D]")).astype(np.int64) / DAY)


def _of_hour(times: Array) -> Array:
    return np.asarray((times - times.astype("M8[h]")).astype(np.int64) / HOUR)


def _of_week(times: Array) -> Array:  # 1970-01-01 was a Thursday
    return (times.astype("M8[D]").astype(np.int64) + 3) % 7 / 7


def _of_month(times: Array) -> Array:
    return np.asarray((times.astype("M8[D]") - times.astype("M8[M]").astype("M8[D]")).astype(np.int64) / 31)


def _of_year(times: Array) -> Array:
    return times.astype("M8[M]").astype(np.int64) % 12 / 12


CALENDAR: dict[str, tuple[Callable[[Array], Array], int, int]] = {
    # name: the share that has passed, and for which steps it says something: from, and below (microseconds)
    "minute": (_of_hour, 0, HOUR),
    "hour": (_of_day, 0, DAY),
    "weekday": (_of_week, 0, 7 * DAY),
    "day": (_of_month, 12 * HOUR, 28 * DAY),
    "month": (_of_year, 12 * HOUR, 300 * DAY),
}
"""What a calendar tells of a time, by name; each enters as sine and cosine of one and of two turns."""


def calendar_for(frequency: Frequency | None) -> tuple[str, ...]:
    """The names that say something at this frequency."""
    if frequency is None or frequency.unit == "step":
        return ()
    step = frequency.count * (30 * DAY if frequency.unit == "month" else 1)
    return tuple(name for name, (_, least, below) in CALENDAR.items() if least <= step < below)


def calendar(times: Array, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """(T,) times -> (T, 4·names) numbers from -1 to 1. OptionError for an unknown name."""
    columns = [np.zeros((len(times), 0))]
    for name in names:
        if name not in CALENDAR:
            raise OptionError(f"--calendar has no {name!r}{did_you_mean(name, CALENDAR)}")
        turn = 2 * np.pi * CALENDAR[name][0](times)[:, None]
        columns.append(np.concatenate([np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)], 1))
    return np.concatenate(columns, 1).astype(np.float32)
