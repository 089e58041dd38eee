"""Models: one estimator a task, from the user's data to a model file and back. Loaded on first use: they need torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.models.forecast.forecaster import Forecaster
    from elman.models.label_sets import LabelSetModel
    from elman.models.language.language_model import LanguageModel
    from elman.models.loading import TASKS, load
    from elman.models.sequence.classifier import SequenceClassifier
    from elman.models.sequence.regressor import SequenceRegressor
    from elman.models.speech.transcriber import Transcriber
    from elman.models.tag.tagger import SequenceTagger
    from elman.models.write.captioner import Captioner
    from elman.models.write.encoder_decoder import EncoderDecoder

_HOME = {
    "Captioner": "write.captioner",
    "EncoderDecoder": "write.encoder_decoder",
    "Forecaster": "forecast.forecaster",
    "LabelSetModel": "label_sets",
    "LanguageModel": "language.language_model",
    "SequenceClassifier": "sequence.classifier",
    "SequenceRegressor": "sequence.regressor",
    "SequenceTagger": "tag.tagger",
    "TASKS": "loading",
    "Transcriber": "speech.transcriber",
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
