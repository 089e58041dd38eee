"""Forecasters: windows by brute force, step by step against teacher forcing, learning, intervals, files, errors."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars
import pytest
import torch

from elman.data import Table, TimeSeries
from elman.data.times import Frequency
from elman.errors import DataError, ElmanError, ModelFileError, OptionError
from elman.models import Forecaster
from elman.models.forecast import network
from elman.models.forecast.data import conformal_factors
from elman.models.forecast.training import Trainee
from elman.models.forecast.windows import Recipe, Windows
from elman.runtime import model_file

NAN = math.nan
SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 8, "horizon": 4, "lookback": 8, "epochs": 1, "epoch_batches": 3, "batch_size": 5,
}  # fmt: skip


def waves(count: int = 3, steps: int = 120, seed: int = 0) -> dict[str, np.ndarray]:
    """Noisy sines of different heights, levels and lengths, all with a period of 7.3 steps."""
    generator = np.random.default_rng(seed)
    found = {}
    for n in range(count):
        at = np.arange(steps + 11 * n)
        found[f"w{n}"] = 20 * n + (1 + n) * (
            np.sin(2 * np.pi * at / 7.3 + n) + 0.1 * generator.standard_normal(len(at))
        )
    return found


def hourly(values: Any, **parts: Any) -> TimeSeries:
    return TimeSeries(values, "a", np.datetime64("2024-01-01", "us"), Frequency.parse("1 hour"), **parts)


# -- windows -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("relative", ["none", "last", "season"])
@pytest.mark.parametrize("scaling", ["standard", "mean", "none"])
def test_windows_are_those_read_one_by_one(recursive: bool, relative: str, scaling: str) -> None:
    generator = np.random.default_rng(1)
    values = 5 + generator.standard_normal(40)
    values[[9, 17, 18, 30]] = NAN
    known, past = generator.standard_normal((43, 2)), generator.standard_normal((40, 1))
    series = [
        hourly(generator.standard_normal(23), known=known[:25], past=past[:23]),
        hourly(values, known=known, past=past),
    ]
    past_names = () if recursive else ("p",)
    if recursive:
        series = [hourly(one.values, known=one.known) for one in series]
    recipe = Recipe(8, 5, recursive, (3, 7), relative, scaling, ("hour",), ("k1", "k2"), past_names)
    windows = Windows(series, recipe)
    filled = values.copy()
    for step in (9, 17, 18, 30):
        filled[step] = filled[step - 3]  # the value a season before
    mean, scale = windows.inputs
    for origin in (8, 12, 20, 33, 40):
        batch = windows.batch(np.array([0, 1]), np.array([10, origin]))
        look, there = filled[origin - 8 : origin], ~np.isnan(values[origin - 8 : origin])
        center = {"standard": look[there].mean()}.get(scaling, 0.0)
        unit = {"standard": look[there].std(), "mean": np.abs(look[there]).mean(), "none": 1.0}[scaling]
        np.testing.assert_allclose((batch.center[1], batch.scale[1]), (center, unit), rtol=1e-6)
        assert batch.x.shape == (13, 2, recipe.input_size)
        limit = 40 if recursive else origin

        def at(step: int, center: float = center, unit: float = unit) -> float:
            return float((filled[min(max(step, 0), 39)] - center) / unit)

        def lag(step: int, season: int, limit: int = limit) -> float:
            step -= season
            while step >= limit:
                step -= season
            return at(step)

        for row, step in enumerate(range(origin - 8, origin + 5)):
            known_before = step - 1 < limit
            value = at(step - 1) if known_before and step >= 1 else 0.0
            seen = known_before and step >= 1 and not np.isnan(values[step - 1])
            expected = [value, value - at(step - 2) if known_before and step >= 2 else 0.0, float(seen)]
            for season in (3, 7):
                error = value - lag(step - 1, season) if known_before and step - 1 >= season else 0.0
                expected += [lag(step, season), error]
            if not recursive:
                expected.append(max(0, step - origin + 1) / 5)
            turn = 2 * np.pi * (step % 24) / 24
            expected += [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
            if step < 43:
                expected += ((known[step] - mean[:2]) / scale[:2]).tolist()
            else:
                expected += [0.0, 0.0]
            if not recursive:
                expected.append(float((past[step - 1, 0] - mean[2]) / scale[2]) if known_before and step else 0.0)
                if step == 0:
                    expected[-1] = float((past[0, 0] - mean[2]) / scale[2])
            np.testing.assert_allclose(batch.x[row, 1], expected, rtol=1e-5, atol=1e-6)
            reference = {"none": 0.0, "season": lag(step, 3), "last": at(min(step, limit) - 1)}[relative]
            np.testing.assert_allclose(batch.reference[row, 1], reference, rtol=1e-5, atol=1e-6)
            inside = step < 40 and not np.isnan(values[step])
            assert batch.inside[row, 1] == inside
            np.testing.assert_allclose(batch.target[row, 1], at(step) if inside else 0.0, rtol=1e-5, atol=1e-6)


def test_nothing_after_the_origin_is_seen() -> None:
    series = waves(1)["w0"]
    changed = np.concatenate([series[:60], 99 * np.random.default_rng(0).standard_normal(60)])
    for options in ({}, {"strategy": "recursive", "loss": "gaussian"}, {"season": [7], "scaling": "mean"}):
        model = Forecaster(**SMALL, **options).fit(series)
        made = [model.backtest(one, steps=60, stride=60).forecasts for one in (series, changed)]
        np.testing.assert_array_equal(made[0].quantiles, made[1].quantiles)
        np.testing.assert_allclose(made[0].quantiles[0], model.forecast(series[:60]).quantiles[0], rtol=1e-5)


@pytest.mark.parametrize("relative", ["none", "last", "season"])
def test_step_by_step_is_teacher_forcing_on_its_own_forecasts(relative: str) -> None:
    """With a loss without spread each future is one path: appended to the series, it must be forecast again."""
    series = [hourly(values) for values in waves(2).values()]
    series = [TimeSeries(one.values, str(n), one.start, one.frequency) for n, one in enumerate(series)]
    options = {**SMALL, "horizon": 11, "scaling_over": "series", "season": [3, 5], "relative": relative}
    model = Forecaster(**options, strategy="recursive", loss="absolute").fit(series)
    made = model.forecast(series)
    longer = [
        TimeSeries(np.concatenate([one.values, ahead]), one.name, one.start, one.frequency)
        for one, ahead in zip(series, made.point)
    ]
    batch = model._windows(longer).batch(np.arange(2), np.array([len(one) for one in series]))
    with torch.no_grad():
        raw, _ = model.module_(torch.from_numpy(batch.x), torch.from_numpy(batch.series), last=11)
    scaled = raw[..., 0].numpy() + batch.reference[-11:]
    np.testing.assert_allclose((batch.center + batch.scale * scaled).T, made.point, rtol=1e-4, atol=1e-4)


def test_missing_values_do_not_count() -> None:
    values = waves(1)["w0"]
    holes = values.copy()
    holes[::4] = NAN
    model = Forecaster(**SMALL).fit(holes)
    assert np.isfinite(model.forecast(holes).quantiles).all()
    windows = model._windows([TimeSeries(holes)])
    trainee = Trainee(model, windows, windows.origins(np.array([8]), np.array([100])), windows, (np.zeros(0, int),) * 2)
    batch = windows.batch(np.zeros(3, int), np.array([20, 41, 62]))
    first = network.loss(model.module_, model.likelihood, model.recipe_, batch, model._like)
    batch.target[~batch.inside] = 1e30
    second = network.loss(model.module_, model.likelihood, model.recipe_, batch, model._like)
    assert first[0].item() == second[0].item()
    assert first[1].item() == int((~np.isnan(np.stack([holes[o : o + 4] for o in (20, 41, 62)]))).sum())
    one, again, other = trainee.epoch(3), trainee.epoch(3), trainee.epoch(4)
    np.testing.assert_array_equal(one[2][0], again[2][0])
    assert any((a[0] != b[0]).any() for a, b in zip(one, other))


# -- learning ----------------------------------------------------------------------------------------------------------
LEARNS: list[dict[str, Any]] = [
    {"loss": "squared"},
    {"loss": "quantile", "season": [7]},
    {"loss": "gaussian", "strategy": "recursive"},
    {"loss": "student-t", "scaling": "mean", "scaling_over": "series", "series_size": 2},
]


@pytest.mark.parametrize("options", LEARNS, ids=lambda o: f"{o['loss']}, {o.get('strategy', 'direct')}")
def test_it_learns_is_saved_and_predicts_the_same_elsewhere(options: dict[str, Any], tmp_path: Path) -> None:
    data = waves()
    common = {
        "horizon": 7,
        "lookback": 21,
        "hidden_size": 24,
        "epochs": 4,
        "epoch_batches": 60,
        "lr": 0.01,
        "holdout": 28,
    }
    model = Forecaster(**common, **options, cell="gru", schedule="cosine", valid_fraction=0.2)
    figures = model.fit(data).evaluate(data, stride=3)
    # The period is 7.3 steps, so that both the last value and the one 7 steps ago are off.
    assert figures["mae"] < 0.6 * figures["naive_mae"]
    assert figures.get("seasonal_naive_mae", math.inf) > 1.2 * figures["mae"]
    assert 0.6 <= figures["coverage_80"] <= 0.95  # of 63 windows of 7 steps that overlap
    assert figures["coverage_95"] >= figures["coverage_80"]
    path = tmp_path / "f.elman"
    model.save(path)
    made = model.forecast(data)
    code = (
        "import numpy as np, sys; from elman.models import load\n"
        f"data = dict(np.load({str(tmp_path / 'd.npz')!r})); made = load({str(path)!r}).forecast(data)\n"
        f"np.save({str(tmp_path / 'q.npy')!r}, made.quantiles)"
    )
    np.savez(tmp_path / "d.npz", **data)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), made.quantiles)


def test_counts() -> None:
    generator = np.random.default_rng(0)
    data = {f"c{n}": generator.poisson(3 + 2 * np.sin(np.arange(150) * 2 * np.pi / 7)) for n in range(3)}
    model = Forecaster(**{**SMALL, "epochs": 2, "epoch_batches": 40, "lr": 0.01}, loss="negative-binomial", season=[7])
    made = model.fit(data).forecast(data)
    assert (made.quantiles >= 0).all()
    assert (np.diff(made.quantiles, axis=-1) >= 0).all()
    assert 1 < made.point.mean() < 6
    with pytest.raises(OptionError, match="is for counts"):
        Forecaster(loss="negative-binomial", relative="last").fit(data)


def test_what_is_known_ahead_is_used() -> None:
    generator = np.random.default_rng(0)
    price = generator.uniform(-1, 1, 304)
    values = 3 * price[:300] + 0.1 * generator.standard_normal(300)
    options = {**SMALL, "epochs": 3, "epoch_batches": 60, "lr": 0.02, "holdout": 40, "relative": "none"}
    with_price = TimeSeries(values, "a", known=price[:, None], past=price[:300, None])
    blind = Forecaster(**options).fit(values).evaluate(values)["mae"]
    told = Forecaster(**options).fit(with_price)
    assert told.evaluate(with_price)["mae"] < 0.4 * blind
    assert told.forecast(with_price).point[0] == pytest.approx(3 * price[300:], abs=1.2)
    short = TimeSeries(values, "a", known=price[:302, None], past=price[:300, None])
    with pytest.raises(DataError, match=r"series 'a': the known input '1' is missing at 303, step 3 of 4"):
        told.forecast(short)
    with pytest.raises(DataError, match="has 0 known and 0 past inputs; the model reads 1 and 1"):
        told.forecast(values)


def test_forecasts_move_and_stretch_with_the_values() -> None:
    values = waves(1)["w0"]
    model = Forecaster(**SMALL).fit(values)
    made, moved = model.forecast(values).quantiles, model.forecast(7 + 3 * values).quantiles
    np.testing.assert_allclose(moved, 7 + 3 * made, rtol=1e-4, atol=1e-4)


def test_a_constant_series_goes_on_so() -> None:
    model = Forecaster(**SMALL).fit({"a": np.full(60, 5.0), "b": np.zeros(60), **waves(1)})
    made = model.forecast({"a": np.full(20, 5.0), "b": np.zeros(20)})
    assert np.isfinite(made.quantiles).all()
    assert model.evaluate({"a": np.full(20, 5.0)})["smape"] < 50


def test_series_that_it_never_saw_are_scaled_by_themselves() -> None:
    data = waves()
    model = Forecaster(**SMALL, scaling_over="series", series_size=3).fit(data)
    assert sorted(model.scales_) == sorted(data)
    new = model.forecast({"new": 1000 + data["w1"]}).point
    assert abs(new.mean() - 1000 - data["w1"].mean()) < 20
    assert model.module_.series is not None
    assert model.module_.series.weight.shape == (4, 3)


def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path: Path) -> None:
    data, options = waves(), {**SMALL, "epochs": 4}
    whole = Forecaster(**options).fit(data, folder=tmp_path / "whole")
    Forecaster(**{**options, "epochs": 2}).fit(data, folder=tmp_path / "part")
    resumed = Forecaster(**options).fit(data, folder=tmp_path / "part", resume=True)
    for one, two in zip(whole.module_.parameters(), resumed.module_.parameters()):
        assert torch.equal(one, two)
    with pytest.raises(ElmanError, match="data"):
        Forecaster(**options).fit(waves(seed=1), folder=tmp_path / "part", resume=True)


class Indexed:
    """As much of a pandas frame with times for an index as is used of one."""

    def __init__(self, frame: polars.DataFrame, index: np.ndarray) -> None:
        self.columns, self.frame, self.index, self.name = frame.columns, frame, index, ""

    def __getitem__(self, name: str) -> Any:
        return self.frame[name]

    def rename_axis(self, name: str) -> Indexed:
        self.name = name
        return self

    def reset_index(self) -> polars.DataFrame:
        return polars.DataFrame({self.name: self.index}).hstack(self.frame)


def test_frames_tables_and_arrays_are_the_same_data(tmp_path: Path) -> None:
    values, start = waves(1)["w0"], dt.datetime(2024, 1, 1)
    times = [start + dt.timedelta(hours=n) for n in range(len(values))]
    table = Table("t", {"time": times, "value": values.tolist()}, list(range(len(values))))
    frames: list[Any] = [
        table, polars.DataFrame({"time": times, "value": values}),
        Indexed(polars.DataFrame({"value": values}), np.array(times, "M8[ns]")),
    ]  # fmt: skip
    polars.DataFrame({"time": times, "value": values}).write_parquet(tmp_path / "a.parquet")
    frames.append(tmp_path / "a.parquet")
    model = Forecaster(**{**SMALL, "lookback": 24}).fit(table)
    assert (model.recipe_.seasons, model.recipe_.calendar) == ((24,), ("hour", "weekday"))
    made = model.forecast(table)
    assert made.times(0)[0] == "2024-01-06"
    for frame in frames[1:]:
        np.testing.assert_array_equal(model.forecast(frame).quantiles, made.quantiles)
    record = next(made.records())
    assert list(record) == ["series", "time", "step", "forecast", "low_80", "high_80", "low_95", "high_95"]
    assert record["low_95"] <= record["low_80"] <= record["forecast"] <= record["high_80"] <= record["high_95"]
    made.picture(tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


# -- intervals ---------------------------------------------------------------------------------------------------------
def test_conformal_factors_by_hand() -> None:
    scores = np.stack([np.arange(1.0, 401).reshape(200, 2, order="F")] * 2)  # step 1: 1 to 200, step 2: 201 to 400
    factors = conformal_factors(scores, [80, 50])
    # The 0.8 (1 + 1/200) quantile of 200 scores, the next higher one: position 199 · 0.804 = 159.996 from 0.
    np.testing.assert_array_equal(factors, [[161, 361], [101, 301]])
    few = np.full((1, 3, 2), NAN)
    assert conformal_factors(few, [80]).tolist() == [[1, 1]]
    few[0, :, 1] = [1, 2, 3]
    assert conformal_factors(few, [80]).tolist() == [[3, 3]]  # step 1 borrows from step 2


@pytest.mark.parametrize("loss", ["squared", "quantile"])
def test_intervals_hold_what_they_say(loss: str) -> None:
    """White noise, whose 80 % interval is known: 2.563 deviations wide."""
    noise = {f"n{n}": 3 * np.random.default_rng(n).standard_normal(400) for n in range(4)}
    model = Forecaster(**{**SMALL, "epochs": 2, "epoch_batches": 40}, loss=loss, holdout=100, relative="none").fit(
        noise
    )
    figures = model.evaluate(noise)
    assert 0.74 <= figures["coverage_80"] <= 0.86  # 400 values: three standard errors of 0.02
    low, high = model.forecast(noise).interval(80)
    assert (high - low).mean() == pytest.approx(2.563 * 3, rel=0.2)


# -- what cannot be ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "recursiv"}, "did you mean 'recursive'"),
        ({"loss": "gauss"}, "did you mean 'gaussian'"),
        ({"intervals": [100]}, "percentages from 1 to 99"),
        ({"intervals": []}, "percentages from 1 to 99"),
        ({"horizon": 0}, "--horizon must be a whole number"),
        ({"season": [0]}, "--season must be whole numbers"),
        ({"calendar": "weekdays"}, "did you mean 'weekday'"),
        ({"calendar": "hour"}, "needs times"),
        ({"strategy": "recursive", "past": "wind"}, "not known step by step"),
        ({"season": [24]}, "shorter than the season of 24"),
        ({"relative": "season"}, "needs a season"),
        ({"lookback": 500}, "'w1', the longest, has 131 values to learn from; a lookback of 500"),
        ({"holdout": 128}, "'w1', the longest, has 3 values"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ElmanError) as caught:
        Forecaster(**{**SMALL, **options}).fit(waves(2))
    assert words in str(caught.value)


def test_data_that_cannot_be_read() -> None:
    model = Forecaster(**SMALL).fit(waves(2))
    for data, words in (
        ({"a": np.full(30, NAN)}, "series 'a' has no values"),
        ({"a": np.arange(5.0)}, "series 'a' has 5 values, but 8 are needed: the model's lookback of 8"),
        ([np.ones(20), ["x"]], "series '2': the values are not an array of numbers"),
        ("text", "not as str"),
        (3, "not as int"),
        ([TimeSeries(np.ones(20), "a"), TimeSeries(np.ones(20), "a")], "two series are named 'a'"),
    ):
        with pytest.raises(DataError) as caught:
            model.forecast(data)
        assert words in str(caught.value)
    with pytest.raises(DataError, match="there are no series"):
        Forecaster(**SMALL).fit([])
    with pytest.raises(OptionError, match="holds no horizon of 4 steps"):
        model.backtest(waves(1), steps=3)
    timed = Forecaster(**{**SMALL, "season": [1]}).fit(hourly(waves(1)["w0"]))
    with pytest.raises(DataError, match="has no times, but the model reads the calendar"):
        timed.forecast(waves(1))


def test_series_that_are_too_short_are_left_out_with_a_note() -> None:
    notes: list[str] = []

    class Notes:
        seconds = math.inf

        def __getattr__(self, name: str) -> Any:
            return (lambda text: notes.append(text)) if name == "note" else (lambda *_: None)

    Forecaster(**SMALL).fit({**waves(1), "tiny": np.arange(11.0)}, progress=Notes())  # type: ignore[arg-type]
    assert "1 of 2 series are not learnt from" in notes[0]
    assert "'tiny' with 11" in notes[0]


def test_a_forged_file_is_refused(tmp_path: Path) -> None:
    values = waves(1)["w0"]
    options = {**SMALL, "lookback": 24, "scaling_over": "series", "known": ""}
    Forecaster(**options).fit(hourly(values)).save(tmp_path / "good.elman")
    doc, tensors = model_file.load(tmp_path / "good.elman")
    forgeries: list[tuple[str, Any]] = [
        ("lookback", 0), ("lookback", 1 << 40), ("horizon", 5), ("seasons", [25]), ("seasons", []),
        ("relative", "first"), ("scaling", "mean"), ("calendar", ["hour"]), ("calendar", ["century", "hour"]),
        ("frequency", "1 parsec"),
        ("frequency", None), ("names", []), ("names", ["a", "b"]), ("known", ["x"]), ("columns", {"time": 3}),
        ("factors", [[1.0]]), ("factors", [[-1.0] * 4] * 2), ("surprise", 1),
    ]  # fmt: skip
    for name, value in forgeries:
        series = {**doc.vocabularies["series"], name: value}
        forged = type(doc)(
            **{**{f: getattr(doc, f) for f in doc.__struct_fields__}, "vocabularies": {"series": series}}
        )
        model_file.save(tmp_path / "bad.elman", forged, dict(tensors))
        if (name, value) == ("scaling", "mean"):
            Forecaster.load(tmp_path / "bad.elman")  # another model, but a sound one
            continue
        with pytest.raises(ModelFileError, match="do not fit together"):
            Forecaster.load(tmp_path / "bad.elman")
    for scaling in ({}, {**doc.scaling, "scale": [0.0]}, {**doc.scaling, "center": [1.0, 2.0]}):
        forged = msgspec.structs.replace(doc, scaling=scaling)
        model_file.save(tmp_path / "bad.elman", forged, dict(tensors))
        with pytest.raises(ModelFileError, match="do not fit together"):
            Forecaster.load(tmp_path / "bad.elman")
