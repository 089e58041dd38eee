"""Series out of tables: layouts, times, gaps and missing values, and one sentence for whatever cannot be read."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from elman.data import Table, TimeSeries, read_table
from elman.data.times import CALENDAR, Frequency, calendar, calendar_for, infer_frequency, parse_times, show
from elman.data.timeseries import find_columns, read_series
from elman.errors import DataError, ElmanError, OptionError

NAN = float("nan")


def table(**columns: Any) -> Table:
    count = len(next(iter(columns.values())))
    return Table("data.csv", {name: list(values) for name, values in columns.items()}, list(range(2, count + 2)))


def read(data: Table, *, time_format: str | None = None, **columns: Any) -> list[TimeSeries]:
    return read_series(data, find_columns(data, **columns), time_format=time_format)[0]


def refused(data: Table, *words: str, **columns: Any) -> None:
    with pytest.raises(ElmanError) as caught:
        read(data, **columns)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# -- layouts -----------------------------------------------------------------------------------------------------------
def test_long_wide_and_rows_hold_the_same_series() -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    long = table(id=["a", "b"] * 3, date=np.repeat(days, 2), value=["1", "10", "2", "20", "3", "30"])
    wide = table(date=days, a=[1, 2, 3], b=[10, 20, 30])
    rows = table(id=["a", "b"], v1=["1", "10"], v2=["2", "20"], v3=["3", "30"])
    for data, layout in ((long, "auto"), (long, "long"), (wide, "auto"), (wide, "wide"), (rows, "rows")):
        found = read(data, layout=layout)
        assert [(one.name, one.values.tolist()) for one in found] == [("a", [1, 2, 3]), ("b", [10, 20, 30])]
        if layout != "rows":
            assert found[0].times(2, 2) == ["2024-01-03", "2024-01-04"]
            assert str(found[0].frequency) == "1 day"
    assert find_columns(wide).layout == "wide"
    several = table(id=["a", "a"], x=[1, 2], y2=[3, 4])
    assert [one.name for one in read(several, target="x,y2")] == ["a/x", "a/y2"]


def test_a_plain_column_of_values_needs_no_times() -> None:
    (one,) = read(table(value=["1", "", "nan", "4"]))
    np.testing.assert_array_equal(one.values, [1, NAN, NAN, 4])
    assert (one.start, one.frequency, one.times(0, 2)) == (None, None, ["1", "2"])


def test_short_rows_are_filled_up_at_the_end() -> None:
    found = read(table(V1=["H1", "H2"], V2=["1", ""], V3=["2", "5"], V4=["", ""]), layout="rows", series="V1")
    assert [one.values.tolist() for one in found] == [[1, 2], [5]]


def test_rows_are_sorted_gaps_are_missing_values_and_the_ends_are_cut() -> None:
    hours = ["2024-03-01 05:00", "2024-03-01 01:00", "2024-03-01 02:00", "2024-03-01 00:00", "2024-03-01T06:00"]
    data = table(time=hours, value=[5, 1, 2, "", ""], price=[50, 10, 20, 0, 60], wind=[5, 1, 2, 0, 6])
    found, notes = read_series(data, find_columns(data, known=["price"], past=["wind"]))
    (one,) = found
    np.testing.assert_array_equal(one.values, [1, 2, NAN, NAN, 5])
    assert one.times(0, 1) == ["2024-03-01 01:00"]
    np.testing.assert_array_equal(one.known[:, 0], [10, 20, NAN, NAN, 50, 60])  # the row after the last value is ahead
    np.testing.assert_array_equal(one.past[:, 0], [1, 2, NAN, NAN, 5])
    assert notes == ["data.csv: the rows were not in order of time; sorted"]
    assert one.head(2).known.shape == (6, 1)
    assert len(one.head(2)) == 2


def test_series_have_starting_points_of_their_own() -> None:
    data = table(series=list("aaabb"), time=["2020", "2021", "2022", "2021", "2022"], value=[1, 2, 3, 4, 5])
    found = read(data)
    assert [one.times(0, 1) for one in found] == [["2020"], ["2021"]]
    assert str(found[0].frequency) == "1 step"  # years are plain numbers


def test_real_files_of_months(shared_data: Path) -> None:
    (one,) = read(read_table(shared_data / "univariate" / "airline-passengers.csv"))
    assert (one.name, len(one), str(one.frequency), one.values[-1]) == ("Passengers", 144, "1 month", 432)
    assert one.times(143, 2) == ["1960-12-01", "1961-01-01"]


def test_parquet(tmp_path: Path) -> None:
    times = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=n) for n in range(4)]
    polars.DataFrame({"time": times, "value": [1.0, None, 3.0, 4.0]}).write_parquet(tmp_path / "a.parquet")
    (one,) = read(read_table(tmp_path / "a.parquet"))
    np.testing.assert_array_equal(one.values, [1, NAN, 3, 4])
    assert str(one.frequency) == "1 hour"
    whole = (tmp_path / "a.parquet").read_bytes()
    flipped = whole[:60] + b"\xff" * 40 + whole[100:]
    for name, data in (
        ("cut", whole[:-20]),
        ("text", b"a,b\n1,2\n"),
        ("flipped", flipped),
    ):
        (tmp_path / f"{name}.parquet").write_bytes(data)
        with pytest.raises(DataError, match=r"is not a whole Parquet file"):
            read_table(tmp_path / f"{name}.parquet")


def test_parquet_claims_are_checked_before_memory_is_set_aside(tmp_path: Path, monkeypatch: Any) -> None:
    polars.DataFrame({"value": polars.repeat(1.0, 100_000, eager=True)}).write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr("elman.data.files.UNPACKED_FLOOR", 1000)
    monkeypatch.setattr("elman.data.files.UNPACKED_RATIO", 1)
    with pytest.raises(DataError, match=r"claims 100,000 rows of 1 columns"):
        read_table(tmp_path / "a.parquet")


# -- times -------------------------------------------------------------------------------------------------------------
def parse(*values: Any, time_format: str | None = None) -> list[str]:
    return [show(time) for time in parse_times(values, table(time=values), "time", time_format)]


def test_times_in_many_forms() -> None:
    assert parse("2024-01-31", "2024-01-31 13:00", "20240201", "2024-02-01T00:00:00.5") == [
        "2024-01-31", "2024-01-31 13:00", "2024-02-01", "2024-02-01 00:00:00.500000",
    ]  # fmt: skip
    assert parse("1949-01", "1949-02") == ["1949-01-01", "1949-02-01"]
    assert parse("2024-01-31T13:00+02:00", "2024-01-31T13:00Z") == ["2024-01-31 11:00", "2024-01-31 13:00"]
    assert parse(dt.date(2024, 1, 1), dt.datetime(2024, 1, 2), np.datetime64("2024-01-03")) == [
        "2024-01-01", "2024-01-02", "2024-01-03",
    ]  # fmt: skip
    assert parse("1", "2", 3) == ["1", "2", "3"]
    assert parse("31.12.2023", time_format="%d.%m.%Y") == ["2023-12-31"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2024-01-01", "31.1.2024"], ["data.csv, line 3", "'time'", "'31.1.2024'", "--time-format"]),
        (["2024-01-01", ""], ["line 3", "is empty"]),
        (["2024-01-01", None], ["line 3", "is empty"]),
        (["2024-01-01", NAN], ["line 3", "is empty"]),
        (["2024-01-01", "2"], ["line 3", "another kind"]),
        (["2024-01-01", "2024-01-01T00:00Z"], ["line 3", "another kind"]),
        ([True], ["line 2", "True"]),
    ],
)
def test_times_that_are_none(values: list[Any], words: list[str]) -> None:
    refused(table(time=values, value=range(len(values))), *words)


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (["2024-01-31", "2024-02-29", "2024-03-31", "2024-06-30"], "1 month"),
        (["2023-11-15", "2024-02-15", "2024-05-15"], "3 months"),
        (["2024-02-28", "2024-02-29", "2024-03-01"], "1 day"),
        (["2024-01-01", "2024-01-08", "2024-01-15"], "7 days"),
        (["2024-01-01 00:00", "2024-01-01 00:15", "2024-01-01 00:45", "2024-01-01 01:00"], "15 minutes"),
        (["2024-01-01T00:00:00", "2024-01-01T00:00:00.1"], "100 milliseconds"),
        (["1990", "1992", "1994"], "2 steps"),
    ],
)
def test_the_step_of_time(times: list[str], step: str) -> None:
    found = parse_times(times, table(time=times), "time")
    frequency = infer_frequency([found], "data.csv")
    assert str(frequency) == step
    assert Frequency.parse(step) == frequency
    places = frequency.positions(found, found[0])
    assert (places == np.round(places)).all()
    again = frequency.times(found[0], 0, int(places[-1]) + 1)[places.astype(int)]
    assert [show(time) for time in again] == [show(time) for time in found]


def test_months_end_where_they_end() -> None:
    month = Frequency("month", 1)
    assert [show(t) for t in month.times(np.datetime64("2023-12-31", "us"), 1, 3)] == [
        "2024-01-31", "2024-02-29", "2024-03-31",
    ]  # fmt: skip
    assert show(month.times(np.datetime64("2024-01-30", "us"), 1, 1)[0]) == "2024-02-29"


@pytest.mark.parametrize(
    ("frequency", "season", "names"),
    [
        (Frequency.parse("1 hour"), 24, ("hour", "weekday")),
        (Frequency.parse("15 minutes"), 96, ("minute", "hour", "weekday")),
        (Frequency.parse("1 day"), 7, ("weekday", "day", "month")),
        (Frequency.parse("7 days"), None, ("day", "month")),
        (Frequency.parse("1 month"), 12, ("month",)),
        (Frequency.parse("3 months"), 4, ("month",)),
        (Frequency.parse("12 months"), None, ()),
        (Frequency.parse("1 step"), None, ()),
        (Frequency.parse("1 second"), None, ("minute", "hour", "weekday")),
    ],
)
def test_what_a_frequency_suggests(frequency: Frequency, season: int | None, names: tuple[str, ...]) -> None:
    assert (frequency.season, calendar_for(frequency)) == (season, names)


def test_the_calendar_turns_as_pythons() -> None:
    times = np.datetime64("2023-12-29T22:30", "us") + np.arange(200) * np.timedelta64(1234, "m")
    found = calendar(times, tuple(CALENDAR))
    assert found.shape == (200, 20)
    for row, time in zip(found, times):
        t = time.astype(dt.datetime)
        shares = [t.minute / 60, (t.hour + t.minute / 60) / 24, t.weekday() / 7, (t.day - 1) / 31, (t.month - 1) / 12]
        turns = 2 * np.pi * np.array(shares)
        expected = np.stack([np.sin(turns), np.cos(turns), np.sin(2 * turns), np.cos(2 * turns)], 1).ravel()
        np.testing.assert_allclose(row, expected, atol=1e-6)
    with pytest.raises(OptionError, match="did you mean 'weekday'"):
        calendar(times, ["weekdays"])


# -- what cannot be read -----------------------------------------------------------------------------------------------
DAYS = ["2024-01-01", "2024-01-02", "2024-01-04"]


def test_bad_tables_are_one_sentence_each() -> None:
    refused(table(time=DAYS, value=[1, "x", 2]), "data.csv, line 3", "'value'", "'x'", "no number")
    refused(table(time=DAYS, value=[1, "inf", 2]), "line 3", "infinite")
    refused(table(time=[DAYS[0], DAYS[1], DAYS[0]], value=[1, 2, 3]), "line 4", "a second time", "line 2", "--series")
    twice = table(id=list("aba"), time=[DAYS[0], DAYS[1], DAYS[0]], value=[1, 2, 3])
    refused(twice, "line 4", "series 'a'", "also line 2")
    odd = ["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00", "2024-01-01 02:30"]
    refused(table(time=odd, value=range(4)), "irregular", "2024-01-01 02:30", "1 hour")
    refused(table(time=DAYS, value=["", None, "nan"]), "no values")
    refused(table(time=DAYS[:1], value=[1]), "single time")
    refused(table(time=DAYS, value=[1, 2, 3]), "no column 'prise'", known=["prise"])
    refused(table(time=DAYS, price=[1, 2, 3], value=[1, 2, 3]), "did you mean 'price'", known=["prise"])
    refused(table(time=DAYS, value=[1, 2, 3]), "both a target", target="value", known=["value"])
    refused(table(time=DAYS), "no column left")
    refused(table(time=DAYS, value=[1, 2, 3]), "did you mean 'long'", layout="longer")
    refused(table(time=DAYS, value=[1, 2, 3]), "needs --series", layout="long")
    refused(table(id=["a", ""], value=[1, 2]), "line 3", "every row must say its series")
    refused(table(id=["a", "a"], v=[1, 2]), "second series", layout="rows")
    refused(table(time=["0", "1", "2", "99999999999"], value=[1, 2, 3, 4]), "too many steps")
    refused(table(time=["0", "1", "2", "9999999"], value=[1, 2, 3, 4]), "with the gaps filled")


def test_a_models_step_is_kept() -> None:
    data = table(time=["2024-01-01", "2024-01-01 12:00"], value=[1, 2])
    with pytest.raises(DataError, match=re.escape("is not a whole number of steps of 1 day after 2024-01-01")):
        read_series(data, find_columns(data), frequency=Frequency.parse("1 day"))
    with pytest.raises(DataError, match="no column of times"):
        read_series(table(value=[1]), find_columns(table(value=[1])), frequency=Frequency.parse("1 day"))
    for text in ("1 year", "0 days", "day", "9" * 13 + " days"):
        with pytest.raises(DataError, match="not a step of time"):
            Frequency.parse(text)


def test_series_by_hand_are_checked() -> None:
    with pytest.raises(DataError, match="infinite"):
        TimeSeries(np.array([1.0, np.inf]), "a")
    with pytest.raises(DataError, match="not rank 1"):
        TimeSeries(np.ones((2, 2)), "a")
    with pytest.raises(DataError, match="2 values, but 1 rows of known"):
        TimeSeries(np.ones(2), "a", known=np.ones((1, 1)))
    with pytest.raises(DataError, match="not an array of numbers"):
        TimeSeries(["x"], "a")  # type: ignore[arg-type]
