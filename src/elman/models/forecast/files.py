"""What the model file of a forecaster holds besides options and weights, and back: all is checked on the way in."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from elman.data.times import CALENDAR, Frequency
from elman.data.timeseries import Columns
from elman.errors import DataError
from elman.models.forecast.windows import Recipe
from elman.runtime.document import Document, short

MOST = 1 << 20
"""The longest lookback, horizon and season that a file may claim."""


class _Fitted(msgspec.Struct, forbid_unknown_fields=True):
    """The part "series" of a document's vocabularies."""

    lookback: int
    horizon: int
    seasons: tuple[int, ...]
    relative: Literal["none", "last", "season"]
    scaling: Literal["standard", "mean", "none"]
    calendar: tuple[str, ...]
    known: tuple[str, ...]
    past: tuple[str, ...]
    frequency: str | None
    columns: dict[str, Any] | None
    names: tuple[str, ...]
    factors: list[list[float]] | None


def fitted_parts(model: Any) -> dict[str, Any]:
    """What `model`, a Forecaster, knows, as the document keeps it."""
    recipe, columns = model.recipe_, model.columns_
    fitted = _Fitted(
        recipe.lookback, recipe.horizon, recipe.seasons, recipe.relative, recipe.scaling, recipe.calendar,
        recipe.known, recipe.past, None if model.frequency_ is None else str(model.frequency_),
        None if columns is None else vars(columns), model.names_,
        None if model.factors_ is None else model.factors_.tolist(),
    )  # fmt: skip
    return {"series": msgspec.to_builtins(fitted)}


def fitted_from(doc: Document, model: Any) -> dict[str, Any]:
    """The fitted attributes of `model`, a Forecaster whose options are set. DataError for what does not fit them."""
    try:
        fitted = msgspec.convert(doc.vocabularies.get("series", {}), _Fitted)
        columns = None if fitted.columns is None else msgspec.convert(fitted.columns, Columns)
    except msgspec.ValidationError as error:
        raise DataError(f"what it knows of series is not what it should be: {short(error)}") from None
    recipe = Recipe(
        fitted.lookback, fitted.horizon, model.strategy == "recursive", fitted.seasons, fitted.relative, fitted.scaling,
        fitted.calendar, fitted.known, fitted.past,
    )  # fmt: skip
    _check_recipe(recipe, model)
    frequency = None if fitted.frequency is None else Frequency.parse(fitted.frequency)
    if recipe.calendar and (frequency is None or frequency.unit == "step" or set(recipe.calendar) - set(CALENDAR)):
        raise DataError("the calendar that it reads is not known, or it has no step of time")
    if columns is not None and (columns.known, columns.past) != (recipe.known, recipe.past):
        raise DataError("the columns are not those of the inputs")
    apart = bool(model.series_size or model.scaling_over == "series")
    if bool(fitted.names) != apart or len(set(fitted.names)) < len(fitted.names):
        raise DataError("the names of the series do not fit the options")
    inputs = len(recipe.known) + len(recipe.past)
    mean, scale = _numbers(doc, "input_mean", "input_scale", inputs)
    pairs = _numbers(doc, "center", "scale", len(fitted.names) if model.scaling_over == "series" else 0)
    return {
        "recipe_": recipe, "columns_": columns, "frequency_": frequency,
        "names_": fitted.names, "inputs_": (mean, scale),
        "scales_": {name: (float(c), float(s)) for name, c, s in zip(fitted.names, *pairs)},
        "factors_": _factors(fitted.factors, len(model.intervals), recipe.horizon),
    }  # fmt: skip


def _check_recipe(recipe: Recipe, model: Any) -> None:
    sizes = (recipe.lookback, recipe.horizon, *recipe.seasons)
    if not all(1 <= size <= MOST for size in sizes) or recipe.lookback < max(recipe.seasons, default=1):
        raise DataError("the lookback, the horizon or a season cannot be")
    for name in ("lookback", "horizon", "relative", "scaling"):
        if getattr(model, name) not in (None, "auto", getattr(recipe, name)):
            raise DataError(f"the {name} is not the one of the options")
    if recipe.relative == "season" and not recipe.seasons:
        raise DataError("the forecast is relative to a season that it does not have")
    if model.likelihood.counts and (recipe.relative, recipe.scaling == "standard") != ("none", False):
        raise DataError("counts are shifted, which cannot be")


def _numbers(doc: Document, center: str, scale: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centers and scales (count,) that can be computed with."""
    one, two = (np.array(doc.scaling.get(name, ()), np.float64) for name in (center, scale))
    if one.shape != (count,) or two.shape != (count,):
        raise DataError(f"the scaling must have {count:,} numbers under {center!r} and {scale!r}")
    if not (np.abs(one) < 1e300).all() or not ((two > 1e-300) & (two < 1e300)).all():
        raise DataError(f"the scaling has a {center} or {scale} that cannot be computed with")
    return one, two


def _factors(given: list[list[float]] | None, intervals: int, horizon: int) -> np.ndarray | None:
    if given is None:
        return None
    if len(given) != intervals or any(len(row) != horizon for row in given):
        raise DataError(f"the intervals must have {intervals} x {horizon} factors")
    factors = np.array(given, np.float64)
    if not ((factors >= 0) & (factors < 1e12)).all():
        raise DataError("a factor of the intervals is below 0 or not a number that can be used")
    return factors
