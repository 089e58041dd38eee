"""Classification of whole sequences: texts by characters or words, numeric series of one or many channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.table import Table
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError
from elman.models.inputs import known, place
from elman.models.options import ClassifierOptions, documented
from elman.models.restoring import vocabulary_from
from elman.models.sequence.ngrams import Direct
from elman.models.sequence.sequence import Rows, SequenceEstimator
from elman.runtime.document import Document
from elman.runtime.ngrams import MOST, MOST_ROWS
from elman.training.metrics import accuracy, macro_f1


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierOptions, SequenceEstimator):
    """One label for a whole sequence.

    level "auto": numbers are series, texts of several words are read by words, others by characters. class_weight
    "balanced": inverse to the frequency.

    fit: X and targets y (lists), a Table, or a Path with the columns `input` and `target`. A large file
    (`elman.data.pieces.LARGE`) is never held whole: its numbers lie on disk meanwhile.
    """

    task: ClassVar[str] = "classify"
    targets, monitor, maximize = "labels", "accuracy", True

    labels_: Vocabulary = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        _weights(self.class_weight)
        self._check_whole("ngrams", least=0)
        self._check_whole("ngram_rows")
        for name, most in (("ngrams", MOST), ("ngram_rows", MOST_ROWS)):
            if getattr(self, name) > most:
                raise OptionError(f"--{name.replace('_', '-')} can be {most:,} at most, not {getattr(self, name)}")

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn_targets(self, targets: Sequence[Any], where: Table | str) -> None:
        self.labels_ = Vocabulary.build([[str(label) for label in targets]], unknown=None)
        if len(self.labels_) < 2:
            raise DataError(f"all labels are {str(targets[0])!r}; a classifier needs two or more")

    def _numbers(self, targets: Sequence[Any], where: Table | str) -> np.ndarray:
        labels = [str(label) for label in targets]
        for i, label in enumerate(labels):
            if label not in self.labels_:
                raise DataError(
                    f"{place(where, i)}: unknown label {label!r}{known(label, self.labels_.tokens)}; "
                    "the model knows those it was trained on"
                )
        return self.labels_.encode(labels)

    @property
    def _outputs(self) -> int:
        return len(self.labels_)

    def _direct(self) -> Direct | None:
        if not self.ngrams:
            return None
        if self.vocabulary_ is None:
            raise OptionError("--ngrams is for texts, but the sequences are series of numbers")
        return Direct(self.ngrams, self.ngram_rows, self._outputs, self.dropout)

    def _begin(self, learn: Iterable[Any], first: Any, numbers: np.ndarray) -> None:
        super()._begin(learn, first, numbers)
        weights = self.class_weights(numbers)
        self._class_weights = None if weights is None else weights.to(self.device)

    def _loss(self, outputs: Tensor, numbers: Tensor) -> Tensor:
        """Cross-entropy of logits (B, V), nats, each class by its weight."""
        return nn.functional.cross_entropy(outputs, numbers, self._class_weights)

    # -- use -----------------------------------------------------------------------------------------------------------
    @property
    def classes_(self) -> list[str]:
        """The labels, in the order of `predict_proba`'s columns."""
        return list(self.labels_.tokens)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, V) probabilities of the classes, in the order of `classes_`."""
        return torch.from_numpy(self._output(self._read(X))).double().softmax(1).numpy()

    def predict(self, X: Any) -> list[str]:
        """The likeliest label of each sequence."""
        logits = self._output(self._read(X))
        return self.labels_.decode(logits.argmax(1))

    def score(self, X: Any, y: Any = None) -> float:
        """Accuracy."""
        return self.evaluate(X, y)["accuracy"]

    def _figures(self, rows: Rows, numbers: np.ndarray) -> dict[str, float]:
        logits = torch.from_numpy(self._output(rows)).double()
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(numbers))
        found = logits.argmax(1).numpy()
        return {"loss": float(loss), "accuracy": accuracy(numbers, found), "macro_f1": macro_f1(numbers, found)}

    def class_weights(self, numbers: np.ndarray) -> Tensor | None:
        """How much each class counts in the loss (V), or None."""
        given = _weights(self.class_weight)
        if given is None:
            return None
        if isinstance(given, str):
            counts = np.bincount(numbers, minlength=len(self.labels_))
            return torch.tensor(len(numbers) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
        for label in given:
            if label not in self.labels_:
                raise OptionError(f"--class-weight names the unknown label {label!r}{known(label, self.classes_)}")
        return torch.tensor([given.get(label, 1.0) for label in self.labels_.tokens])

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return super()._vocabularies() | {"labels": self.labels_.to_json_data()}

    def _restore(self, doc: Document) -> None:
        self.class_weight = _weights(self.class_weight)
        self.labels_ = vocabulary_from(doc, "labels")
        self._class_weights = None  # they belong to training, and "balanced" ones to its data
        super()._restore(doc)


def _weights(given: Any) -> dict[str, float] | str | None:
    """The class weights as they are used; lists of "label=weight" are how a model file keeps them. OptionError."""
    if given is None or given == "balanced":
        return given  # type: ignore[no-any-return]
    try:
        if isinstance(given, Mapping):
            found = {str(label): float(weight) for label, weight in given.items()}
        elif isinstance(given, list):
            found = {label: float(weight) for label, _, weight in (pair.rpartition("=") for pair in given)}
        else:
            found = {}
    except (TypeError, ValueError, AttributeError):
        found = {}
    if not found or not all(0 < weight < np.inf for weight in found.values()):
        raise OptionError(f"--class-weight is {given!r}; it can be 'balanced', or weights above 0 by label")
    return found
