"""Classification of whole sequences: texts by characters or words, numeric series of one or many channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.arrays import series, wide_series
from elman.data.batching import length_batches, pad, split
from elman.data.embeddings import read_embeddings
from elman.data.readers import read_table
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary, tokenize
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, as_tensor, initial_linear, recurrent_from
from elman.models.options import ClassifierOptions, documented
from elman.nn import Head, Pool, Recurrent
from elman.nn.head import POOLINGS, last_output
from elman.runtime.document import Document
from elman.training.metrics import accuracy, macro_f1
from elman.training.progress import Progress

LEVELS = ("auto", "char", "word", "space", "series")
Rows = list[np.ndarray]


class ClassifierNetwork(nn.Module):
    """Tokens (T, B) or series (T, B, I), lengths (B) -> logits (B, V)."""

    def __init__(
        self, vocabulary_size: int | None, recurrent: Recurrent, pooling: str, head_sizes: Sequence[int], classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = None if vocabulary_size is None else nn.Embedding(vocabulary_size, recurrent.input_size)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.1)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(recurrent.input_size))
        self.register_buffer("scale", torch.ones(recurrent.input_size))
        self.dropout = nn.Dropout(dropout)
        self.recurrent = recurrent
        self.pool = Pool(pooling, recurrent.output_size)
        self.head = Head(recurrent.output_size, classes, head_sizes, dropout=dropout)
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)

    def forward(self, x: Tensor, lengths: Any) -> Tensor:
        x = (x - self.mean) / self.scale if self.embedding is None else self.dropout(self.embedding(x))
        output, state = self.recurrent(x, lengths=lengths)
        pooled: Tensor = self.head(self.pool(output, last_output(self.recurrent, state), lengths))
        return pooled


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierOptions, Estimator):
    """One label for a whole sequence.

    level: "char", "word", "space" (texts) or "series" (numbers); "auto" looks at the data: numbers are series, texts of
    several words are read by words, others by characters. pooling: "last", "mean", "sum", "max", "attention"; "auto":
    max for words, last otherwise. head_sizes: layers between pooling and output. class_weight: None, "balanced"
    (inverse to frequency) or weights by label. lower: ignore case. min_count: rarer tokens become <unk> (default: 2 for
    words, 1 for characters). embeddings: a GloVe-format file for the words. input, target: columns of tables and files;
    input "a,b,c" or "*" (all but the target) reads numeric columns as the steps of a series.
    """

    task: ClassVar[str] = "classify"

    vocabulary_: Vocabulary | None = dataclasses.field(init=False, repr=False)
    labels_: Vocabulary = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        for name, known in (("level", LEVELS), ("pooling", ("auto", *POOLINGS))):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(f"--{name} is {value!r}, which is not known{did_you_mean(str(value), known)}")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise OptionError(f"--class-weight is {self.class_weight!r}; it can be 'balanced', or weights by label")

    # -- data ----------------------------------------------------------------------------------------------------------
    def _inputs(self, data: Any) -> tuple[list[Any], Table | str]:
        """The raw inputs, and where they come from for messages."""
        if isinstance(data, Path):
            data = read_table(data)
        if not isinstance(data, Table):
            return list(data), "the inputs"
        if self.input == "*" or "," in self.input:
            names = [n for n in data.names if n != self.target] if self.input == "*" else self.input.split(",")
            return list(wide_series(data, names)), data
        return data.column(self.input), data

    def _pairs(self, data: Any, labels: Any) -> tuple[list[Any], list[str], Table | str]:
        """Inputs and labels of a table, a file, or two lists."""
        if isinstance(data, Path):
            data = read_table(data)
        inputs, where = self._inputs(data)
        if labels is None:
            if not isinstance(data, Table):
                raise DataError("labels are missing: give y beside X, or a table with a column of labels")
            labels = data.column(self.target)
        labels = [str(label) for label in labels]
        if len(labels) != len(inputs):
            raise DataError(f"there are {len(inputs)} inputs and {len(labels)} labels; each input needs one")
        if not inputs:
            raise DataError("there are no sequences")
        return inputs, labels, where

    def _find_level(self, inputs: Sequence[Any]) -> str:
        if self.level != "auto":
            return self.level
        if not isinstance(inputs[0], str):
            return "series"
        return "word" if np.mean([len(text.split()) for text in inputs[:1000]]) >= 3 else "char"

    def _tokens(self, inputs: Sequence[Any], where: Table | str) -> list[Any]:
        odd = next((i for i, text in enumerate(inputs) if not isinstance(text, str)), None)
        if odd is not None:
            place = where.place(odd) if isinstance(where, Table) else f"{where}, record {odd + 1}"
            raise DataError(f"{place}: expected a text, got {type(inputs[odd]).__name__}; --level series reads numbers")
        texts = [text.lower() for text in inputs] if self.lower else inputs
        return list(texts) if self.level_ == "char" else [tokenize(text, self.level_) for text in texts]

    def _rows(self, inputs: Sequence[Any], where: Table | str) -> Rows:
        """Every input as numbers: token numbers (T,) or a series (T, I)."""
        if self.vocabulary_ is not None:
            return [self.vocabulary_.encode(tokens) for tokens in self._tokens(inputs, where)]
        if inputs and isinstance(inputs[0], str):
            raise DataError("this model reads series of numbers, but the inputs are texts; give --input a column of numbers")
        rows: Rows = list(series(inputs, where))
        if self.fitted and rows and rows[0].shape[1] != self.module_.recurrent.input_size:  # type: ignore[union-attr]
            raise DataError(
                f"the series have {rows[0].shape[1]} channels; the model was trained on {self.module_.recurrent.input_size}"  # type: ignore[union-attr]
            )
        return rows

    # -- learning ------------------------------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        valid: Any = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> SequenceClassifier:
        """Learn from X and labels y (lists), a Table, or a Path with the columns `input` and `target`.

        valid: (X, y), a Table or a Path that decides which weights are kept; default: a random `valid_fraction`.
        """
        self.check()
        self.__dict__.pop("module_", None)
        inputs, labels, where = self._pairs(X, y)
        held_inputs: list[Any] = []
        held_labels: list[str] = []
        held_where = where
        if valid is not None:
            held_inputs, held_labels, held_where = self._pairs(*valid) if isinstance(valid, tuple) else self._pairs(valid, None)
        self.level_ = self._find_level(inputs)
        self.labels_ = Vocabulary.build([labels], unknown=None)
        if len(self.labels_) < 2:
            raise DataError(f"all labels are {labels[0]!r}; a classifier needs two or more")
        self.vocabulary_ = None
        if self.level_ != "series":
            least = self.min_count or (1 if self.level_ == "char" else 2)
            self.vocabulary_ = Vocabulary.build(self._tokens(inputs, where), min_count=least, max_size=self.max_vocabulary)
        rows, held = self._rows(inputs, where), self._rows(held_inputs, held_where)
        numbers, held_numbers = self._numbers(labels, where), self._numbers(held_labels, held_where)
        if valid is None and self.valid_fraction:
            learn, check = split(len(rows), self.valid_fraction, self.seed)
            rows, held = [rows[i] for i in learn], [rows[i] for i in check]
            numbers, held_numbers = numbers[learn], numbers[check]
        with self._seeded():
            self._build(self._recurrent(rows[0].shape[-1]))
        if self.vocabulary_ is None:
            self._scale(rows)
        elif self.embeddings is not None:
            self._load_embeddings()
        trainee = _Trainee(self, rows, numbers, held, held_numbers)
        self._train(trainee, [*rows, *held], folder, resume, progress)
        return self

    def _numbers(self, labels: Sequence[str], where: Table | str) -> np.ndarray:
        for i, label in enumerate(labels):
            if label not in self.labels_:
                place = where.place(i) if isinstance(where, Table) else f"{where}, record {i + 1}"
                raise DataError(f"{place}: unknown label {label!r}{did_you_mean(label, self.labels_.tokens)}; the model knows those it was trained on")
        return self.labels_.encode(labels)

    def _recurrent(self, channels: int) -> Recurrent:
        words = self.level_ in ("word", "space")
        size = channels if self.vocabulary_ is None else self.embedding_size or (100 if words else 32)
        return Recurrent(
            self.cell, size, self.hidden_size, self.num_layers,
            bidirectional=self.bidirectional, dropout=self.dropout, residual=self.residual,
        )  # fmt: skip

    def _build(self, recurrent: Recurrent) -> None:
        words = self.level_ in ("word", "space")
        pooling = self.pooling if self.pooling != "auto" else "max" if words else "last"
        tokens = None if self.vocabulary_ is None else len(self.vocabulary_)
        network = ClassifierNetwork(tokens, recurrent, pooling, self.head_sizes, len(self.labels_), self.dropout)
        self.module_ = network.to(self.device)

    def _scale(self, rows: Rows) -> None:
        """Channels to mean 0 and variance 1 over the training data; the numbers are kept in the model."""
        every = np.concatenate(rows).astype(np.float64)
        deviation = every.std(0)
        self._set_scaling(every.mean(0), np.where(deviation > 1e-8, deviation, 1.0))

    def _set_scaling(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.module_.mean.copy_(torch.from_numpy(mean))  # type: ignore[union-attr, operator]
        self.module_.scale.copy_(torch.from_numpy(scale))  # type: ignore[union-attr, operator]

    @torch.no_grad()
    def _load_embeddings(self) -> None:
        assert self.vocabulary_ is not None
        assert self.embeddings is not None
        weight: Tensor = self.module_.embedding.weight  # type: ignore[union-attr, assignment]
        matrix, _ = read_embeddings(self.embeddings, self.vocabulary_)
        if matrix.shape[1] != weight.shape[1]:
            raise OptionError(f"{self.embeddings} has vectors of {matrix.shape[1]}; set --embedding-size {matrix.shape[1]}")
        found = as_tensor(matrix, weight)
        weight.copy_(torch.where((found != 0).any(1, keepdim=True), found, weight))

    # -- use -----------------------------------------------------------------------------------------------------------
    @property
    def classes_(self) -> list[str]:
        """The labels, in the order of `predict_proba`'s columns."""
        return list(self.labels_.tokens)

    @torch.no_grad()
    def _logits(self, rows: Rows) -> np.ndarray:
        """(N, V); sequences of similar length are read together."""
        result = np.zeros((len(rows), len(self.labels_)), np.float32)
        lengths = np.array([len(row) for row in rows])
        # Long sequences in small batches: the memory of a batch is that of its steps, not of its sequences.
        size = max(1, min(256, 2_000_000 // max(1, int(lengths.max(initial=1)))))
        for batch in length_batches(lengths, size, seed=0, epoch=0, shuffle=False):
            x, ends = pad([rows[i] for i in batch])
            result[batch] = self.module_(as_tensor(x, self.module_.mean), ends).cpu().numpy()  # type: ignore[union-attr, arg-type]
        return result

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, V) probabilities of the classes, in the order of `classes_`."""
        self._need_fit()
        inputs, where = self._inputs(X)
        return torch.from_numpy(self._logits(self._rows(inputs, where))).double().softmax(1).numpy()

    def predict(self, X: Any) -> list[str]:
        """The likeliest label of each sequence."""
        self._need_fit()
        inputs, where = self._inputs(X)
        return self.labels_.decode(self._logits(self._rows(inputs, where)).argmax(1))

    def score(self, X: Any, y: Any = None) -> float:
        """Accuracy."""
        return self.evaluate(X, y)["accuracy"]

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """loss (nats per sequence), accuracy, macro_f1."""
        self._need_fit()
        inputs, labels, where = self._pairs(X, y)
        return self._figures(self._rows(inputs, where), self._numbers(labels, where))

    def _figures(self, rows: Rows, numbers: np.ndarray) -> dict[str, float]:
        logits = torch.from_numpy(self._logits(rows)).double()
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(numbers))
        found = logits.argmax(1).numpy()
        return {"loss": float(loss), "accuracy": accuracy(numbers, found), "macro_f1": macro_f1(numbers, found)}

    def class_weights(self, numbers: np.ndarray) -> Tensor | None:
        """How much each class counts in the loss (V), or None."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            counts = np.bincount(numbers, minlength=len(self.labels_))
            return torch.tensor(len(numbers) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
        for label in self.class_weight:
            if label not in self.labels_:
                raise OptionError(f"--class-weight names the label {label!r}{did_you_mean(label, self.labels_.tokens)}")
        return torch.tensor([float(self.class_weight.get(label, 1.0)) for label in self.labels_.tokens])

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        found = {"labels": self.labels_.to_json_data(), "level": {"level": self.level_}}
        return found if self.vocabulary_ is None else found | {"tokens": self.vocabulary_.to_json_data()}

    def _scaling(self) -> dict[str, list[float]]:
        if self.vocabulary_ is not None:
            return {}
        return {"mean": self.module_.mean.tolist(), "scale": self.module_.scale.tolist()}  # type: ignore[union-attr, operator]

    def _restore(self, doc: Document) -> None:
        self.labels_ = Vocabulary.from_json_data(doc.vocabularies["labels"])
        self.level_ = doc.vocabularies["level"]["level"]
        if self.level_ not in LEVELS[1:]:
            raise DataError("the level of the tokens is not known")
        self.vocabulary_ = None if self.level_ == "series" else Vocabulary.from_json_data(doc.vocabularies["tokens"])
        self._build(recurrent_from(doc, "recurrent", self.dropout))
        if self.vocabulary_ is None:
            self._set_scaling(np.array(doc.scaling["mean"], np.float64), np.array(doc.scaling["scale"], np.float64))


class _Trainee:
    """What the loop trains: shuffled batches of sequences of similar length."""

    unit = "sequences"
    monitor = "accuracy"
    maximize = True

    def __init__(self, model: SequenceClassifier, rows: Rows, numbers: np.ndarray, held: Rows, held_numbers: np.ndarray) -> None:
        self.model, self.module = model, model.module_
        self.rows, self.numbers, self.held, self.held_numbers = rows, numbers, held, held_numbers
        self.lengths = np.array([len(row) for row in rows])
        self.weights = model.class_weights(numbers)

    def epoch(self, number: int) -> list[np.ndarray]:
        return list(length_batches(self.lengths, self.model.batch_size, seed=self.model.seed, epoch=number))

    def loss(self, batch: np.ndarray, carry: Any) -> tuple[Tensor, int, None]:
        x, lengths = pad([self.rows[i] for i in batch])
        logits = self.module(as_tensor(x, self.module.mean), lengths)  # type: ignore[arg-type]
        weights = None if self.weights is None else self.weights.to(logits.device)
        return nn.functional.cross_entropy(logits, as_tensor(self.numbers[batch], logits), weights), len(batch), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held, self.held_numbers) if self.held else {}
