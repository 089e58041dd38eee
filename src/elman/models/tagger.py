"""Tagging of every word: parts of speech, named entities. A word is read as a whole and by its letters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.batching import length_batches, pad, split
from elman.data.embeddings import read_embeddings
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError
from elman.models.estimator import Estimator, as_tensor, initial_embedding, initial_linear, set_vectors
from elman.models.inputs import as_table, check_steps, fitting, known, listed, missing, place
from elman.models.options import TaggerOptions, documented
from elman.models.restoring import recurrent_from, vocabulary_from
from elman.nn import Head, Recurrent
from elman.nn.head import last_output
from elman.nn.loss import cross_entropy
from elman.runtime.document import Document
from elman.training.metrics import accuracy, span_f1
from elman.training.progress import Progress

LETTERS = 100
"""A longer word is read by so many of its first and of its last letters: one freak must not widen a whole batch."""

Sentences = list[list[str]]
_SPAN_TAG = re.compile(r"O|[BI]-.+")


class TaggerNetwork(nn.Module):
    """Words (T, B), which of the batch's U distinct words each is (T, B), their letters (K, U) -> logits (T, B, V)."""

    def __init__(
        self, words: int, letters: int, word_size: int, recurrent: Recurrent, characters: Recurrent | None,
        tags: int, dropout: float, word_dropout: float, head_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = initial_embedding(words, word_size)
        self.letters = None if characters is None else initial_embedding(letters, characters.input_size)
        self.dropout = nn.Dropout(dropout)
        self.word_dropout = word_dropout
        self.characters = characters
        self.recurrent = recurrent
        self.head = Head(recurrent.output_size, tags, head_sizes, dropout=dropout)
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)

    def forward(
        self, words: Tensor, which: Tensor, letters: Tensor, letter_counts: Any, lengths: Any, unknown: int
    ) -> Tensor:
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
    unknown word is read by its spelling.
    """

    task: ClassVar[str] = "tag"

    words_: Vocabulary = dataclasses.field(init=False, repr=False)
    letters_: Vocabulary = dataclasses.field(init=False, repr=False)
    tags_: Vocabulary = dataclasses.field(init=False, repr=False)
    module_: TaggerNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        self._check_whole("word_size", "letter_size", "min_count")
        self._check_whole("letter_hidden_size", least=0)
        self._check_whole("max_vocabulary", optional=True)
        self._check_share("word_dropout")
        self._check_sizes("head_sizes")

    # -- data ----------------------------------------------------------------------------------------------------------
    def _sentences(self, data: Any) -> tuple[Sentences, Table | str]:
        """The words of every sentence, and where they come from for messages."""
        data = as_table(data)
        where: Table | str = data if isinstance(data, Table) else "the sentences"
        sentences: Sentences = []
        for i, words in enumerate(
            data.column(self.input) if isinstance(data, Table) else listed(data, "the sentences")
        ):
            if isinstance(words, str | bytes) or not isinstance(words, Iterable):
                raise DataError(f"{place(where, i)}: a sentence is a list of words, not {type(words).__name__}")
            sentences.append(list(words))
            for word in sentences[-1]:
                if not isinstance(word, str):
                    raise DataError(f"{place(where, i)}: a word is a text, not {type(word).__name__}")
        check_steps([len(words) for words in sentences], where)
        return sentences, where

    def _pairs(self, data: Any, tags: Any) -> tuple[Sentences, Sentences, Table | str]:
        data = as_table(data)
        sentences, where = self._sentences(data)
        if tags is None:
            if not isinstance(data, Table):
                raise DataError("tags are missing: give y beside X, or a table with a column of tags")
            tags = data.column(self.target or ("upos" if "upos" in data.names else "tags"))
        tags = listed(tags, "the tags")
        if len(tags) != len(sentences):
            raise DataError(
                f"there are {len(sentences)} sentences and {len(tags)} lists of tags; each sentence needs one"
            )
        for i, (words, own) in enumerate(zip(sentences, tags)):
            if isinstance(own, str | bytes) or not isinstance(own, Iterable):
                raise DataError(f"{place(where, i)}: the tags of a sentence are a list, not {type(own).__name__}")
            tags[i] = list(own)
            if len(tags[i]) != len(words):
                raise DataError(f"{place(where, i)}: {len(words)} words but {len(tags[i])} tags; each word needs one")
            if any(missing(tag) for tag in tags[i]):
                raise DataError(f"{place(where, i)}: a tag is missing; fill it in or leave the sentence out")
        if not any(sentences):
            raise DataError("there are no words in the sentences")
        return sentences, [[str(tag) for tag in own] for own in tags], where

    def _fold(self, words: Sequence[str]) -> list[str]:
        return [word.lower() for word in words] if self.lower else list(words)

    def _numbers(self, tags: Sentences, where: Table | str) -> list[np.ndarray]:
        for i, own in enumerate(tags):
            for tag in own:
                if tag not in self.tags_:
                    raise DataError(
                        f"{place(where, i)}: unknown tag {tag!r}{known(tag, self.tags_.tokens)}; "
                        "the model knows those it was trained on"
                    )
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
        self.__dict__.pop("module_", None)
        sentences, tags, where = self._pairs(X, y)
        self.tags_ = Vocabulary.build(tags, unknown=None)
        sentences, numbers = _with_words(sentences, self._numbers(tags, where))
        held: Sentences = []
        held_numbers: list[np.ndarray] = []
        if valid is not None:
            held, tags, where = self._pairs(*valid) if isinstance(valid, tuple) else self._pairs(valid, None)
            held, held_numbers = _with_words(held, self._numbers(tags, where))
        elif self.valid_fraction:
            kept, out = split(len(sentences), self.valid_fraction, self.seed)
            held, held_numbers = [sentences[i] for i in out], [numbers[i] for i in out]
            sentences, numbers = [sentences[i] for i in kept], [numbers[i] for i in kept]
        self._begin(sentences)
        data = ["\n".join("\t".join(words) for words in part) for part in (sentences, held)]
        trainee = _Trainee(self, sentences, numbers, held, held_numbers)
        self._train(trainee, [*data, *numbers, *held_numbers], folder, resume, progress)
        return self

    def _begin(self, sentences: Sentences) -> None:
        """The vocabularies of the sentences to learn from, and a new network for them."""
        self.words_ = Vocabulary.build(
            (self._fold(words) for words in sentences), min_count=self.min_count, max_size=self.max_vocabulary
        )
        self.letters_ = Vocabulary.build(word for words in sentences for word in words)
        vectors = None if self.embeddings is None else self._vectors()
        with self._seeded():
            letters = None
            if self.letter_hidden_size:
                first = self.cell if isinstance(self.cell, str) or not isinstance(self.cell, Sequence) else self.cell[0]
                letters = Recurrent(first, self.letter_size, self.letter_hidden_size, bidirectional=True)
            wide = self.word_size + (0 if letters is None else letters.output_size)
            recurrent = Recurrent(
                self.cell, wide, self.hidden_size, self.num_layers,
                bidirectional=self.bidirectional, **self._layer_options(),
            )  # fmt: skip
            self._build(recurrent, letters)
        self.module_.to(self.device)
        if vectors is not None:
            set_vectors(self.module_.words, vectors)

    def _build(self, recurrent: Recurrent, letters: Recurrent | None) -> None:
        self.module_ = TaggerNetwork(
            len(self.words_), len(self.letters_), self.word_size, recurrent, letters,
            len(self.tags_), self.dropout, self.word_dropout, self.head_sizes,
        )  # fmt: skip

    def _vectors(self) -> np.ndarray:
        """The vectors of the embeddings file for the vocabulary (V, D)."""
        matrix, _ = read_embeddings(str(self.embeddings), self.words_)
        if matrix.shape[1] != self.word_size:
            raise OptionError(f"{self.embeddings} has vectors of {matrix.shape[1]}; set --word-size {matrix.shape[1]}")
        return matrix

    def batch(self, sentences: Sequence[Sequence[str]]) -> tuple[Any, ...]:
        """The network's arguments for some sentences."""
        like = self.module_.words.weight
        words, lengths = pad([self.words_.encode(self._fold(s)) for s in sentences])
        distinct = {word: place for place, word in enumerate(dict.fromkeys(w for s in sentences for w in s))}
        which, _ = pad([np.array([distinct[w] for w in s], np.int64) for s in sentences])
        spelled = [word if len(word) <= 2 * LETTERS else word[:LETTERS] + word[-LETTERS:] for word in distinct]
        letters, counts = pad([self.letters_.encode(word) for word in spelled or [""]])
        unknown = self.words_.unknown_index
        return (as_tensor(words, like), as_tensor(which, like), as_tensor(letters, like), counts, lengths, unknown)

    # -- use -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """(T, V) for each sentence."""
        result: list[np.ndarray] = [np.zeros((0, len(self.tags_)), np.float32)] * len(sentences)
        lengths = [len(s) for s in sentences]
        for places in fitting(length_batches(lengths, 64, seed=0, epoch=0, shuffle=False), lengths):
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
        """loss (nats per word), accuracy, accuracy_unknown (words that are not in the vocabulary), and for BIO tags
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
        return {
            n: v.to_json_data() for n, v in (("words", self.words_), ("letters", self.letters_), ("tags", self.tags_))
        }

    def _restore(self, doc: Document) -> None:
        self.words_ = vocabulary_from(doc, "words", "unknown")
        self.letters_ = vocabulary_from(doc, "letters", "unknown")
        self.tags_ = vocabulary_from(doc, "tags")
        letters = None
        if self.letter_hidden_size:
            letters = recurrent_from(
                doc, "characters", input_size=self.letter_size, hidden_size=self.letter_hidden_size, num_layers=1,
                bidirectional=True,
            )  # fmt: skip
        wide = self.word_size + (0 if letters is None else letters.output_size)
        self._build(self._recurrent_from(doc, wide), letters)


def _with_words(sentences: Sentences, numbers: list[np.ndarray]) -> tuple[Sentences, list[np.ndarray]]:
    """Without the empty sentences, which teach nothing."""
    full = [i for i, words in enumerate(sentences) if words]
    return [sentences[i] for i in full], [numbers[i] for i in full]


class _Trainee:
    """What the loop trains: shuffled batches of sentences of similar length."""

    unit = "words"

    def __init__(
        self,
        model: SequenceTagger,
        sentences: Sentences,
        numbers: list[np.ndarray],
        held: Sentences,
        held_numbers: list[np.ndarray],
    ) -> None:
        self.model, self.module = model, model.module_
        self.sentences, self.numbers, self.held, self.held_numbers = sentences, numbers, held, held_numbers
        self.lengths = np.array([len(words) for words in sentences], np.int64)
        self.monitor, self.maximize = ("f1" if model.spans else "accuracy"), True

    def epoch(self, number: int) -> list[np.ndarray]:
        batches = length_batches(self.lengths, self.model.batch_size, seed=self.model.seed, epoch=number)
        return fitting(batches, self.lengths)

    def loss(self, batch: np.ndarray, carry: Any) -> tuple[Tensor, int, None]:
        arguments = self.model.batch([self.sentences[i] for i in batch])
        logits = self.module(*arguments)
        targets, lengths = pad([self.numbers[i] for i in batch])
        return cross_entropy(logits, as_tensor(targets, logits), lengths), int(lengths.sum()), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held, self.held_numbers) if self.held else {}
