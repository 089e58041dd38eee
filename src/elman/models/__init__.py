"""Models: one estimator a task, from the user's data to a model file and back. Loaded on first use: they need torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.models.captioner import Captioner
    from elman.models.classifier import SequenceClassifier
    from elman.models.encoder_decoder import EncoderDecoder
    from elman.models.forecaster import Forecaster
    from elman.models.label_sets import LabelSetModel
    from elman.models.language_model import LanguageModel
    from elman.models.loading import TASKS, load
    from elman.models.regressor import SequenceRegressor
    from elman.models.tagger import SequenceTagger
    from elman.models.transcriber import Transcriber

_HOME = {
    "Captioner": "captioner",
    "EncoderDecoder": "encoder_decoder",
    "Forecaster": "forecaster",
    "LabelSetModel": "label_sets",
    "LanguageModel": "language_model",
    "SequenceClassifier": "classifier",
    "SequenceRegressor": "regressor",
    "SequenceTagger": "tagger",
    "TASKS": "loading",
    "Transcriber": "transcriber",
    "load": "loading",
}

__all__ = [
    "TASKS",
    "Captioner",
    "EncoderDecoder",
    "Forecaster",
    "LabelSetModel",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "Transcriber",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'elman.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elman.models.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
