"""What estimators of whole sequences share: texts or series in, a network with pooling, its training and its files."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elman.data.arrays import series, wide_series
from elman.data.batching import length_batches, pad, split
from elman.data.embeddings import read_embeddings
from elman.data.pieces import Pieces, is_large
from elman.data.store import Store
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary, tokenize
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, Lesson, as_tensor, set_vectors
from elman.models.inputs import MAX_STEPS, as_table, check_steps, fitting, listed, missing, place
from elman.models.large import Large, scaling
from elman.models.options import SequenceOptions
from elman.models.restoring import scaling_from, vocabulary_from
from elman.models.sequence.network import SequenceNetwork
from elman.models.sequence.ngrams import Direct
from elman.nn import Recurrent
from elman.nn.head import POOLINGS
from elman.runtime.document import Document

LEVELS = ("auto", "char", "word", "space", "series")
Rows = Sequence[np.ndarray]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(SequenceOptions, Estimator):
    """Something about a whole sequence. A child says what its targets are, what the loss, and what the figures.

    level "auto": numbers are series, texts of several words are read by words, others by characters.
    """

    targets: ClassVar[str]
    """What the targets are called: labels, numbers."""
    unit: ClassVar[str] = "sequences"
    """What training counts; a loss in "values" is no cross-entropy, and has no bits."""
    monitor: ClassVar[str]
    maximize: ClassVar[bool]

    vocabulary_: Vocabulary | None = dataclasses.field(init=False, repr=False)
    module_: SequenceNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        for name, choices in (("level", LEVELS), ("pooling", ("auto", *POOLINGS))):
            value = getattr(self, name)
            if value not in choices:
                raise OptionError(f"--{name} is {value!r}, which is not known{did_you_mean(str(value), choices)}")
        self._check_whole("embedding_size", "min_count", "max_vocabulary", optional=True)
        self._check_sizes("head_sizes")
        if type(self.noise) not in (int, float) or not 0 <= self.noise < np.inf:
            raise OptionError(f"--noise must be a number, 0 or more, not {self.noise!r}")

    # -- what a child says ---------------------------------------------------------------------------------------------
    @abstractmethod
    def _learn_targets(self, targets: Sequence[Any], where: Table | str) -> None:
        """What is to be known of the targets before anything is trained."""

    @abstractmethod
    def _numbers(self, targets: Sequence[Any], where: Table | str) -> np.ndarray:
        """The targets as the loss takes them (N, ...)."""

    @property
    @abstractmethod
    def _outputs(self) -> int:
        """How many numbers the network gives."""

    @abstractmethod
    def _loss(self, outputs: Tensor, numbers: Tensor) -> Tensor:
        """The mean loss of outputs (B, V), a scalar."""

    @abstractmethod
    def _figures(self, rows: Rows, numbers: np.ndarray) -> dict[str, float]:
        """The figures of `evaluate`."""

    # -- data ----------------------------------------------------------------------------------------------------------
    def _inputs(self, data: Any) -> tuple[list[Any], Table | str]:
        """The raw inputs, and where they come from for messages."""
        data = as_table(data)
        if not isinstance(data, Table):
            return listed(data, "the inputs"), "the inputs"
        if self.input == "*" or "," in self.input:
            names = [n for n in data.names if n != self.target] if self.input == "*" else self.input.split(",")
            return list(wide_series(data, names)), data
        return data.column(self.input), data

    def _pairs(self, data: Any, targets: Any) -> tuple[list[Any], list[Any], Table | str]:
        """Inputs and targets of a table, a file, or two lists."""
        data = as_table(data)
        inputs, where = self._inputs(data)
        one = self.targets.removesuffix("s")
        if targets is None:
            if not isinstance(data, Table):
                raise DataError(
                    f"{self.targets} are missing: give y beside X, or a table with a column of {self.targets}"
                )
            targets = data.column(self.target)
        targets = listed(targets, f"the {self.targets}")
        if len(targets) != len(inputs):
            raise DataError(f"there are {len(inputs)} inputs and {len(targets)} {self.targets}; each input needs one")
        if not inputs:
            raise DataError("there are no sequences")
        for index, target in enumerate(targets):
            if missing(target):
                raise DataError(f"{place(where, index)}: the {one} is missing; fill it in or leave the record out")
        return inputs, targets, where

    def _find_level(self, inputs: Sequence[Any]) -> str:
        if self.level != "auto":
            return self.level
        if not isinstance(inputs[0], str):
            return "series"
        texts = [text for text in inputs[:1000] if isinstance(text, str)]
        return "word" if np.mean([len(text.split()) for text in texts]) >= 3 else "char"

    def _sequences(self, inputs: Sequence[Any], where: Table | str, channels: int | None = None) -> list[Any]:
        """Every input as its tokens, or as a series (T, I) of so many channels."""
        found = self._series(inputs, where, channels) if self.level_ == "series" else self._tokens(inputs, where)
        check_steps([len(sequence) for sequence in found], where)
        return found

    def _tokens(self, inputs: Sequence[Any], where: Table | str) -> list[Any]:
        odd = next((i for i, text in enumerate(inputs) if not isinstance(text, str)), None)
        if odd is not None:
            kind = type(inputs[odd]).__name__
            raise DataError(f"{place(where, odd)}: expected a text, got {kind}; --level series reads numbers")
        texts = [text.lower() for text in inputs] if self.lower else inputs
        return list(texts) if self.level_ == "char" else [tokenize(text, self.level_) for text in texts]

    def _series(self, inputs: Sequence[Any], where: Table | str, channels: int | None) -> list[np.ndarray]:
        if inputs and isinstance(inputs[0], str):
            raise DataError(
                f"{place(where, 0)}: expected a series of numbers, got a text; --input names the column of the series"
            )
        rows = list(series(inputs, where))
        if channels is not None and rows and rows[0].shape[1] != channels:
            raise DataError(f"the series have {rows[0].shape[1]} channels; the model was trained on {channels}")
        return rows

    def _rows(self, sequences: list[Any]) -> Rows:
        """Every sequence as numbers: token numbers (T,) or a series (T, I)."""
        return sequences if self.vocabulary_ is None else [self.vocabulary_.encode(tokens) for tokens in sequences]

    def _read(self, data: Any) -> Rows:
        """Unlabelled data as numbers."""
        self._need_fit()
        return self._rows(self._sequences(*self._inputs(data), self._channels))

    @property
    def _channels(self) -> int | None:
        return self.module_.recurrent.input_size if self.vocabulary_ is None else None

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        if isinstance(X, Path) and y is None and is_large(X):
            X = Pieces(X)
        if isinstance(X, Pieces):
            rows, numbers, held, held_numbers = self._from_pieces(X, valid, place())
        else:
            rows, numbers, held, held_numbers = self._from_memory(X, y, valid)
        return _Trainee(self, rows, numbers, held, held_numbers), chain(rows, held, (numbers, held_numbers))

    def _from_memory(self, X: Any, y: Any, valid: Any) -> tuple[Rows, np.ndarray, Rows, np.ndarray]:
        """What to learn from and what is held out, as numbers; the network is then made."""
        inputs, targets, where = self._pairs(X, y)
        self.level_ = self._find_level(inputs)
        self._learn_targets(targets, where)
        learn, numbers = self._sequences(inputs, where), self._numbers(targets, where)
        held, held_numbers = list[Any](), numbers[:0]
        if valid is not None:
            held, held_numbers = self._valid(valid, learn[0])
        elif self.valid_fraction:
            kept, out = split(len(learn), self.valid_fraction, self.seed)
            held, held_numbers = [learn[i] for i in out], numbers[out]
            learn, numbers = [learn[i] for i in kept], numbers[kept]
        self._begin(learn, learn[0], numbers)
        rows = self._rows(learn)
        if self.vocabulary_ is None:
            self._scale(rows)
        return rows, numbers, self._rows(held), held_numbers

    def _from_pieces(self, pieces: Pieces, valid: Any, place: Path) -> tuple[Rows, np.ndarray, Rows, np.ndarray]:
        """The same of a file that is read again and again."""
        data = Large(self, pieces)

        def begin(inputs: list[Any]) -> None:
            self.level_ = self._find_level(inputs)

        targets = data.targets(begin)
        self._learn_targets(targets, str(pieces.path))
        numbers = self._numbers(targets, str(pieces.path))
        out = data.split(len(numbers), 0.0 if valid is not None else self.valid_fraction)
        self._begin(data.sequences(~out), next(data.sequences(~out)), numbers[~out])
        rows = data.store(place, ~out)
        if self.vocabulary_ is None:
            self._scale(rows)
        if valid is None:
            return rows, numbers[~out], data.rows(out), numbers[out]
        held, held_numbers = self._valid(valid, rows[0])
        return rows, numbers, self._rows(held), held_numbers

    def _valid(self, valid: Any, like: Any) -> tuple[list[Any], np.ndarray]:
        """Sequences and targets to validate by; series must have as many channels as `like`."""
        inputs, targets, where = self._pairs(*valid) if isinstance(valid, tuple) else self._pairs(valid, None)
        channels = like.shape[1] if self.level_ == "series" else None
        return self._sequences(inputs, where, channels), self._numbers(targets, where)

    def _begin(self, learn: Iterable[Any], first: Any, numbers: np.ndarray) -> None:
        """The vocabulary of the sequences to learn from, and a new network for them."""
        self.vocabulary_, vectors = None, None
        if self.level_ != "series":
            least = self.min_count or (1 if self.level_ == "char" else 2)
            self.vocabulary_ = Vocabulary.build(learn, min_count=least, max_size=self.max_vocabulary)
        if self.embeddings is not None:
            vectors = self._vectors()
        size = first.shape[1] if self.vocabulary_ is None else self._embedding_size(vectors)
        with self._seeded():
            self._build(self._recurrent(size, bidirectional=self.bidirectional))
        self.module_.to(self.device)
        if vectors is not None and self.module_.embedding is not None:
            set_vectors(self.module_.embedding, vectors)

    def _vectors(self) -> np.ndarray:
        """The vectors of the embeddings file for the vocabulary (V, D)."""
        if self.vocabulary_ is None:
            raise OptionError("--embeddings is for texts, but the sequences are series of numbers")
        matrix, _ = read_embeddings(str(self.embeddings), self.vocabulary_)
        if self.embedding_size not in (None, matrix.shape[1]):
            raise OptionError(
                f"{self.embeddings} has vectors of {matrix.shape[1]}; set --embedding-size {matrix.shape[1]}"
            )
        return matrix

    def _embedding_size(self, vectors: np.ndarray | None) -> int:
        if vectors is not None:
            return int(vectors.shape[1])
        return self.embedding_size or (32 if self.level_ == "char" else 100)

    def _build(self, recurrent: Recurrent) -> None:
        words = self.level_ in ("word", "space")
        pooling = self.pooling if self.pooling != "auto" else "max" if words else "last"
        tokens = None if self.vocabulary_ is None else len(self.vocabulary_)
        self.module_ = SequenceNetwork(
            tokens, recurrent, pooling, self.head_sizes, self._outputs, self.dropout, self.noise, self._direct()
        )

    def _direct(self) -> Direct | None:
        """What the outputs read beside the recurrent layers."""
        return None

    def _scale(self, rows: Rows) -> None:
        """Channels to mean 0 and variance 1 over the training data; the numbers are kept in the model."""
        self._set_scaling(*scaling(rows))

    def _set_scaling(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.module_.mean.copy_(torch.from_numpy(mean))
        self.module_.scale.copy_(torch.from_numpy(scale))

    # -- use -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _output(self, rows: Rows) -> np.ndarray:
        """(N, V); sequences of similar length are read together."""
        result = np.zeros((len(rows), self._outputs), np.float32)
        lengths = np.array([len(row) for row in rows], np.int64)
        # Long sequences in small batches: a step of a sequence costs about four numbers a unit, at most 1 GiB in all.
        most = min(MAX_STEPS, (1 << 26) // self.module_.recurrent.output_size)
        for batch in fitting(length_batches(lengths, 256, seed=0, epoch=0, shuffle=False), lengths, most):
            x, ends = pad([rows[i] for i in batch])
            result[batch] = self.module_(as_tensor(x, self.module_.mean), ends).cpu().numpy()
        return result

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """The figures on sequences with their targets."""
        self._need_fit()
        return self._figures(*self.to_judge(X, y))

    def to_judge(self, X: Any, y: Any = None) -> tuple[Rows, np.ndarray]:
        inputs, targets, where = self._pairs(X, y)
        return self._rows(self._sequences(inputs, where, self._channels)), self._numbers(targets, where)

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], list[Sequence[str]]]:
        inputs, targets, where = self._pairs(X, y)
        chosen = self._sequences(inputs[:sequences], where, self._channels)
        numbers = self._numbers(targets[:sequences], where)
        trainee = _Trainee(self, self._rows(chosen), numbers, [], numbers[:0])
        symbols = [] if self.vocabulary_ is None else chosen
        return lambda: trainee.loss(np.arange(len(chosen)), None)[0], symbols

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        found: dict[str, Any] = {"level": {"level": self.level_}}
        return found if self.vocabulary_ is None else found | {"tokens": self.vocabulary_.to_json_data()}

    def _scaling(self) -> dict[str, list[float]]:
        if self.vocabulary_ is not None:
            return {}
        return {"mean": self.module_.mean.tolist(), "scale": self.module_.scale.tolist()}

    def _restore(self, doc: Document) -> None:
        self.level_ = doc.vocabularies.get("level", {}).get("level", "")
        if self.level_ not in LEVELS[1:] or self.level not in ("auto", self.level_):
            raise DataError("the level of the tokens is not known, or not the one of the options")
        self.vocabulary_ = None if self.level_ == "series" else vocabulary_from(doc, "tokens", "unknown")
        self._build(self._recurrent_from(doc, None if self.vocabulary_ is None else self.embedding_size))
        if self.vocabulary_ is None:
            self._set_scaling(*scaling_from(doc, self.module_.recurrent.input_size))


class _Trainee:
    """What the loop trains: shuffled batches of sequences of similar length."""

    def __init__(
        self, model: SequenceEstimator, rows: Rows, numbers: np.ndarray, held: Rows, held_numbers: np.ndarray
    ) -> None:
        self.model, self.module = model, model.module_
        self.rows, self.numbers, self.held, self.held_numbers = rows, numbers, held, held_numbers
        self.lengths = rows.lengths if isinstance(rows, Store) else np.array([len(row) for row in rows], np.int64)
        self.shards = rows.shards if isinstance(rows, Store) else None
        self.unit, self.monitor, self.maximize = model.unit, model.monitor, model.maximize

    def epoch(self, number: int) -> list[np.ndarray]:
        batches = length_batches(
            self.lengths, self.model.batch_size, seed=self.model.seed, epoch=number, groups=self.shards
        )
        return fitting(batches, self.lengths)

    def loss(self, batch: np.ndarray, carry: Any) -> tuple[Tensor, int, None]:
        x, lengths = pad([self.rows[i] for i in batch])
        outputs = self.module(as_tensor(x, self.module.mean), lengths)
        return self.model._loss(outputs, as_tensor(self.numbers[batch], outputs)), len(batch), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held, self.held_numbers) if self.held else {}
