"""Tagging of every word: parts of speech, named entities. A word is read as a whole and by its letters."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elman.data.batching import length_batches, pad, split
from elman.data.embeddings import read_embeddings
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError
from elman.models.estimator import Estimator, Lesson, as_tensor, set_vectors
from elman.models.inputs import MAX_STEPS, as_table, fitting, known, naming, place
from elman.models.options import TaggerOptions, documented
from elman.models.restoring import recurrent_from, vocabulary_from
from elman.models.tag.network import Batch, TaggerNetwork
from elman.models.tag.tagged import Sentences, sentences_of, tagged, with_words
from elman.nn import CRF, Recurrent
from elman.nn.crf import bio, obeys
from elman.nn.loss import Reduction, cross_entropy
from elman.runtime.document import Document
from elman.runtime.inputs import shape, spelled
from elman.training.metrics import accuracy, span_f1

MOST_BEST = 1000
"""Sequences of tags that may be asked for of one sentence: their number costs memory."""

_SPAN_TAG = re.compile(r"O|[BI]-.+")


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceTagger(TaggerOptions, Estimator):
    """One tag for every word (Graves & Schmidhuber 2005; Ling et al. 2015; Plank, Søgaard & Goldberg 2016).

    A word enters as its embedding and as the last states of a bidirectional network over its letters, so that an
    unknown word is read by its spelling.

    fit: sentences X (lists of words) and y (lists of tags), a Table, or a Path with such columns.
    """

    task: ClassVar[str] = "tag"

    words_: Vocabulary = dataclasses.field(init=False, repr=False)
    letters_: Vocabulary = dataclasses.field(init=False, repr=False)
    shapes_: Vocabulary = dataclasses.field(init=False, repr=False)
    tags_: Vocabulary = dataclasses.field(init=False, repr=False)
    crf_: str | None = dataclasses.field(init=False, repr=False)
    """The rules that the tags of a sentence keep to: "bio", "free" (a CRF without rules), or None (no CRF)."""
    module_: TaggerNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        self._check_whole("word_size", "letter_size", "min_count")
        self._check_whole("letter_hidden_size", "shape_size", least=0)
        self._check_whole("max_vocabulary", optional=True)
        self._check_share("word_dropout")
        self._check_sizes("head_sizes")

    # -- data ----------------------------------------------------------------------------------------------------------
    def _sentences(self, data: Any) -> Sentences:
        return sentences_of(as_table(data), self.input)[0]

    def _pairs(self, data: Any, tags: Any) -> tuple[Sentences, Sentences, Table | str]:
        return tagged(as_table(data), tags, self.input, self.target)

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
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        sentences, tags, where = self._pairs(X, y)
        self.tags_ = Vocabulary.build(tags, unknown=None)
        sentences, numbers = with_words(sentences, self._numbers(tags, where))
        self.crf_ = self._rules(numbers)
        held: Sentences = []
        held_numbers: list[np.ndarray] = []
        if valid is not None:
            held, held_numbers = with_words(*self.to_judge(*(valid if isinstance(valid, tuple) else (valid,))))
        elif self.valid_fraction:
            kept, out = split(len(sentences), self.valid_fraction, self.seed)
            held, held_numbers = [sentences[i] for i in out], [numbers[i] for i in out]
            sentences, numbers = [sentences[i] for i in kept], [numbers[i] for i in kept]
        self._begin(sentences)
        data = ["\n".join("\t".join(words) for words in part) for part in (sentences, held)]
        return _Trainee(self, sentences, numbers, held, held_numbers), [*data, *numbers, *held_numbers]

    def _begin(self, sentences: Sentences) -> None:
        """The vocabularies of the sentences to learn from, and a new network for them."""
        self.words_ = Vocabulary.build(
            (self._fold(words) for words in sentences), min_count=self.min_count, max_size=self.max_vocabulary
        )
        self.letters_ = Vocabulary.build(word for words in sentences for word in words)
        self.shapes_ = Vocabulary.build(([shape(word) for word in words] for words in sentences), min_count=2)
        vectors = None if self.embeddings is None else self._vectors()
        with self._seeded():
            letters = None
            if self.letter_hidden_size:
                first = self.cell if isinstance(self.cell, str) or not isinstance(self.cell, Sequence) else self.cell[0]
                letters = Recurrent(first, self.letter_size, self.letter_hidden_size, bidirectional=True)
            self._build(self._recurrent(self._width(letters), bidirectional=self.bidirectional), letters)
        self.module_.to(self.device)
        if vectors is not None:
            set_vectors(self.module_.words, vectors)

    def _rules(self, numbers: list[np.ndarray]) -> str | None:
        """Which CRF the tags ask for; one that keeps to BIO where all that is to be learnt does."""
        if not (self.spans if self.crf is None else self.crf):
            return None
        rules = bio(self.tags_.tokens)
        return "bio" if self.spans and all(obeys(rules, own) for own in numbers) else "free"

    def _width(self, letters: Recurrent | None) -> int:
        """The units in which a word enters."""
        return self.word_size + self.shape_size + (0 if letters is None else letters.output_size)

    def _build(self, recurrent: Recurrent, letters: Recurrent | None) -> None:
        # As a function: a file may claim more tags than it has weights for, and V² of anything costs memory.
        rules = partial(bio, self.tags_.tokens) if self.crf_ == "bio" else None
        self.module_ = TaggerNetwork(
            len(self.words_), len(self.letters_), len(self.shapes_), self.word_size, self.shape_size, recurrent,
            letters, CRF(len(self.tags_), rules) if self.crf_ else None, len(self.tags_), self.dropout,
            self.word_dropout, self.words_.unknown_index or 0, self.head_sizes,
        )  # fmt: skip

    def _vectors(self) -> np.ndarray:
        """The vectors of the embeddings file for the vocabulary (V, D)."""
        matrix, _ = read_embeddings(str(self.embeddings), self.words_)
        if matrix.shape[1] != self.word_size:
            raise OptionError(f"{self.embeddings} has vectors of {matrix.shape[1]}; set --word-size {matrix.shape[1]}")
        return matrix

    def batch(self, sentences: Sequence[Sequence[str]]) -> Batch:
        """What the network reads of some sentences."""
        like = self.module_.words.weight
        words, lengths = pad([self.words_.encode(self._fold(s)) for s in sentences])
        distinct = {word: place for place, word in enumerate(dict.fromkeys(w for s in sentences for w in s))}
        which, _ = pad([np.array([distinct[w] for w in s], np.int64) for s in sentences])
        letters, counts = pad([self.letters_.encode(spelled(word)) for word in distinct or [""]])
        shapes = self.shapes_.encode([shape(word) for word in distinct] if self.shape_size else [])
        words_, which_, letters_, shapes_ = (as_tensor(one, like) for one in (words, which, letters, shapes))
        return Batch(words_, which_, letters_, shapes_, counts, lengths)

    # -- use -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _logits(
        self, sentences: Sequence[Sequence[str]], n: int = 1
    ) -> Iterator[tuple[list[int], Tensor, np.ndarray]]:  # fmt: skip
        """Batches of sentences, each once: their places, their logits (T, B, V), their lengths (B,); so small that the
        n best fit into memory: each step keeps n numbers and places for every tag, at most 256 MiB in all."""
        lengths = np.array([len(s) for s in sentences], np.int64)
        most = min(MAX_STEPS, (1 << 24) // (n * len(self.tags_)))
        for places in fitting(length_batches(lengths, 64, seed=0, epoch=0, shuffle=False), lengths, most):
            yield places.tolist(), self.module_(self.batch([sentences[i] for i in places])), lengths[places]

    def _found(self, logits: Tensor, lengths: np.ndarray) -> np.ndarray:
        """The tags chosen (T, B)."""
        crf = self.module_.crf
        found = logits.argmax(2) if crf is None else crf.viterbi(logits, lengths)[0][0]
        return found.cpu().numpy()

    def _loss(self, logits: Tensor, targets: Tensor, lengths: np.ndarray, reduction: Reduction = "step") -> Tensor:
        """−log of the probability of the tags, nats: logits (T, B, V), targets (T, B)."""
        loss: Tensor = (self.module_.crf or cross_entropy)(logits, targets, lengths, reduction=reduction)
        return loss

    def _best(self, logits: Tensor, lengths: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest tags (n, T, B), best first, and their log-probabilities (n, B), −∞ where there are no more."""
        crf = self.module_.crf
        if crf is None:
            logits = logits.log_softmax(2)
            crf = CRF(logits.shape[2]).to(logits.device)
        paths, scores = crf.viterbi(logits, lengths, n)
        return paths.cpu().numpy(), (scores - crf.log_partition(logits, lengths)).cpu().numpy()

    def predict(self, X: Any) -> list[list[str]]:
        """The likeliest tag of every word; with a CRF the tags of the likeliest sequence."""
        self._need_fit()
        sentences = self._sentences(X)
        result: list[list[str]] = [[]] * len(sentences)
        for places, logits, lengths in self._logits(sentences):
            found = self._found(logits, lengths)
            for column, i in enumerate(places):
                result[i] = self.tags_.decode(found[: lengths[column], column])
        return result

    def predict_nbest(self, X: Any, n: int) -> list[list[tuple[list[str], float]]]:
        """For each sentence its n likeliest sequences of tags with their probabilities, likeliest first; fewer where
        there are no more."""
        self._need_fit()
        if type(n) is not int or not 1 <= n <= MOST_BEST:
            raise OptionError(f"--n-best must be a whole number from 1 to {MOST_BEST:,}, not {n!r}")
        sentences = self._sentences(X)
        result: list[list[tuple[list[str], float]]] = [[]] * len(sentences)
        for places, logits, lengths in self._logits(sentences, n):
            paths, scores = self._best(logits, lengths, n)
            for column, i in enumerate(places):
                found = zip(paths[:, : lengths[column], column], scores[:, column].tolist())
                result[i] = [(self.tags_.decode(path), math.exp(p)) for path, p in found if p > -math.inf]
        return result

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """For each sentence (T, V): the probabilities of the tags, in the order of `classes_`."""
        self._need_fit()
        sentences = self._sentences(X)
        result = [np.zeros((0, len(self.tags_)))] * len(sentences)
        for places, logits, lengths in self._logits(sentences):
            crf = self.module_.crf
            shares = logits.double().softmax(2) if crf is None else crf.marginals(logits, lengths)
            for column, i in enumerate(places):
                result[i] = shares[: lengths[column], column].cpu().numpy()
        return result

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
        return self._figures(*self.to_judge(X, y))

    def to_judge(self, X: Any, y: Any = None) -> tuple[Sentences, list[np.ndarray]]:
        with naming(X):
            sentences, tags, where = self._pairs(X, y)
        return sentences, self._numbers(tags, where)

    @torch.no_grad()
    def _figures(self, sentences: Sentences, numbers: list[np.ndarray]) -> dict[str, float]:
        guessed, nats = [np.zeros(0, np.int64)] * len(sentences), 0.0
        for places, logits, lengths in self._logits(sentences):
            targets, _ = pad([numbers[i] for i in places])
            nats += float(self._loss(logits.double(), as_tensor(targets, logits), lengths, "sum"))
            found = self._found(logits, lengths)
            for column, i in enumerate(places):
                guessed[i] = found[: lengths[column], column]
        true, found = np.concatenate(numbers), np.concatenate(guessed)
        figures = {"loss": nats / len(true), "accuracy": accuracy(true, found)}
        unknown = np.array([word not in self.words_ for words in sentences for word in self._fold(words)], bool)
        if unknown.any():
            figures["accuracy_unknown"] = accuracy(true[unknown], found[unknown])
        if self.spans:
            spans = span_f1(*([self.tags_.decode(own) for own in tags] for tags in (numbers, guessed)))
            figures |= {name: float(spans[name]) for name in ("precision", "recall", "f1")}
        return figures

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], Sentences]:
        sentences, tags, where = self._pairs(X, y)
        chosen, numbers = with_words(sentences[:sequences], self._numbers(tags[:sequences], where))
        trainee = _Trainee(self, chosen, numbers, [], [])
        return lambda: trainee.loss(np.arange(len(chosen)), None)[0], chosen

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        kept = {"words": self.words_, "letters": self.letters_, "tags": self.tags_}
        if self.shape_size:
            kept["shapes"] = self.shapes_
        result: dict[str, Any] = {name: vocabulary.to_json_data() for name, vocabulary in kept.items()}
        return result | ({"crf": {"rules": self.crf_}} if self.crf_ else {})

    def _restore(self, doc: Document) -> None:
        self.words_ = vocabulary_from(doc, "words", "unknown")
        self.letters_ = vocabulary_from(doc, "letters", "unknown")
        self.shapes_ = vocabulary_from(doc, "shapes", "unknown") if self.shape_size else Vocabulary.build([])
        self.tags_ = vocabulary_from(doc, "tags")
        self.crf_ = doc.vocabularies["crf"].get("rules") if "crf" in doc.vocabularies else None
        if self.crf_ not in ("bio", "free", None) or self.crf not in (None, self.crf_ is not None):
            raise DataError("the rules of the CRF are not known, or the option crf says otherwise")
        letters = None
        if self.letter_hidden_size:
            letters = recurrent_from(
                doc, "characters", input_size=self.letter_size, hidden_size=self.letter_hidden_size, num_layers=1,
                bidirectional=True,
            )  # fmt: skip
        self._build(self._recurrent_from(doc, self._width(letters)), letters)


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
        logits = self.module(self.model.batch([self.sentences[i] for i in batch]))
        targets, lengths = pad([self.numbers[i] for i in batch])
        return self.model._loss(logits, as_tensor(targets, logits), lengths), int(lengths.sum()), None

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held, self.held_numbers) if self.held else {}
