"""A back-test's figures: of the model's forecasts, and of the naive ones from the same origins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman.models.forecast.data import Array, Forecasts
from elman.training import forecast_metrics as metrics


def judge(forecasts: Forecasts, true: Array, steps: int, seasons: Sequence[int]) -> dict[str, dict[str, float]]:
    """Figures by method. `steps`: how many of the last values of each series are judged; errors are scaled (mase) by
    those of the seasonal naive forecast on what comes before."""
    horizon, season = true.shape[1], seasons[0] if seasons else 1
    before = [one.values[: len(one) - steps] for one in forecasts.series]
    scale = np.array([metrics.mase_scale(values, season) for values in before])
    rows = {"model": _figures(true, forecasts.point, scale)}
    rows["model"]["pinball"] = metrics.pinball(true, forecasts.quantiles, forecasts.levels)
    for percent in forecasts.intervals:
        rows["model"][f"coverage_{percent}"] = metrics.coverage(true, *forecasts.interval(percent))
    histories = [one.values[:origin] for one, origin in zip(forecasts.series, forecasts.origins)]
    methods = {"naive": metrics.naive, "drift": metrics.drift}
    for name, method in methods.items():
        rows[name] = _figures(true, np.stack([method(values, horizon) for values in histories]), scale)
    if season > 1:
        values = np.stack([metrics.seasonal_naive(values, horizon, season) for values in histories])
        rows["seasonal_naive"] = _figures(true, values, scale)
    return rows


def _figures(true: Array, point: Array, scale: Array) -> dict[str, float]:
    return {
        "smape": metrics.smape(true, point),
        "mase": metrics.mase(true, point, scale),
        "mae": metrics.mae(true, point),
        "rmse": metrics.rmse(true, point),
    }
