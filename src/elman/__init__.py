"""elman: the toolkit for recurrent neural networks.

The names below are loaded on first use: importing elman loads neither torch nor sympy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman import cells as cells
    from elman import data as data
    from elman import diagnosis as diagnosis
    from elman import models as models
    from elman import nn as nn
    from elman import runtime as runtime
    from elman import training as training
    from elman.cells import cell as cell
    from elman.diagnosis import compare as compare
    from elman.diagnosis import diagnose as diagnose
    from elman.models import Captioner as Captioner
    from elman.models import EncoderDecoder as EncoderDecoder
    from elman.models import Forecaster as Forecaster
    from elman.models import LabelSetModel as LabelSetModel
    from elman.models import LanguageModel as LanguageModel
    from elman.models import SequenceClassifier as SequenceClassifier
    from elman.models import SequenceRegressor as SequenceRegressor
    from elman.models import SequenceTagger as SequenceTagger
    from elman.models import Transcriber as Transcriber
    from elman.models import load as load
    from elman.nn import explain as explain

__version__ = "0.1.0"

_PACKAGES = ("cells", "data", "diagnosis", "models", "nn", "runtime", "training")
_HOME = {
    "Captioner": "models",
    "EncoderDecoder": "models",
    "Forecaster": "models",
    "LabelSetModel": "models",
    "LanguageModel": "models",
    "SequenceClassifier": "models",
    "SequenceRegressor": "models",
    "SequenceTagger": "models",
    "Transcriber": "models",
    "cell": "cells",
    "compare": "diagnosis",
    "diagnose": "diagnosis",
    "explain": "nn",
    "load": "models",
}

__all__ = [
    "Captioner", "EncoderDecoder", "Forecaster", "LabelSetModel", "LanguageModel", "SequenceClassifier",
    "SequenceRegressor", "SequenceTagger", "Transcriber", "__version__", "cell", "cells", "compare", "data",
    "diagnose", "diagnosis", "explain", "load", "models", "nn", "runtime", "training",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"elman.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"elman.{_HOME[name]}"), name)
    raise AttributeError(f"module 'elman' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
