"""Which of many are looked at."""

from __future__ import annotations

import numpy as np


def evenly(count: int, of: int) -> list[int]:
    """Up to `count` numbers below `of`, evenly spaced, the last of them and the first."""
    return sorted({int(i) for i in np.linspace(of - 1, 0, min(count, of)).round()})
