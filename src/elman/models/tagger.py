"""Tagging of every word: parts of speech, named entities. A word is read as a whole and by its letters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.batching import length_batches, pad, split
from elman.data.embeddings import read_embeddings
from elman.data.readers import read_table
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, as_tensor, initial_linear, recurrent_from
from elman.models.options import TaggerOptions, documented
from elman.nn import Head, Recurrent
from elman.nn.head import last_output
from elman.nn.loss import cross_entropy
from elman.runtime.document import Document
from elman.training.metrics import accuracy, span_f1
from elman.training.progress import Progress

Sentences = list[list[str]]
_SPAN_TAG = re.compile(r"O|[BI]-.+")


class TaggerNetwork(nn.Module):
    """Words (T, B), which of the batch's distinct words each one is (T, B), their letters (K, U) -> logits (T, B, V)."""

    def __init__(
        self, words: int, letters: int, word_size: int, recurrent: Recurrent, characters: Recurrent | None,
        tags: int, dropout: float, word_dropout: float, head_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = nn.Embedding(words, word_size)
        nn.init.normal_(self.words.weight, std=0.1)
        self.letters = None if characters is None else nn.Embedding(letters, characters.input_size)
        if self.letters is not None:
            nn.init.normal_(self.letters.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.word_dropout = word_dropout
        self.characters = characters
        self.recurrent = recurrent
        self.head = Head(recurrent.output_size, tags, head_sizes, dropout=dropout)
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)

    def forward(self, words: Tensor, which: Tensor, letters: Tensor, letter_counts: Any, lengths: Any, unknown: int) -> Tensor:
        if self.training and self.word_dropout:  # words turn unknown now and then, so that the letters are learnt from
            hidden = torch.rand(words.shape, device=words.device) < self.word_dropout
            words = words.masked_fill(hidden, unknown)
        x = self.words(words)
        if self.characters is not None and self.letters is not None:
            _, state = self.characters(self.dropout(self.letters(letters)), lengths=letter_counts)
            spelled = last_output(self.characters, state)  # (U, D·H): each distinct word once
            x = torch.cat([x, spelled[which]], -1)
        output, _ = self.recurrent(self.dropout(x), lengths=lengths)
        logits: Tensor = self.head(output)
        return logits


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceTagger(TaggerOptions, Estimator):
    """One tag for every word (Graves & Schmidhuber 2005; Ling et al. 2015; Plank, Søgaard & Goldberg 2016).

    A word enters as its embedding and as the last states of a bidirectional network over its letters, so that an
    unknown word is read by its spelling. word_size, letter_size: embedding sizes; letter_hidden_size: units a direction
    over the letters, 0 for none. word_dropout: share of words taken as unknown while learning. lower: word embeddings
    ignore case (letters keep it). embeddings: a GloVe-format file. input, target: columns of tables and files (target
    None: "upos" where there is one, else "tags").
    """

    task: ClassVar[str] = "tag"

    words_: Vocabulary = dataclasses.field(init=False, repr=False)
    letters_: Vocabulary = dataclasses.field(init=False, repr=False)
    tags_: Vocabulary = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        if self.word_size < 1 or self.letter_size < 1 or self.letter_hidden_size < 0:
            raise OptionError("--word-size and --letter-size must be 1 or more, --letter-hidden-size 0 or more")
        if not 0 <= self.word_dropout < 1:
            raise OptionError(f"--word-dropout must be from 0 to below 1, not {self.word_dropout}")

    # -- data ----------------------------------------------------------------------------------------------------------
    def _sentences(self, data: Any) -> tuple[Sentences, Table | str]:
        """The words of every sentence, and where they come from for messages."""
        if isinstance(data, Path):
            data = read_table(data)
        where: Table | str = data if isinstance(data, Table) else "the sentences"
        sentences = list(data.column(self.input) if isinstance(data, Table) else data)
        for i, words in enumerate(sentences):
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise DataError(f"{_place(where, i)}: a sentence is a list of words, not {type(words).__name__}")
        return sentences, where

    def _pairs(self, data: Any, tags: Any) -> tuple[Sentences, Sentences, Table | str]:
        if isinstance(data, Path):
            data = read_table(data)
        sentences, where = self._sentences(data)
        if tags is None:
            if not isinstance(data, Table):
                raise DataError("tags are missing: give y beside X, or a table with a column of tags")
            tags = data.column(self.target or ("upos" if "upos" in data.names else "tags"))
        tags = list(tags)
        if len(tags) != len(sentences):
            raise DataError(f"there are {len(sentences)} sentences and {len(tags)} lists of tags; each sentence needs one")
        for i, (words, own) in enumerate(zip(sentences, tags)):
            if isinstance(own, str) or len(own) != len(words):
                count = "one text" if isinstance(own, str) else f"{len(own)} tags"
                raise DataError(f"{_place(where, i)}: {len(words)} words but {count}; each word needs one tag")
        if not any(sentences):
            raise DataError("there are no words to learn from")
        return sentences, [[str(tag) for tag in own] for own in tags], where

    def _fold(self, words: Sequence[str]) -> list[str]:
        return [word.lower() for word in words] if self.lower else list(words)

    def _numbers(self, tags: Sentences, where: Table | str) -> list[np.ndarray]:
        for i, own in enumerate(tags):
            for tag in own:
                if tag not in self.tags_:
                    hint = did_you_mean(tag, self.tags_.tokens)
                    raise DataError(f"{_place(where, i)}: unknown tag {tag!r}{hint}; the model knows those it was trained on")
        return [self.tags_.encode(own) for own in tags]

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
    ) -> SequenceTagger:
        """Learn from sentences X (lists of words) and y (lists of tags), a Table, or a Path with such columns.

        valid: (X, y), a Table or a Path that decides which weights are kept; default: a random `valid_fraction`.
        """
        self.check()
        sentences, tags, where = self._pairs(X, y)
        held: Sentences = []
        held_tags: Sentences = []
        held_where = where
        if valid is not None:
            held, held_tags, held_where = self._pairs(*valid) if isinstance(valid, tuple) else self._pairs(valid, None)
        self.tags_ = Vocabulary.build(tags, unknown=None)
        numbers, held_numbers = self._numbers(tags, where), self._numbers(held_tags, held_where)
        if valid is None and self.valid_fraction:
            learn, check = split(len(sentences), self.valid_fraction, self.seed)
            held, held_numbers = [sentences[i] for i in check], [numbers[i] for i in check]
            sentences, numbers = [sentences[i] for i in learn], [numbers[i] for i in learn]
        self.words_ = Vocabulary.build(
            (self._fold(words) for words in sentences), min_count=self.min_count, max_size=self.max_vocabulary
        )
        self.letters_ = Vocabulary.build(word for words in sentences for word in words)
        with self._seeded():
            letters = None
            if self.letter_hidden_size:
                letters = Recurrent(self.cell, self.letter_size, self.letter_hidden_size, bidirectional=True)
            wide = self.word_size + (0 if letters is None else letters.output_size)
            recurrent = Recurrent(
                self.cell, wide, self.hidden_size, self.num_layers,
                bidirectional=self.bidirectional, dropout=self.dropout, residual=self.residual,
            )  # fmt: skip
            self._build(recurrent, letters)
        if self.embeddings is not None:
            self._load_embeddings()
        data = [np.array([word for words in s for word in words]) for s in (sentences, held)]
        self._train(_Trainee(self, sentences, numbers, held, held_numbers), [*data, *numbers, *held_numbers], folder, resume, progress)
        return self

    def _build(self, recurrent: Recurrent, letters: Recurrent | None) -> None:
        network = TaggerNetwork(
            len(self.words_), len(self.letters_), self.word_size, recurrent, letters,
            len(self.tags_), self.dropout, self.word_dropout, self.head_sizes,
        )  # fmt: skip
        self.module_ = network.to(self.device)

    @torch.no_grad()
    def _load_embeddings(self) -> None:
        weight: Tensor = self.module_.words.weight  # type: ignore[union-attr, assignment]
        matrix, _ = read_embeddings(str(self.embeddings), self.words_)
        if matrix.shape[1] != self.word_size:
            raise OptionError(f"{self.embeddings} has vectors of {matrix.shape[1]}; set --word-size {matrix.shape[1]}")
        found = as_tensor(matrix, weight)
        weight.copy_(torch.where((found != 0).any(1, keepdim=True), found, weight))

    def batch(self, sentences: Sequence[Sequence[str]]) -> tuple[Any, ...]:
        """The network's arguments for some sentences."""
        like: Tensor = self.module_.words.weight  # type: ignore[union-attr, assignment]
        words, lengths = pad([self.words_.encode(self._fold(s)) for s in sentences])
        distinct = {word: place for place, word in enumerate(dict.fromkeys(w for s in sentences for w in s))}
        which, _ = pad([np.array([distinct[w] for w in s], np.int64) for s in sentences])
        letters, counts = pad([self.letters_.encode(word) for word in distinct] or [np.zeros(0, np.int64)])
        unknown = self.words_.unknown_index
        return (as_tensor(words, like), as_tensor(which, like), as_tensor(letters, like), counts, lengths, unknown)

    # -- use -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """(T, V) for each sentence."""
        result: list[np.ndarray] = [np.zeros((0, len(self.tags_)), np.float32)] * len(sentences)
        for places in length_batches([len(s) for s in sentences], 64, seed=0, epoch=0, shuffle=False):
            chosen = [sentences[i] for i in places]
            logits = self.module_(*self.batch(chosen)).cpu().numpy()
            for column, i in enumerate(places):
                result[i] = logits[: len(chosen[column]), column]
        return result

    def predict(self, X: Any) -> list[list[str]]:
        """The likeliest tag of every word."""
        self._need_fit()
        return [self.tags_.decode(logits.argmax(1)) for logits in self._logits(self._sentences(X)[0])]

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """For each sentence (T, V): the probabilities of the tags, in the order of `classes_`."""
        self._need_fit()
        return [torch.from_numpy(logits).double().softmax(1).numpy() for logits in self._logits(self._sentences(X)[0])]

    @property
    def classes_(self) -> list[str]:
        """The tags, in the order of `predict_proba`'s columns."""
        return list(self.tags_.tokens)

    @property
    def spans(self) -> bool:
        """True where the tags mark spans (BIO), which are then judged as wholes."""
        tags = self.tags_.tokens
        return all(_SPAN_TAG.fullmatch(tag) for tag in tags) and any(tag.startswith("B-") for tag in tags)

    def score(self, X: Any, y: Any = None) -> float:
        """Span F1 for BIO tags, else accuracy."""
        figures = self.evaluate(X, y)
        return figures.get("f1", figures["accuracy"])

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """loss (nats per word), accuracy, accuracy_unknown (words never seen in training), and for BIO tags
        precision, recall and f1 of whole spans."""
        self._need_fit()
        sentences, tags, where = self._pairs(X, y)
        return self._figures(sentences, self._numbers(tags, where))

    def _figures(self, sentences: Sentences, numbers: list[np.ndarray]) -> dict[str, float]:
        logits = self._logits(sentences)
        true = np.concatenate(numbers)
        found = np.concatenate([one.argmax(1) for one in logits])
        loss = nn.functional.cross_entropy(torch.from_numpy(np.concatenate(logits)).double(), torch.from_numpy(true))
        figures = {"loss": float(loss), "accuracy": accuracy(true, found)}
        unknown = np.array([word not in self.words_ for words in sentences for word in self._fold(words)], bool)
        if unknown.any():
            figures["accuracy_unknown"] = accuracy(true[unknown], found[unknown])
        if self.spans:
            decoded = [self.tags_.decode(one.argmax(1)) for one in logits]
            spans = span_f1([self.tags_.decode(own) for own in numbers], decoded)
            figures |= {name: float(spans[name]) for name in ("precision", "recall", "f1")}
        return figures

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return {n: v.to_json_data() for n, v in (("words", self.words_), ("letters", self.letters_), ("tags", self.tags_))}

    def _restore(self, doc: Document) -> None:
        self.words_, self.letters_, self.tags_ = (
            Vocabulary.from_json_data(doc.vocabularies[name]) for name in ("words", "letters", "tags")
        )
        letters = recurrent_from(doc, "characters", 0.0) if self.letter_hidden_size else None
        self._build(recurrent_from(doc, "recurrent", self.dropout), letters)


def _place(where: Table | str, i: int) -> str:
    return where.place(i) if isinstance(where, Table) else f"{where}, number {i + 1}"


class _Trainee:
    """What the loop trains: shuffled batches of sentences of similar length."""

    unit = "words"

    def __init__(
        self, model: SequenceTagger, sentences: Sentences, numbers: list[np.ndarray], held: Sentences, held_numbers: list[np.ndarray]
    ) -> None:
        self.model, self.module = model, model.module_
        self.sentences, self.numbers, self.held, self.held_numbers = sentences, numbers, held, held_numbers
        self.lengths = np.array([len(words) for words in sentences])
        self.monitor, self.maximize = ("f1" if model.spans else "accuracy"), True

    def epoch(self, number: int) -> list[np.ndarray]:
        return list(length_batches(self.lengths, self.model.batch_size, seed=self.model.seed, epoch=number))

    def loss(self, batch: np.ndarray, carry: Any) -> tuple[Tensor, int, None]:
        arguments = self.model.batch([self.sentences[i] for i in batch])
        logits = self.module(*arguments)
        targets, lengths = pad([self.numbers[i] for i in batch])
        return cross_entropy(logits, as_tensor(targets, logits), lengths), int(lengths.sum()), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held, self.held_numbers) if self.held else {}
