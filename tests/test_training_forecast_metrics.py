"""Figures of forecasts by numbers worked out by hand, and the naive forecasts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from elman.errors import DataError
from elman.training import forecast_metrics as metrics

NAN = math.nan


def test_errors() -> None:
    assert metrics.mae([1, 2, NAN], [2, 4, 9]) == 1.5
    assert metrics.rmse([1, 2, NAN], [2, 4, 9]) == pytest.approx(math.sqrt(2.5))
    # 200·1/3 and 200·2/6, and 0 where both are 0
    assert metrics.smape([1, 2, 0, NAN], [2, 4, 0, 1]) == pytest.approx((200 / 3 + 200 / 3 + 0) / 3)
    assert metrics.smape([1], [-1]) == 200
    assert math.isnan(metrics.mae([NAN], [1]))


def test_mase() -> None:
    assert metrics.mase_scale([1, 3, 2, NAN, 7, 9]) == pytest.approx((2 + 1 + 2) / 3)
    assert metrics.mase_scale([1, 3, 2, 5], season=2) == pytest.approx((1 + 2) / 2)
    assert math.isnan(metrics.mase_scale([1], season=1))
    true, given = np.array([[1.0, 2.0], [5.0, 5.0], [0.0, 0.0]]), np.array([[2.0, 4.0], [5.0, 9.0], [7.0, 7.0]])
    # errors 1, 2 over 2, and 0, 4 over 4; a constant series has no scale
    assert metrics.mase(true, given, [2.0, 4.0, 0.0]) == pytest.approx((0.5 + 1 + 0 + 1) / 4)


def test_pinball_and_coverage() -> None:
    # 0.9·(3 - 1), then (1 - 0.9)·(2 - 1)
    assert metrics.pinball([3, 1, NAN], [[1.0], [2.0], [5.0]], [0.9]) == pytest.approx((1.8 + 0.1) / 2)
    assert metrics.pinball([3], [[1.0, 3.5]], [0.5, 0.9]) == pytest.approx((1.0 + 0.05) / 2)
    assert metrics.coverage([1, 2, 3, NAN], [1, 1, 4, 0], [2, 1, 5, 1]) == pytest.approx(1 / 3)


def test_naive_forecasts() -> None:
    history = [1.0, 5.0, 2.0, 6.0, NAN]
    assert metrics.naive(history, 3).tolist() == [6, 6, 6]
    assert metrics.seasonal_naive([1, 5, 2, 6], 5, 2).tolist() == [2, 6, 2, 6, 2]
    assert metrics.seasonal_naive(history, 2, 2).tolist() == [6, 6]
    assert metrics.drift([1, 2, 9], 2).tolist() == [13, 17]
    assert metrics.drift([4], 2).tolist() == [4, 4]
    with pytest.raises(DataError, match="no season of 3"):
        metrics.seasonal_naive([1, 2], 1, 3)
    with pytest.raises(DataError, match="without any value"):
        metrics.naive([NAN], 1)
    with pytest.raises(DataError, match="not the same"):
        metrics.mae([1, 2], [1])
