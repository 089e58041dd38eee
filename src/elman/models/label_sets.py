"""Sets of labels at every step, such as the notes of music: how likely they are, what comes next, whole new pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.batching import length_batches, pad, random, split
from elman.data.label_sets import Roll, label_names, named_labels, rolls
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, Lesson, as_tensor
from elman.models.inputs import as_table, check_steps, fitting, listed, naming
from elman.models.options import LabelSetOptions, documented
from elman.models.restoring import vocabulary_from
from elman.nn import Recurrent
from elman.nn.label_sets import HEADS, make_head
from elman.nn.recurrent import State
from elman.runtime.document import Document

LENGTH = "length"
"""The column of a table that says how many steps of an array count, where arrays are filled up to one length."""
FRAMES = 4096
"""Steps whose sets are judged at once where nothing is learnt."""


class LabelSetNetwork(nn.Module):
    """Recurrent layers that read sets as numbers 0 and 1 (T, B, K), and a head that tells what comes next."""

    def __init__(self, recurrent: Recurrent, head: str, units: int, dropout: float) -> None:
        super().__init__()
        self.recurrent, self.dropout = recurrent, nn.Dropout(dropout)
        self.head = make_head(head, recurrent.output_size, recurrent.input_size, units)

    def forward(self, sets: Tensor, state: State | None = None, lengths: Any = None) -> tuple[Tensor, State]:
        """What the head reads after each step (T, B, H), and the state to carry on."""
        output, state = self.recurrent(self.dropout(sets), state, lengths=lengths)
        return self.dropout(output), state


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LabelSetModel(LabelSetOptions, Estimator):
    """Predicts which labels the next step has, any number of them (Boulanger-Lewandowski, Bengio & Vincent 2012).

    A sequence is a list of steps, each a list or set of labels (whole numbers or texts), or an array (T, K) of 0 and 1.
    Every step is predicted from those before it, the first one from nothing.

    fit: sequences, a Table, or a Path with the column `input`.
    """

    task: ClassVar[str] = "label-sets"

    labels_: Vocabulary = dataclasses.field(init=False, repr=False)
    module_: LabelSetNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        if self.head not in HEADS:
            raise OptionError(f"--head is {self.head!r}, which is not known{did_you_mean(str(self.head), HEADS)}")
        self._check_whole("head_units")
        self._check_whole("transpose", least=0)
        if self.labels is not None:
            named_labels(str(self.labels))

    # -- data ----------------------------------------------------------------------------------------------------------
    def _pieces(self, data: Any) -> tuple[list[Any], Table | str]:
        """The raw sequences, and where they come from for messages."""
        data = as_table(data)
        if not isinstance(data, Table):
            return listed(data, "the sequences"), "the sequences"
        pieces = data.column(self.input)
        if LENGTH in data.names:
            pieces = [
                _cut(piece, stop, data.place(i)) for i, (piece, stop) in enumerate(zip(pieces, data.column(LENGTH)))
            ]
        return pieces, data

    def _rolls(self, pieces: list[Any], where: Table | str) -> list[Roll]:
        """Every sequence as an array (T, K) of 0 and 1."""
        found = rolls(pieces, self.labels_.tokens, where)
        check_steps([len(roll) for roll in found], where)
        return found

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        pieces, where = self._pieces(X)
        if not pieces:
            raise DataError("there are no sequences")
        names = label_names(pieces, where) if self.labels is None else named_labels(self.labels)
        self.labels_ = Vocabulary(tuple(names))
        learn = self._rolls(pieces, where)
        held = list[Roll]()
        if valid is not None:
            held = self.to_judge(valid)
        elif self.valid_fraction:
            kept, out = split(len(learn), self.valid_fraction, self.seed)
            held, learn = [learn[i] for i in out], [learn[i] for i in kept]
        if not any(map(len, learn)):
            raise DataError("the sequences to learn from have no steps")
        with self._seeded():
            self._build(self._recurrent(len(names)))
        steps = np.concatenate(learn)
        self.module_.head.begin(torch.from_numpy((steps.sum(0) + 0.5) / (len(steps) + 1)).float())
        self.module_.to(self.device)
        return _Trainee(self, learn, held), [*learn, *held]

    def _build(self, recurrent: Recurrent) -> None:
        self.module_ = LabelSetNetwork(recurrent, self.head, self.head_units, self.dropout)

    # -- use -----------------------------------------------------------------------------------------------------------
    @property
    def classes_(self) -> list[str]:
        """The labels, in the order of the columns of `predict_proba`."""
        return list(self.labels_.tokens)

    def evaluate(self, X: Any) -> dict[str, float]:
        """loss: nats a step, summed over its labels, the mean over the steps of all sequences; loss_after_first: the
        same without the first step of each, which nothing foretells."""
        self._need_fit()
        return self._figures(self.to_judge(X))

    def to_judge(self, X: Any, y: object = None) -> list[Roll]:
        with naming(X):
            found = self._rolls(*self._pieces(X))
            if not any(map(len, found)):
                raise DataError("the sequences have no steps")
        return found

    def score(self, X: Any, y: object = None) -> float:
        """Mean log-likelihood of a step, nats."""
        return -self.evaluate(X)["loss"]

    def _figures(self, pieces: Sequence[Roll]) -> dict[str, float]:
        nats = [part for part in self._nats(pieces) if len(part)]
        later = np.concatenate([part[1:] for part in nats])
        figures = {"loss": float(np.concatenate(nats).mean())}
        return figures | ({"loss_after_first": float(later.mean())} if len(later) else {})

    def _batches(self, pieces: Sequence[Roll]) -> list[np.ndarray]:
        """Numbers of sequences of similar length, few enough at once."""
        lengths = np.array([len(roll) for roll in pieces], np.int64)
        most = max(1, (1 << 26) // max(self.module_.recurrent.output_size, len(self.labels_)))
        return fitting(length_batches(lengths, 64, seed=0, epoch=0, shuffle=False), lengths, most)

    @torch.no_grad()
    def _nats(self, pieces: Sequence[Roll]) -> list[np.ndarray]:
        """-log p of every step (T) of every sequence."""
        found = [np.zeros(0)] * len(pieces)
        for batch in self._batches(pieces):
            sets, lengths = _padded([pieces[i] for i in batch], self._like)
            output, _ = self.module_(_before(sets), None, lengths)
            flat = zip(*(torch.split(part.flatten(0, 1), FRAMES) for part in (output, sets)))
            nats = torch.cat([self.module_.head.nats(h, targets) for h, targets in flat])
            columns = nats.view(sets.shape[:2]).T.double().cpu().numpy()
            for number, column, length in zip(batch, columns, lengths):
                found[number] = column[:length]
        return found

    @property
    def _like(self) -> Tensor:
        return next(self.module_.parameters())

    @torch.no_grad()
    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """For each sequence the probabilities of its labels (T + 1, K): row t foretells step t from those before it,
        the last row the step to come. With head "nade" they are means over sets that are drawn, always the same."""
        self._need_fit()
        pieces = self._rolls(*self._pieces(X))
        found = [np.zeros((0, 0))] * len(pieces)
        for batch in self._batches(pieces):
            # a step of silence behind the last one makes room for the row of the step to come
            longer = [np.concatenate([pieces[i], np.zeros((1, len(self.labels_)), bool)]) for i in batch]
            sets, lengths = _padded(longer, self._like)
            output, _ = self.module_(_before(sets), None, lengths)
            for column, (number, length) in enumerate(zip(batch, lengths)):
                found[number] = self.module_.head.probabilities(output[:length, column]).double().cpu().numpy()
        return found

    def predict(self, X: Any) -> list[list[str]]:
        """For each sequence the labels that the step to come has with a probability of one half or more."""
        return [[name for name, p in zip(self.classes_, rows[-1]) if p >= 0.5] for rows in self.predict_proba(X)]

    @torch.no_grad()
    def generate(
        self, start: Any = (), length: int = 100, *, temperature: float = 1.0, seed: int | None = None
    ) -> list[list[str]]:
        """A sequence: the steps of `start`, then `length` steps, each a set of labels that is drawn.

        temperature: divides the logits; at 0 nothing is left to chance. seed: the same seed gives the same sequence.
        """
        self._need_fit()
        if type(length) is not int or length < 0:
            raise OptionError(f"--length must be a whole number, 0 or more, not {length!r}")
        if not 0 <= temperature < float("inf"):
            raise OptionError(f"--temperature must be a number, 0 or more, not {temperature!r}")
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
            raise OptionError(f"--seed must be a whole number from 0 to 2**63 - 1, not {seed!r}")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        (roll,) = rolls([start if isinstance(start, np.ndarray) else list(start)], self.labels_.tokens, "the start")
        sets, _ = _padded([roll], self._like)
        output, state = self.module_(torch.cat([sets.new_zeros(1, *sets.shape[1:]), sets]))
        drawn = [roll]
        for _ in range(length):
            one = self.module_.head.draw(output[-1], generator, temperature)  # (1, K)
            drawn.append(one.bool().cpu().numpy())
            output, state = self.module_(one[None], state)
        return [[self.classes_[k] for k in np.flatnonzero(step)] for step in np.concatenate(drawn)]

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], list[Sequence[str]]]:
        trainee = _Trainee(self, [roll[:steps] for roll in self._rolls(*self._pieces(X))][:sequences], [])
        everything = np.arange(len(trainee.learn)), np.zeros(len(trainee.learn), np.int64)
        return lambda: trainee.loss(everything, None)[0], []

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return {"labels": self.labels_.to_json_data()}

    def _restore(self, doc: Document) -> None:
        self.labels_ = vocabulary_from(doc, "labels")
        if self.labels is not None and named_labels(self.labels) != self.classes_:
            raise DataError("the labels are not those of the option")
        self._build(self._recurrent_from(doc, len(self.labels_)))


def _cut(piece: Any, stop: Any, where: str) -> Any:
    """The steps of a piece that count."""
    if isinstance(stop, bool) or not isinstance(stop, int) or not 0 <= stop <= len(piece):
        raise DataError(f"{where}: the length must be a whole number from 0 to {len(piece)}, not {str(stop)[:40]}")
    return piece[:stop]


def _padded(pieces: Sequence[Roll], like: Tensor) -> tuple[Tensor, np.ndarray]:
    """Sets (T, B, K) as numbers 0 and 1, and lengths (B)."""
    sets, lengths = pad(pieces)
    return as_tensor(sets, like).to(like.dtype), lengths


def _before(sets: Tensor) -> Tensor:
    """What is read when each set is to be told: the one before it, and no label before the first."""
    return torch.cat([torch.zeros_like(sets[:1]), sets[:-1]])


class _Trainee:
    """What the loop trains: shuffled batches of sequences of similar length, transposed if asked for."""

    unit = "steps"
    monitor = "loss"
    maximize = False

    def __init__(self, model: LabelSetModel, learn: list[Roll], held: list[Roll]) -> None:
        self.model, self.module, self.held = model, model.module_, held
        self.learn = [roll for roll in learn if len(roll)]
        self.lengths = np.array([len(roll) for roll in self.learn], np.int64)
        self.room = np.array([_room(roll) for roll in self.learn]).clip(-model.transpose, model.transpose)

    def epoch(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The numbers of sequences, and by how many places the labels of each are shifted."""
        own = self.model
        batches = length_batches(self.lengths, own.batch_size, seed=own.seed, epoch=number)
        shifts = random(own.seed, number, 1).integers(self.room[:, 0], self.room[:, 1], endpoint=True)
        return [(batch, shifts[batch]) for batch in fitting(batches, self.lengths)]

    def loss(self, batch: tuple[np.ndarray, np.ndarray], carry: Any) -> tuple[Tensor, int, None]:
        pieces = [np.roll(self.learn[i], shift, 1) for i, shift in zip(*batch)]
        sets, lengths = _padded(pieces, self.model._like)
        output, _ = self.module(_before(sets), None, lengths)
        inside = as_tensor(np.arange(len(sets))[:, None] < lengths, sets)
        nats = self.module.head.nats(output[inside], sets[inside])
        return nats.mean(), len(nats), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held) if any(map(len, self.held)) else {}


def _room(roll: Roll) -> tuple[int, int]:
    """By how many places a roll may be shifted down and up before a label falls off."""
    used = np.flatnonzero(roll.any(0))
    return (0, 0) if not len(used) else (-int(used[0]), roll.shape[1] - 1 - int(used[-1]))
