"""Training: the loop, its options, checkpoints, optimisers, schedules, log, progress, learning curve and metrics.

The names below are loaded on first use: options, metrics and progress need no torch, only `fit` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.training.loop import Trainee, fit
    from elman.training.options import Summary, TrainingOptions
    from elman.training.pictures.learning_curve import learning_curve
    from elman.training.progress import Progress

_HOME = {
    "Trainee": "loop",
    "fit": "loop",
    "Summary": "options",
    "TrainingOptions": "options",
    "learning_curve": "pictures.learning_curve",
    "Progress": "progress",
}

__all__ = ["Progress", "Summary", "Trainee", "TrainingOptions", "fit", "learning_curve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'elman.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elman.training.{_HOME[name]}"), name)
