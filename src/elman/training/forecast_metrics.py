"""Figures by which forecasts are judged, and the naive forecasts to beat. Arrays, NaN where there is no true value.

Imports no torch. Definitions as in Makridakis, Spiliotis & Assimakopoulos 2020, The M4 competition, and Hyndman &
Koehler 2006, Another look at measures of forecast accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError

Array = NDArray[np.float64]


def mae(true: ArrayLike, forecast: ArrayLike) -> float:
    """Mean absolute error."""
    expected, given = _pair(true, forecast)
    return _mean(np.abs(expected - given))


def rmse(true: ArrayLike, forecast: ArrayLike) -> float:
    """Root of the mean squared error."""
    expected, given = _pair(true, forecast)
    return float(np.sqrt(_mean((expected - given) ** 2)))


def smape(true: ArrayLike, forecast: ArrayLike) -> float:
    """Symmetric mean absolute percentage error, 0 to 200: the mean of 200·|y - f| / (|y| + |f|); 0 where both are 0."""
    expected, given = _pair(true, forecast)
    size = np.abs(expected) + np.abs(given)
    error = np.abs(expected - given)
    return _mean(200 * np.where(size > 0, error / np.where(size > 0, size, 1), np.where(np.isnan(size), np.nan, 0)))


def mase_scale(history: ArrayLike, season: int = 1) -> float:
    """The mean absolute error of the seasonal naive forecast, one season ahead, inside a history (T,); NaN where no two
    values are a season apart."""
    values = np.asarray(history, np.float64)
    return _mean(np.abs(values[season:] - values[:-season])) if len(values) > season else float("nan")


def mase(true: ArrayLike, forecast: ArrayLike, scale: ArrayLike) -> float:
    """Mean absolute scaled error: absolute errors (N, H) over the `mase_scale` (N) of each series. Series whose scale
    is 0 or not known (constant, or too short) do not count."""
    expected, given = _pair(true, forecast)
    sizes = np.asarray(scale, np.float64).reshape(-1, *[1] * (expected.ndim - 1))
    return _mean(np.abs(expected - given) / np.where(sizes > 0, sizes, np.nan))


def pinball(true: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> float:
    """The quantile loss, on average over values (...) and levels (Q): quantiles (..., Q)."""
    expected = np.asarray(true, np.float64)[..., None]
    error = expected - np.asarray(quantiles, np.float64)
    share = np.asarray(levels, np.float64)
    return _mean(np.maximum(share * error, (share - 1) * error))


def coverage(true: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """The share of values that lie in their interval, ends included."""
    expected, lower = _pair(true, low)
    _, upper = _pair(true, high)
    return _mean(np.where(np.isnan(expected), np.nan, (expected >= lower) & (expected <= upper)))


def naive(history: ArrayLike, horizon: int) -> Array:
    """The last value, for every step."""
    return seasonal_naive(history, horizon, 1)


def seasonal_naive(history: ArrayLike, horizon: int, season: int) -> Array:
    """The values of the last season, again and again; a missing one is the one before it in the history."""
    values = _carried(history)
    if len(values) < season:
        raise DataError(f"a history of {len(values)} values has no season of {season}")
    return np.asarray(values[len(values) - season + np.arange(horizon) % season])


def drift(history: ArrayLike, horizon: int) -> Array:
    """The line from the first to the last value, drawn on."""
    values = _carried(history)
    slope = (values[-1] - values[0]) / max(1, len(values) - 1)
    return np.asarray(values[-1] + slope * np.arange(1, horizon + 1))


def _carried(history: ArrayLike) -> Array:
    """Without missing values: each is the last one before it, or the first of all."""
    values = np.asarray(history, np.float64)
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        raise DataError("a history without any value has no naive forecast")
    last = np.searchsorted(there, np.arange(len(values)), side="right") - 1
    return np.asarray(values[there[np.maximum(last, 0)]])


def _pair(true: ArrayLike, forecast: ArrayLike) -> tuple[Array, Array]:
    expected, given = np.asarray(true, np.float64), np.asarray(forecast, np.float64)
    if expected.shape != given.shape:
        raise DataError(f"true values of shape {expected.shape} against forecasts of shape {given.shape}: not the same")
    return expected, given


def _mean(values: NDArray[Any]) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return float(values[there].mean()) if there.any() else float("nan")
