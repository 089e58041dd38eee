"""Any model file as the estimator of its task."""

from __future__ import annotations

import os

from elman.errors import ModelFileError
from elman.models.estimator import Estimator
from elman.models.forecast.forecaster import Forecaster
from elman.models.label_sets import LabelSetModel
from elman.models.language.language_model import LanguageModel
from elman.models.sequence.classifier import SequenceClassifier
from elman.models.sequence.regressor import SequenceRegressor
from elman.models.speech.transcriber import Transcriber
from elman.models.tag.tagger import SequenceTagger
from elman.models.write.captioner import Captioner
from elman.models.write.encoder_decoder import EncoderDecoder
from elman.runtime import model_file

TASKS: dict[str, type[Estimator]] = {
    estimator.task: estimator
    for estimator in (
        LanguageModel,
        SequenceClassifier,
        SequenceRegressor,
        SequenceTagger,
        Transcriber,
        EncoderDecoder,
        Forecaster,
        LabelSetModel,
        Captioner,
    )
}
"""The estimators by the names that the command line and the model files use."""


def load(path: str | os.PathLike[str]) -> Estimator:
    """The estimator in a model file, whatever its task, ready to predict. Raises ModelFileError."""
    document, tensors = model_file.load(path)
    if document.task not in TASKS:
        raise ModelFileError(
            f"cannot load {os.fspath(path)!r}: it is a model for {document.task}, which this elman does not know; "
            f"known: {', '.join(TASKS)}"
        )
    return TASKS[document.task].restored(path, document, tensors)
