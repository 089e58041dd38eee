"""Language models: the next character or word, perplexity, scores of sentences, sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.batching import pad, streams
from elman.data.readers import read_text
from elman.data.vocabulary import Vocabulary, check_level, detokenize, tokenize
from elman.errors import DataError, OptionError
from elman.models.estimator import Estimator, as_tensor, initial_linear, recurrent_from
from elman.models.options import LanguageModelOptions, documented
from elman.models.sampling import draw
from elman.nn import Recurrent
from elman.nn.recurrent import State
from elman.runtime.document import Document
from elman.training.progress import Progress

IGNORED = -100  # a target that is not counted: starts of documents, and what fills up the last row of the streams
UNKNOWN, START, END = "<unk>", "<s>", "</s>"


class LanguageNetwork(nn.Module):
    """Embedding, recurrent layers, output: tokens (T, B) -> logits (T, B, V) and the state to carry on."""

    def __init__(self, vocabulary_size: int, embedding_size: int, recurrent: Recurrent, dropout: float, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = recurrent
        self.output = initial_linear(nn.Linear(recurrent.output_size, vocabulary_size))
        if tied:  # Press & Wolf 2017; Inan et al. 2017
            if embedding_size != recurrent.output_size:
                raise OptionError(
                    f"--tied needs an embedding as wide as the output of the recurrent layers: embedding_size "
                    f"{embedding_size} is not {recurrent.output_size}; set --embedding-size {recurrent.output_size}"
                )
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None, lengths: Any = None) -> tuple[Tensor, State]:
        x = self.dropout(self.embedding(tokens))
        output, state = self.recurrent(x, state, lengths=lengths)
        return self.output(self.dropout(output)), state


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel(LanguageModelOptions, Estimator):
    """Predicts the next token of a text (Mikolov et al. 2010; Graves 2013).

    level: "char", "word" (words and signs) or "space" (what white space separates).
    lines: every line is a sentence between start and end tokens; None: yes for words, no for characters.
    bptt: k1, the steps between two updates; bptt_reach: k2, how far back the gradient goes (a multiple of k1; default
    k1). The state is carried from window to window (Williams & Peng 1990).
    tied: the output matrix is the embedding. embedding_size: default hidden_size when tied, else 64 for characters and
    hidden_size for words. min_count, max_vocabulary: rarer tokens become <unk>.
    """

    task: ClassVar[str] = "language-model"

    vocabulary_: Vocabulary = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        check_level(self.level)
        if self.bptt < 1:
            raise OptionError(f"--bptt must be 1 step or more, not {self.bptt}")
        reach = self.bptt_reach or self.bptt
        if reach < self.bptt or reach % self.bptt:
            raise OptionError(f"--bptt-reach must be a multiple of --bptt ({self.bptt}), not {reach}")

    # -- text to numbers -----------------------------------------------------------------------------------------------
    def _documents(self, text: str | Sequence[str] | Path) -> list[list[str] | str]:
        """Token sequences: one for each document, or for each line."""
        if isinstance(text, Path):
            text = read_text(text)
        documents = [text] if isinstance(text, str) else list(text)
        if not all(isinstance(d, str) for d in documents):
            raise DataError("a language model is given a text, a list of texts or a Path")
        if self.lines if self.lines is not None else self.level != "char":
            documents = [line for d in documents for line in d.splitlines() if line.strip()]
        # A string is already the sequence of its characters: a list of a million of them is not needed.
        return [d if self.level == "char" else tokenize(d, self.level) for d in documents]

    def _encode(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """All documents as one stream of numbers (N,): <s> tokens </s> <s> tokens </s> ..."""
        v = self.vocabulary_
        parts: list[Any] = []
        for document in documents:
            parts += [[v.start_index], v.encode(document), [v.end_index]]
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    def _targets(self, stream: np.ndarray) -> np.ndarray:
        """What follows each place; a start token is not to be predicted."""
        return np.where(stream[1:] == self.vocabulary_.start_index, IGNORED, stream[1:])

    # -- learning ------------------------------------------------------------------------------------------------------
    def fit(
        self,
        text: str | Sequence[str] | Path,
        y: object = None,
        *,
        valid: str | Sequence[str] | Path | None = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> LanguageModel:
        """Learn from a text, a list of texts, or a Path; `valid` decides which weights are kept (default: the last
        `valid_fraction` of the text is held out). folder, resume, progress: see `elman.training.fit`."""
        self.check()
        documents = self._documents(text)
        if valid is None and self.valid_fraction:
            documents, held_out = _hold_out(documents, self.valid_fraction)
        else:
            held_out = [] if valid is None else self._documents(valid)
        if not any(len(d) for d in documents):
            raise DataError("the text to learn from is empty")
        self.vocabulary_ = Vocabulary.build(
            documents, min_count=self.min_count, max_size=self.max_vocabulary, unknown=UNKNOWN, start=START, end=END
        )
        stream = self._encode(documents)
        with self._seeded():
            self.module_ = self._network().to(self.device)
        held = self._encode(held_out)
        characters = sum(len(t) for d in held_out for t in d) if self.level != "char" else None
        trainee = _Trainee(self, stream, held, characters)
        self._train(trainee, [stream, held], folder, resume, progress)
        return self

    def _network(self) -> LanguageNetwork:
        embedding = self.embedding_size or (64 if self.level == "char" and not self.tied else self.hidden_size)
        recurrent = Recurrent(
            self.cell, embedding, self.hidden_size, self.num_layers, dropout=self.dropout, residual=self.residual
        )
        return LanguageNetwork(len(self.vocabulary_), embedding, recurrent, self.dropout, self.tied)

    # -- use -----------------------------------------------------------------------------------------------------------
    def evaluate(self, text: str | Sequence[str] | Path) -> dict[str, float]:
        """loss (nats per token), perplexity, bits_per_character over a text, and the share of unknown tokens."""
        self._need_fit()
        documents = self._documents(text)
        stream = self._encode(documents)
        if len(stream) < 2:
            raise DataError("the text to evaluate is empty")
        figures = self._figures(stream, sum(len(t) for d in documents for t in d) if self.level != "char" else None)
        return figures | {"unknown": float(np.mean(stream == self.vocabulary_.unknown_index))}

    def _figures(self, stream: np.ndarray, characters: int | None) -> dict[str, float]:
        total, count = self._nats(stream)
        per_token = total / count
        letters = count if characters is None else max(characters, 1)
        return {
            "loss": per_token,
            "perplexity": math.exp(min(per_token, 700.0)),
            "bits_per_character": total / letters / math.log(2),
        }

    @torch.no_grad()
    def _nats(self, stream: np.ndarray) -> tuple[float, int]:
        """Nats over a stream and the number of predicted tokens, read as parallel rows of 2,000 places or more."""
        rows = max(1, min(64, len(stream) // 2000))
        length = -(-(len(stream) - 1) // rows)
        filling = rows * length - (len(stream) - 1)
        inputs = np.concatenate([stream[:-1], np.zeros(filling, np.int64)]).reshape(rows, length).T
        targets = np.concatenate([self._targets(stream), np.full(filling, IGNORED)]).reshape(rows, length).T
        total, count, state = 0.0, 0, None
        for a in range(0, length, 256):
            x, y = (as_tensor(part[a : a + 256], self._weight) for part in (inputs, targets))
            logits, state = self.module_(x, state)
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=IGNORED, reduction="sum")
            total, count = total + float(losses), count + int((y != IGNORED).sum())
        return total, count

    @property
    def _weight(self) -> Tensor:
        return self.module_.embedding.weight  # type: ignore[union-attr, return-value]

    @torch.no_grad()
    def score(self, sentences: Sequence[str], batch_size: int = 64) -> list[dict[str, float]]:
        """For each sentence, from its start to its end token: log_probability (nats), tokens, perplexity."""
        self._need_fit()
        results = []
        for a in range(0, len(sentences), batch_size):
            documents = [s if self.level == "char" else tokenize(s, self.level) for s in sentences[a : a + batch_size]]
            tokens, lengths = pad([self._encode([d]) for d in documents])
            inputs, targets = as_tensor(tokens[:-1], self._weight), as_tensor(tokens[1:], self._weight)
            logits, _ = self.module_(inputs, None, lengths - 1)
            nats = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
            for b, length in enumerate(lengths.tolist()):
                total = float(nats[: length - 1, b].double().sum())
                mean = total / (length - 1)
                results.append({"log_probability": -total, "tokens": length - 1, "perplexity": math.exp(min(mean, 700.0))})
        return results

    def predict(self, sentences: Sequence[str]) -> list[dict[str, float]]:
        """The scores of the sentences, one each."""
        return self.score(sentences)

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """`prompt` continued by up to `length` sampled tokens; with `lines`, an end token ends it."""
        tokens = tokenize(prompt, self.level)
        return detokenize([*tokens, *self.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)], self.level)

    @torch.no_grad()
    def stream(
        self,
        prompt: str,
        length: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The tokens of `generate`, one at a time as they are drawn.

        temperature: divides the logits, 0 takes the likeliest; top_k: only the k likeliest; top_p: only the likeliest
        that together reach this probability (Holtzman et al. 2020). seed: the same seed gives the same text.
        """
        self._need_fit()
        if length < 0:
            raise OptionError(f"--length must be 0 or more, not {length}")
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        v = self.vocabulary_
        first = np.concatenate([[v.start_index], v.encode(tokenize(prompt, self.level))]).astype(np.int64)
        logits, state = self.module_(as_tensor(first[:, None], self._weight))
        never = [i for i in (v.unknown_index, v.start_index) if i is not None]
        for _ in range(length):
            token = draw(logits[-1, 0].float().cpu(), generator, temperature, top_k, top_p, never)
            if token == v.end_index:
                return
            yield v.tokens[token]
            logits, state = self.module_(torch.tensor([[token]], device=self._weight.device), state)

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return {"tokens": self.vocabulary_.to_json_data()}

    def _restore(self, doc: Document) -> None:
        self.vocabulary_ = Vocabulary.from_json_data(doc.vocabularies["tokens"])
        recurrent = recurrent_from(doc, "recurrent", self.dropout)
        self.module_ = LanguageNetwork(
            len(self.vocabulary_), recurrent.input_size, recurrent, self.dropout, self.tied
        ).to(self.device)


def _hold_out(documents: list[Any], fraction: float) -> tuple[list[Any], list[Any]]:
    """The documents, and the last part of them for validation: whole documents, or the end of the only one."""
    if len(documents) >= 10:
        cut = len(documents) - max(1, round(len(documents) * fraction))
        return documents[:cut], documents[cut:]
    last = documents[-1] if documents else ""
    cut = len(last) - round(sum(len(d) for d in documents) * fraction)
    if cut < 1:
        raise DataError("the text is too short to hold out a part for validation; give --valid, or --valid-fraction 0")
    return [*documents[:-1], last[:cut]], [last[cut:]]


class _Trainee:
    """What the loop trains: windows of parallel streams, with carried state."""

    maximize = False
    monitor = "loss"

    def __init__(self, model: LanguageModel, stream: np.ndarray, held_out: np.ndarray, characters: int | None) -> None:
        self.model, self.module, self.held_out, self.characters = model, model.module_, held_out, characters
        self.unit = "characters" if model.level == "char" else "words"
        rows = min(model.batch_size, max(1, (len(stream) - 1) // 2))
        self.inputs = as_tensor(streams(stream[:-1], rows), model._weight)
        self.targets = as_tensor(streams(model._targets(stream), rows), model._weight)
        self.k1 = model.bptt
        self.reach = (model.bptt_reach or model.bptt) // model.bptt

    def epoch(self, number: int) -> range:
        return range(0, len(self.inputs), self.k1)

    def loss(self, start: int, carry: Any) -> tuple[Tensor, int, Any]:
        """The window from `start`. The carry holds the states at the starts of the last k2 / k1 windows, this one's
        last: the gradient reaches back to the oldest of them, the loss is that of the new window alone."""
        history: tuple[State | None, ...] = carry or (None,)
        begin = start - (len(history) - 1) * self.k1
        stop = min(start + self.k1, len(self.inputs))
        logits, state = self.module(self.inputs[begin:stop], history[0])
        targets = self.targets[start:stop].flatten()
        loss = nn.functional.cross_entropy(logits[start - begin :].flatten(0, 1), targets, ignore_index=IGNORED)
        carried = tuple(tuple(s.detach() for s in part) for part in state)
        kept = history[len(history) - self.reach + 1 :] if len(history) >= self.reach else history
        if kept and kept[0] is None:  # the zeros before the first step, as tensors: a checkpoint holds tensors
            kept = (self.module.recurrent.zero_state(self.inputs.shape[1]), *kept[1:])  # type: ignore[union-attr, operator]
        return loss, int((targets != IGNORED).sum()), (*(kept if self.reach > 1 else ()), carried)

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held_out, self.characters) if len(self.held_out) > 1 else {}
