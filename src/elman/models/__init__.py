"""Models: one estimator a task, from the user's data to a model file and back."""

from __future__ import annotations

from elman.models.classifier import SequenceClassifier
from elman.models.language_model import LanguageModel
from elman.models.tagger import SequenceTagger

TASKS = {model.task: model for model in (LanguageModel, SequenceClassifier, SequenceTagger)}
"""The estimators by the names that the command line and the model files use."""

__all__ = ["TASKS", "LanguageModel", "SequenceClassifier", "SequenceTagger"]
