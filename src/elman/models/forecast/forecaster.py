"""Forecasting of one or many series: all steps at once or step by step, with intervals, beside naive forecasts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elman.data.files import brief
from elman.data.times import CALENDAR, Frequency, calendar_for
from elman.data.timeseries import LAYOUTS, Columns, TimeSeries
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator
from elman.models.forecast import network
from elman.models.forecast.data import Backtest, Collection, Forecasts, as_series, conformal_factors, interval_levels
from elman.models.forecast.files import fitted_from, fitted_parts
from elman.models.forecast.judging import judge
from elman.models.forecast.network import ForecastNetwork
from elman.models.forecast.training import Trainee, thinned, true_values, whole_scale
from elman.models.forecast.windows import Batch, Indices, Recipe, Windows
from elman.models.inputs import naming
from elman.models.options import ForecasterOptions, documented
from elman.nn import Recurrent
from elman.nn.likelihood import LOSSES, Likelihood, likelihood
from elman.runtime.document import Document
from elman.training.progress import Progress

STRATEGIES = ("direct", "recursive")
RELATIVE, SCALING, OVER = (
    ("auto", "none", "last", "season"),
    ("auto", "standard", "mean", "none"),
    ("lookback", "series"),
)
VALIDATED = 1000
"""Windows of the held-out part that are looked at, at most."""
ROWS = 4096
"""Windows, or futures of windows, that are computed at once."""


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Forecaster(ForecasterOptions, Estimator):
    """The next steps of series, with intervals.

    Learns from windows of all series together, and is judged on the last part of each. The forecast is the mean for
    squared, gaussian and negative-binomial, else the median.
    """

    task: ClassVar[str] = "forecast"

    recipe_: Recipe = dataclasses.field(init=False, repr=False)
    """How windows are read."""
    columns_: Columns | None = dataclasses.field(init=False, repr=False)
    frequency_: Frequency | None = dataclasses.field(init=False, repr=False)
    inputs_: tuple[np.ndarray, np.ndarray] = dataclasses.field(init=False, repr=False)
    """Mean and scale of the known and past inputs."""
    names_: tuple[str, ...] = dataclasses.field(init=False, repr=False)
    """The series that it learnt from, where it tells them apart or knows their scales."""
    scales_: dict[str, tuple[float, float]] = dataclasses.field(init=False, repr=False)
    factors_: np.ndarray | None = dataclasses.field(init=False, repr=False)
    """(P, H): how much each interval is stretched at each step."""
    module_: ForecastNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        for name, choices in (
            ("strategy", STRATEGIES), ("loss", LOSSES), ("relative", RELATIVE), ("scaling", SCALING),
            ("scaling_over", OVER), ("layout", LAYOUTS),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in choices:
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag} is {value!r}, which is not known{did_you_mean(str(value), choices)}")
        self._check_whole("horizon", "lookback", optional=True)
        self._check_whole("samples", "epoch_batches")
        self._check_whole("series_size", "holdout", least=0)
        for name in ("head_sizes", "intervals", *(() if self.season is None else ("season",))):
            self._check_sizes(name)
        if not self.intervals or max(self.intervals) > 99 or len(set(self.intervals)) < len(self.intervals):
            raise OptionError(f"--intervals must be different percentages from 1 to 99, not {self.intervals!r}")
        for name in self._calendar_names():
            if name not in CALENDAR:
                raise OptionError(f"--calendar has no {name!r}{did_you_mean(name, CALENDAR)}")
        if self.strategy == "recursive" and self.past:
            raise OptionError("--past inputs are not known step by step; take --strategy direct, or --known")
        if self.likelihood.counts and (self.relative not in ("auto", "none") or self.scaling == "standard"):
            raise OptionError(
                f"--loss {self.loss} is for counts, which are not shifted: no --relative or --scaling standard"
            )

    @property
    def likelihood(self) -> Likelihood:
        """The loss, with what it says of the values."""
        return likelihood(self.loss, self.levels)

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles at the ends of the intervals, and the median."""
        return tuple(sorted({0.5, *(level for percent in self.intervals for level in interval_levels(percent))}))

    def _calendar_names(self) -> tuple[str, ...]:
        return () if self.calendar in ("auto", "none", "") else tuple(n.strip() for n in self.calendar.split(","))

    # -- learning ------------------------------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        valid: Any = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Forecaster:
        """Learn from series: a Path, a Table, a data frame, arrays, TimeSeries (see `as_series`).

        valid: series that decide which weights are kept; default: the last `valid_fraction` of every series.
        """
        self.check()
        self.__dict__.pop("module_", None)
        data = as_series(X, self)
        if self.holdout:
            data = dataclasses.replace(data, series=[one.head(max(0, len(one) - self.holdout)) for one in data.series])
        self.columns_, self.frequency_ = data.columns, data.frequency
        self.recipe_ = self._recipe(data)
        learn, ends, notes = self._parts(data, split=valid is None and self.valid_fraction > 0)
        for note in [*data.notes, *notes]:
            (progress or Progress()).note(note)
        apart = bool(self.series_size or self.scaling_over == "series")
        self.names_ = tuple(one.name for one in learn) if apart else ()
        self.inputs_, self.scales_, self.factors_ = (np.zeros(0), np.zeros(0)), {}, None
        self.inputs_ = Windows([one.head(end) for one, end in zip(learn, ends)], self.recipe_).inputs
        if self.scaling_over == "series":
            self.scales_ = {
                one.name: whole_scale(one.values[:end], self.recipe_.scaling) for one, end in zip(learn, ends)
            }
        windows = self._windows(learn)
        first = np.full(len(learn), self.recipe_.lookback)
        train = windows.origins(first, ends - self.recipe_.horizon)
        held_windows, held = windows, windows.origins(ends, windows.lengths - self.recipe_.horizon)
        if valid is not None:
            with naming(valid):
                held_windows = self._windows(as_series(valid, self, self.columns_, self.frequency_).series)
                first = np.full(len(held_windows.series), self.recipe_.lookback)
                held = held_windows.origins(first, held_windows.lengths - self.recipe_.horizon)
                if not len(held[0]):
                    held_windows.require_values(self.recipe_.horizon, "to validate by")
        with self._seeded():
            self._build(self._recurrent(self._input_size()))
        self.module_.to(self.device)
        trainee = Trainee(self, windows, train, held_windows, thinned(held, VALIDATED))
        arrays = [windows.values, windows.observed, windows.ahead, windows.past, *train, held_windows.values, *held]
        self._train(trainee, arrays, folder, resume, progress)
        if self.calibrate and len(trainee.held[0]):
            self.factors_ = self._calibrated(held_windows, *thinned(held, VALIDATED // 2))
        return self

    def _recipe(self, data: Collection) -> Recipe:
        """What was chosen, with what is left open decided by the data."""
        shortest = min((len(one) for one in data.series), default=0)
        if not data.series:
            raise DataError("there are no series")
        seasons = tuple(season for season in self.season or () if season > 1)
        if self.season is None and data.frequency is not None and (own := data.frequency.season):
            seasons = (own,) if shortest >= 3 * own else ()
        horizon = self.horizon or (seasons[0] if seasons else 12)
        lookback = self.lookback
        if lookback is None:
            lookback = max(min(max(2 * horizon, 2 * max(seasons, default=1)), shortest - 2 * horizon), *seasons, 1)
        if lookback < max(seasons, default=1):
            raise OptionError(f"--lookback {lookback} is shorter than the season of {max(seasons)}; it must hold one")
        counts = self.likelihood.counts
        relative = ("none" if counts else "season" if seasons else "last") if self.relative == "auto" else self.relative
        if relative == "season" and not seasons:
            raise OptionError("--relative season needs a season; name it with --season 24")
        dates = calendar_for(data.frequency) if self.calendar == "auto" else self._calendar_names()
        if dates and (data.frequency is None or data.frequency.unit == "step"):
            raise OptionError(f"--calendar {','.join(dates)} needs times, and the data has none; name them with --time")
        scaling = ("mean" if counts else "standard") if self.scaling == "auto" else self.scaling
        known, past = ((), ()) if data.columns is None else (data.columns.known, data.columns.past)
        if data.columns is None:  # arrays: inputs by number
            first = data.series[0]
            known, past = (tuple(str(1 + n) for n in range(part.shape[1])) for part in (first.known, first.past))
        return Recipe(
            lookback, horizon, self.strategy == "recursive", seasons, relative, scaling, dates, known, past
        )  # fmt: skip

    def _parts(self, data: Collection, split: bool) -> tuple[list[TimeSeries], Indices, list[str]]:
        """The series that are long enough to learn from, where the part to learn from ends in each, and notes."""
        least = self.recipe_.lookback + self.recipe_.horizon
        learn = [one for one in data.series if len(one) >= least]
        short = [one for one in data.series if len(one) < least]
        if not learn:
            longest = max(data.series, key=len)
            raise DataError(
                f"series {brief(longest.name)}, the longest, has {len(longest)} values to learn from; a lookback of "
                f"{self.recipe_.lookback} and a horizon of {self.recipe_.horizon} need {least}: lower one, or give more"
            )
        notes = []
        if short:
            notes.append(
                f"{len(short)} of {len(data.series)} series are not learnt from: they have fewer than {least} values "
                f"(lookback and horizon), as {brief(short[0].name)} with {len(short[0])}"
            )
        lengths = np.array([len(one) for one in learn], np.int64)
        # Two horizons hold a whole horizon's worth of origins; where that leaves too little to learn from, one has one.
        held = np.maximum(2 * self.recipe_.horizon, np.round(self.valid_fraction * lengths).astype(np.int64))
        held = np.where(lengths - held >= least, held, self.recipe_.horizon)
        ends = np.where(split & (lengths - held >= least), lengths - held, lengths)
        if split and (ends == lengths).all():
            notes.append("too short to hold a part out: the last weights are kept, no interval is checked")
        return learn, ends, notes

    def _windows(self, series: list[TimeSeries]) -> Windows:
        recipe = self.recipe_
        for one in series:
            if (one.known.shape[1], one.past.shape[1]) != (len(recipe.known), len(recipe.past)) and (
                len(one.known) or len(one.past) or recipe.known or recipe.past
            ):
                raise DataError(
                    f"series {brief(one.name)} has {one.known.shape[1]} known and {one.past.shape[1]} past inputs; the "
                    f"model reads {len(recipe.known)} and {len(recipe.past)}"
                )
            if recipe.calendar and (one.start is None or one.frequency is None):
                raise DataError(f"series {brief(one.name)} has no times, but the model reads the calendar")
        numbers = {name: number for number, name in enumerate(self.names_)} if self.series_size else {}
        scales, inputs = self.scales_ or None, self.inputs_ if len(self.inputs_[0]) else None
        return Windows(series, recipe, inputs=inputs, scales=scales, numbers=numbers)

    def _input_size(self) -> int:
        return self.recipe_.input_size + self.series_size

    def _build(self, recurrent: Recurrent) -> None:
        series = (len(self.names_) + 1, self.series_size) if self.series_size else None
        self.module_ = ForecastNetwork(recurrent, self.likelihood.count, self.head_sizes, self.dropout, series)

    # -- use -----------------------------------------------------------------------------------------------------------
    @property
    def _like(self) -> Tensor:
        return next(self.module_.parameters())

    def _read(self, X: Any) -> list[TimeSeries]:
        self._need_fit()
        return as_series(X, self, self.columns_, self.frequency_).series

    def _ahead(
        self, windows: Windows, series: Indices, origins: Indices, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Forecasts (N, H), quantiles (N, H, Q) and scales (N, 1) of the windows, in the units of the series."""
        recipe, parts = self.recipe_, []
        generator = torch.Generator(self._like.device).manual_seed(self.seed)
        size = max(1, ROWS // self.samples) if recipe.recursive and self.likelihood.spread else 256
        for start in range(0, len(series), size):
            batch = windows.batch(series[start : start + size], origins[start : start + size])
            point, quantiles = self._scaled(batch, generator)
            scale, center = batch.scale[:, None].astype(np.float64), batch.center[:, None]
            point = center + scale * point
            parts.append((point, center[..., None] + scale[..., None] * quantiles, scale))
        point, quantiles, scale = (np.concatenate(part) for part in zip(*parts))
        return point, self._stretched(quantiles, scale) if calibrated else quantiles, scale

    def _scaled(self, batch: Batch, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scaled forecasts (B, H) and quantiles (B, H, Q) of a batch."""
        how = (self.module_, self.likelihood, self.recipe_, batch)
        if not self.recipe_.recursive:
            point, quantiles = network.direct(*how, self.levels, self._like)
        else:
            drawn = network.paths(*how, self.samples, generator, self._like)  # (H, B, S)
            point = drawn.median(-1).values if self.loss == "quantile" else drawn.mean(-1)
            quantiles = drawn.quantile(drawn.new_tensor(self.levels), -1).movedim(0, -1)
        return point.double().cpu().numpy().T, quantiles.double().cpu().numpy().swapaxes(0, 1)

    def _stretched(self, quantiles: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Quantiles whose intervals reach as far as the held-out part asked for."""
        if self.factors_ is None:
            return quantiles
        middle, result = quantiles[..., self.levels.index(0.5)], quantiles.copy()
        for row, percent in enumerate(self.intervals):
            for side, level in zip((-1, 1), interval_levels(percent)):
                place = self.levels.index(level)
                reach = np.abs(quantiles[..., place] - middle) if self.likelihood.spread else scale
                result[..., place] = middle + side * self.factors_[row] * reach
        if self.likelihood.counts:
            result = np.maximum(result, 0)
        return np.sort(result, -1)

    def _calibrated(self, windows: Windows, series: Indices, origins: Indices) -> np.ndarray:
        """How far the intervals must be stretched, by the held-out windows."""
        _, quantiles, scale = self._ahead(windows, series, origins, calibrated=False)
        true = true_values(windows.series, series, origins, self.recipe_.horizon)
        middle = quantiles[..., self.levels.index(0.5)]
        scores = []
        for percent in self.intervals:
            low, high = (quantiles[..., self.levels.index(level)] for level in interval_levels(percent))
            below, above = (middle - low, high - middle) if self.likelihood.spread else (scale, scale)
            reach = np.maximum(np.where(true < middle, below, above), 1e-9 * scale)
            scores.append(np.abs(true - middle) / reach)
        return conformal_factors(np.stack(scores), self.intervals)

    def forecast(self, X: Any) -> Forecasts:
        """What comes after the last value of each series, with intervals; known inputs must reach that far."""
        with naming(X):
            series = self._read(X)
            windows = self._windows(series)
            windows.require_values()
            windows.require_known(np.arange(len(series)), windows.lengths)
        point, quantiles, _ = self._ahead(windows, np.arange(len(series)), windows.lengths)
        return Forecasts(series, windows.lengths.tolist(), point, quantiles, self.levels, tuple(self.intervals))

    def predict(self, X: Any) -> np.ndarray:
        """(N, H): the next values of each series."""
        return self.forecast(X).point

    def backtest(self, X: Any, *, steps: int | None = None, stride: int | None = None) -> Backtest:
        """Forecasts from origins in the last `steps` of each series (default: the `holdout`, or one horizon), every
        `stride` (default: a horizon) steps, each from what was known then, beside naive forecasts."""
        windows, number, origins, steps = self.to_judge(X, steps=steps, stride=stride)
        point, quantiles, _ = self._ahead(windows, number, origins)
        every = [windows.series[index] for index in number]
        forecasts = Forecasts(every, origins.tolist(), point, quantiles, self.levels, tuple(self.intervals))
        true = true_values(windows.series, number, origins, self.recipe_.horizon)
        return Backtest(forecasts, true, judge(forecasts, true, steps, self.recipe_.seasons))

    def to_judge(
        self, X: Any, y: None = None, *, steps: int | None = None, stride: int | None = None
    ) -> tuple[Windows, Indices, Indices, int]:
        """Windows, the series and the origin of each that `backtest` looks at, and its steps."""
        horizon = self.recipe_.horizon
        steps = steps if steps is not None else max(self.holdout, horizon)
        stride = horizon if stride is None else stride
        if steps < horizon or stride < 1:
            raise OptionError(f"a back-test over {steps} steps, every {stride}, holds no horizon of {horizon} steps")
        with naming(X):
            windows = self._windows(self._read(X))
            windows.require_values(steps, "to be judged")
            number, origins = windows.origins(windows.lengths - steps, windows.lengths - horizon, stride)
            windows.require_known(number, origins)
        return windows, number, origins, steps

    def evaluate(
        self, X: Any, y: None = None, *, steps: int | None = None, stride: int | None = None
    ) -> dict[str, float]:
        """The figures of `backtest`: of the model, and with the naive forecast's name before them of that."""
        return self.backtest(X, steps=steps, stride=stride).figures()

    def score(self, X: Any, y: None = None) -> float:
        """Minus the mean absolute scaled error: more is better, above -1 beats a seasonal naive forecast."""
        return -self.evaluate(X)["mase"]

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], list[Sequence[str]]]:
        windows = self._windows(self._read(X))
        first = np.full(len(windows.series), self.recipe_.lookback)
        number, origins = thinned(windows.origins(first, windows.lengths - self.recipe_.horizon), sequences)
        if not len(number):
            raise DataError("no series holds a lookback and a horizon: there is nothing to diagnose")
        batch = windows.batch(number, origins)

        def loss() -> Tensor:
            total, count = network.loss(self.module_, self.likelihood, self.recipe_, batch, self._like)
            return total / count.clamp(min=1)

        return loss, []

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return fitted_parts(self)

    def _scaling(self) -> dict[str, list[float]]:
        pairs = [self.scales_[name] for name in self.names_] if self.scales_ else []
        found = {"input_mean": self.inputs_[0].tolist(), "input_scale": self.inputs_[1].tolist()}
        return found | {"center": [center for center, _ in pairs], "scale": [scale for _, scale in pairs]}

    def _restore(self, doc: Document) -> None:
        for name, value in fitted_from(doc, self).items():
            setattr(self, name, value)
        self._build(self._recurrent_from(doc, self._input_size()))
