"""Sequences to sequences of another length: translation, spelling to sound, answers to questions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from elman.data.batching import pad, split
from elman.data.table import Table
from elman.errors import DataError, OptionError
from elman.models.estimator import Lesson, as_tensor, initial_embedding
from elman.models.inputs import as_table, check_steps, listed, naming, place
from elman.models.options import TransducerOptions, documented
from elman.models.restoring import recurrent_from
from elman.models.tokenizer import SPECIALS, Tokenizer, check_level
from elman.models.write import decoding
from elman.models.write.decoder import Carried
from elman.models.write.transducer import TransducerNetwork
from elman.models.write.writer import MONITORS, Numbers, Output, Writer
from elman.nn import Recurrent
from elman.nn.attention import Memory
from elman.runtime.document import Document


class Alignment(NamedTuple):
    """Where the decoder looked: weights (T, S), a row for each target token, which sums to 1."""

    source: list[str]
    target: list[str]
    weights: np.ndarray


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class EncoderDecoder(TransducerOptions, Writer):
    """Reads a text and writes another (Sutskever, Vinyals & Le 2014; Cho et al. 2014; Bahdanau, Cho & Bengio 2015).

    Attention looks from the decoder's new state, with either score (Luong, Pham & Manning 2015), so that training
    runs over all steps at once; input feeding and scheduled sampling go step by step.

    fit: sources X and targets y (texts; y may hold lists of right ones), a Table, or a Path.
    """

    task: ClassVar[str] = "transduce"
    networks: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    words: ClassVar[tuple[str, str]] = ("source", "target")

    source_: Tokenizer = dataclasses.field(init=False, repr=False)
    ratio_: float = dataclasses.field(init=False, repr=False)
    """Target tokens for each source token of the training data."""
    module_: TransducerNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        check_level("--target-level", self._target_level)
        self._check_known("initial_state", ("final", "mean"))
        if type(self.scheduled_sampling) not in (int, float) or not 0 <= self.scheduled_sampling <= 1:
            raise OptionError(f"--scheduled-sampling must be a number from 0 to 1, not {self.scheduled_sampling!r}")
        if self.shared and self.level != self._target_level:
            raise OptionError(f"--shared needs one level, but the target's is {self._target_level}; leave one out")
        if self.input_feeding and self.attention == "none":
            raise OptionError(
                "--input-feeding feeds on what attention finds; choose --attention additive or dot with it"
            )

    @property
    def _target_level(self) -> str:
        return self.target_level or self.level

    # -- data ----------------------------------------------------------------------------------------------------------
    def _sources(self, data: Any) -> tuple[list[str], Table | str]:
        """The texts to read, and where they come from for messages."""
        data = as_table(data)
        where: Table | str = data if isinstance(data, Table) else "the sources"
        texts = data.column(self.input) if isinstance(data, Table) else listed(data, "the sources")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{place(where, i)}: a source is a text, not {type(text).__name__}")
        return texts, where

    def _pairs(self, data: Any, targets: Any) -> tuple[list[str], list[list[str]], Table | str]:
        """Sources, the targets of each (one, or several in a list), and where they come from."""
        data = as_table(data)
        sources, where = self._sources(data)
        every = self._targets(data, targets, len(sources), where)
        return sources, every, where

    def _numbered(self, sources: list[str], targets: list[list[str]], where: Table | str) -> tuple[Numbers, Numbers]:
        """Every pair as numbers; a source with several targets stands once for each."""
        read = [self.source_.ended(self.source_.tokenize(text)) for text in sources]
        check_steps([len(numbers) for numbers in read], where)
        written = [[self.target_.ended(self.target_.tokenize(text)) for text in own] for own in targets]
        check_steps([max(map(len, own)) for own in written], where)
        return [n for n, own in zip(read, written) for _ in own], [n for own in written for n in own]

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        sources, targets, where = self._pairs(X, y)
        held: tuple[list[str], list[list[str]], Table | str] | None = None
        if valid is not None:
            held = self._pairs(*valid) if isinstance(valid, tuple) else self._pairs(valid, None)
        elif self.valid_fraction:
            kept, out = self._apart(sources)
            held = [sources[i] for i in out], [targets[i] for i in out], "the held-out part"
            sources, targets = [sources[i] for i in kept], [targets[i] for i in kept]
            where = where.select(kept) if isinstance(where, Table) else where
        self._begin(sources, [text for own in targets for text in own])
        read, written = self._numbered(sources, targets, where)
        self.ratio_ = sum(map(len, written)) / sum(map(len, read))
        texts = [] if held is None else ["\n".join(held[0]), "\n".join("\t".join(own) for own in held[1])]
        return _Trainee(self, read, written, held), [*read, *written, *texts]

    def _apart(self, sources: list[str]) -> tuple[list[int], list[int]]:
        """The pairs to learn from and those held out; a source that stands there several times is on one side."""
        every = list(dict.fromkeys(sources))
        chosen = {every[i] for i in split(len(every), self.valid_fraction, self.seed)[1]}
        parts: tuple[list[int], list[int]] = [], []
        for i, source in enumerate(sources):
            parts[source in chosen].append(i)
        return parts

    def _begin(self, sources: list[str], targets: list[str]) -> None:
        """The vocabularies of the texts to learn from, and a new network for them."""
        if self.shared:
            self.source_ = self.target_ = self._learn_target([*sources, *targets])
        else:
            self.source_ = Tokenizer.learn(sources, self.level, self.min_count, self.max_vocabulary, self.lower)
            self.target_ = self._learn_target(targets)
        with self._seeded():
            embeddings = self._embeddings()
            encoder = self._recurrent(self.embedding_size, bidirectional=self.bidirectional)
            decoder = self._recurrent(self._decoder_input)
            self._build(embeddings, encoder, decoder)
        self.module_.to(self.device)

    @property
    def _decoder_input(self) -> int:
        return self.embedding_size * (1 + self.input_feeding)

    def _embeddings(self) -> tuple[nn.Embedding, nn.Embedding]:
        source = initial_embedding(len(self.source_.vocabulary), self.embedding_size)
        return source, source if self.shared else initial_embedding(len(self.target_.vocabulary), self.embedding_size)

    def _build(self, embeddings: tuple[nn.Embedding, nn.Embedding], encoder: Recurrent, decoder: Recurrent) -> None:
        looks = self._looks(decoder.output_size, encoder.output_size)
        self.module_ = TransducerNetwork(
            *embeddings, encoder, decoder, looks, self.initial_state,
            dropout=self.dropout, feeding=self.input_feeding, tied=self.tied,
        )  # fmt: skip

    # -- use -----------------------------------------------------------------------------------------------------------
    def predict(self, X: Any) -> list[str]:
        """What the model writes for each source."""
        return [own[0].text if own else "" for own in self.outputs(X)]

    def outputs(self, X: Any, n_best: int = 1) -> list[list[Output]]:
        """For each source the `n_best` outputs (at most `beam_size`), best first."""
        self._need_fit()
        texts, where = self._sources(X)
        tokens = [self.source_.tokenize(text) for text in texts]
        check_steps([len(own) for own in tokens], where)
        return self._outputs(tokens, self.beam_size, n_best)

    def _outputs(self, tokens: Sequence[list[str]], beam_size: int, n_best: int) -> list[list[Output]]:
        read = [self.source_.ended(own) for own in tokens]
        limits = [20 + math.ceil(2 * self.ratio_ * len(numbers)) for numbers in read]
        found = self._search(read, limits, beam_size, n_best)
        return [
            [Output(self._text(source, h), h.log_probability, h.score) for h in own]
            for source, own in zip(tokens, found)
        ]

    def _encoded(self, read: Numbers) -> tuple[Memory | None, Carried]:
        numbers, lengths = pad(read)
        memory, carried = self.module_.encode(as_tensor(numbers, self.module_.output.weight), lengths.tolist())
        return memory, carried

    def _text(self, source: list[str], found: decoding.Hypothesis) -> str:
        """The text of a hypothesis; for an unknown token the source's with the most attention, where that is asked."""
        tokens, unknown = self.target_.vocabulary.decode(found.tokens), SPECIALS["unknown"]
        if self.replace_unknown and source and unknown in tokens and self.module_.attention is not None:
            weights = self._weights(self.source_.ended(source), np.array(found.tokens))
            nearest = weights[:, : len(source)].argmax(1)
            tokens = [source[s] if token == unknown else token for token, s in zip(tokens, nearest)]
        return self.target_.text(tokens)

    def align(self, source: str, target: str | None = None) -> Alignment:
        """Where the decoder looks while it writes `target` (default: what it would write itself)."""
        self._need_fit()
        if self.attention == "none":
            raise OptionError("this model has no attention: train it with --attention additive or dot")
        target = self.predict([source])[0] if target is None else target
        tokens = [side.tokenize(text) for side, text in ((self.source_, source), (self.target_, target))]
        read, written = self.source_.ended(tokens[0]), self.target_.ended(tokens[1])
        end = [SPECIALS["end"]]
        return Alignment(tokens[0] + end, tokens[1] + end, self._weights(read, written))

    # -- judging -------------------------------------------------------------------------------------------------------
    def score(self, X: Any, y: Any = None) -> float:
        """The share of sources for which the output is right as a whole."""
        return self.evaluate(X, y)["accuracy"]

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """loss (nats per token, the end among them), perplexity; of the outputs: accuracy (right as a whole), and
        error_rate of words (of characters where the target is read by characters) and, but for characters, bleu.

        A source that stands in the data several times has several targets, each of which is right.
        """
        self._need_fit()
        sources, targets, numbers = self.to_judge(X, y)
        return self._loss(*numbers) | self._judged(sources, targets, self.beam_size)

    def to_judge(self, X: Any, y: Any = None) -> tuple[list[str], list[list[str]], tuple[Numbers, Numbers]]:
        with naming(X):
            sources, targets, where = self._pairs(X, y)
        return sources, targets, self._numbered(sources, targets, where)

    def _judged(self, sources: list[str], targets: list[list[str]], beam_size: int) -> dict[str, float]:
        right: dict[str, list[str]] = {}
        for source, own in zip(sources, targets):
            right.setdefault(source, []).extend(own)
        texts = [own[0].text for own in self._outputs([self.source_.tokenize(text) for text in right], beam_size, 1)]
        return self._figures(texts, list(right.values()))

    def _sample(
        self, X: Any, y: Any, sequences: int, steps: int
    ) -> tuple[Callable[[], Tensor], dict[str, list[list[str]]]]:
        sources, targets, where = self._pairs(X, y)
        read, written = self._numbered(sources[:sequences], targets[:sequences], where)
        symbols = {"encoder": [[self.source_.vocabulary.tokens[i] for i in own] for own in read]}
        return lambda: self.loss(read, written)[0], symbols | self._given(written)

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        source = {} if self.shared else self.source_.to_json_data("source")
        return source | self.target_.to_json_data("target")

    def _scaling(self) -> dict[str, list[float]]:
        return {"ratio": [self.ratio_]}

    def _restore(self, doc: Document) -> None:
        self.target_ = Tokenizer.of(doc, "target", self._target_level, self.lower)
        self.source_ = self.target_ if self.shared else Tokenizer.of(doc, "source", self.level, self.lower)
        if set(doc.vocabularies) != set(self._vocabularies()):
            raise DataError("there is a vocabulary that is not part of the model")
        ratios = doc.scaling.get("ratio", [])
        if set(doc.scaling) != {"ratio"} or len(ratios) != 1 or not 0 < ratios[0] < 1 << 20:
            raise DataError("the scaling must be the ratio of target to source tokens, above 0")
        self.ratio_ = float(ratios[0])
        common: Any = {"hidden_size": self.hidden_size, "num_layers": self.num_layers, **self._layer_options()}
        encoder = recurrent_from(
            doc, "encoder", input_size=self.embedding_size, bidirectional=self.bidirectional, **common
        )
        decoder = recurrent_from(doc, "decoder", input_size=self._decoder_input, bidirectional=False, **common)
        self._build(self._embeddings(), encoder, decoder)


class _Trainee:
    """What the loop trains: shuffled batches of pairs of similar lengths, each with its epoch's share of sampling."""

    unit = "tokens"

    def __init__(self, model: EncoderDecoder, read: Numbers, written: Numbers, held: Any) -> None:
        self.model, self.module, self.read, self.written, self.held = model, model.module_, read, written, held
        self.monitor, self.maximize = model.monitor, MONITORS[model.monitor]
        self.numbers = None if held is None else model._numbered(*held)

    def epoch(self, number: int) -> list[tuple[float, np.ndarray]]:
        share = self.model.scheduled_sampling * number / max(1, self.model.epochs - 1)
        return [(min(1.0, share), batch) for batch in self.model.batches(self.read, self.written, epoch=number)]

    def loss(self, batch: tuple[float, np.ndarray], carry: Any) -> tuple[Tensor, int, None]:
        share, places = batch
        read, written = [self.read[i] for i in places], [self.written[i] for i in places]
        return *self.model.loss(read, written, share, self.model.label_smoothing), None

    def validate(self) -> dict[str, float]:
        if self.held is None or self.numbers is None:
            return {}
        figures = self.model._loss(*self.numbers)
        return figures if self.monitor == "loss" else figures | self.model._judged(self.held[0], self.held[1], 1)
