"""Language models: the next character, word or subword, perplexity, scores of sentences, sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.batching import length_batches, pad, streams
from elman.data.long_text import LongText
from elman.data.store import FileArray, blocks
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, Lesson, as_tensor
from elman.models.inputs import fitting, listed
from elman.models.language.network import LanguageNetwork
from elman.models.language.sampling import check as check_sampling
from elman.models.language.sampling import draw
from elman.models.language.text import LanguageText
from elman.models.language.training import IGNORED, LanguageTrainee
from elman.models.options import RECIPES, documented, preset, with_recipes
from elman.models.tokenizer import SPECIALS, Tokenizer, check_level
from elman.nn import Recurrent
from elman.runtime.document import Document

WINDOW = 256  # steps that are read at once where nothing is learnt
MOST_LOGITS = 1 << 25  # logits that are held at once where nothing is learnt: 128 MiB


@documented
@with_recipes
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel(LanguageText, Estimator):
    """Predicts the next token of a text (Mikolov et al. 2010; Graves 2013).

    While it learns, the state is carried from window to window (Williams & Peng 1990).

    fit: a text, a list of texts, a Path or a LongText, whose last `valid_fraction` is held out. A large file
    (`elman.data.long_text.LARGE`) is never held whole: its numbers lie on disk meanwhile.
    """

    task: ClassVar[str] = "language-model"

    module_: LanguageNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        check_level("--level", self.level)
        if self.recipe is not None and self.recipe not in RECIPES:
            raise OptionError(
                f"--recipe is {self.recipe!r}, which is not known{did_you_mean(str(self.recipe), RECIPES)}"
            )
        self._check_whole("bptt", "min_count")
        self._check_whole("bptt_reach", "embedding_size", "softmax_samples", optional=True)
        self._check_whole("max_vocabulary", least=len(SPECIALS) + 1, optional=True)
        self._check_share("vector_dropout", "embedding_dropout", "output_dropout")
        self._check_amount("activation_penalty", "temporal_penalty", "bptt_spread")
        reach = self.bptt_reach or self.bptt
        if reach % self.bptt:
            raise OptionError(f"--bptt-reach must be a multiple of --bptt ({self.bptt}), not {reach}")
        if self.bptt_spread and reach != self.bptt:
            raise OptionError(
                "--bptt-spread makes windows of many lengths, so that --bptt-reach must be --bptt, or none"
            )

    def set_params(self, **options: Any) -> Self:
        """Change options by name; a recipe sets its own, but for those that are given beside it."""
        return super().set_params(**{**preset(options.get("recipe")), **options})

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        given = None if valid is None else self._filled(valid, "for validation")
        if isinstance(X, Path):
            X = LongText.of([X]) or X
        stream: np.ndarray | FileArray
        if isinstance(X, LongText):
            stream, held_out = self._from_long(X, given, place())
        else:
            stream, held_out = self._from_memory(X, given)
        with self._seeded():
            self.module_ = self._network().to(self.device)
        held, characters = self._encode(held_out), self._characters(held_out)
        trainee = LanguageTrainee(
            self, self.module_, stream, self.vocabulary_.start_index,
            lambda: self._figures(held, characters) if len(held) > 1 else {},
        )  # fmt: skip
        return trainee, chain(blocks(stream), [held])

    def _network(self) -> LanguageNetwork:
        embedding = self.embedding_size or (64 if self.level == "char" and not self.tied else self.hidden_size)
        sizes = self._sizes(embedding)
        return self._around(self._recurrent(embedding, sizes))

    def _sizes(self, embedding: int) -> list[int]:
        """Units of every layer: the last one is as wide as an embedding that is also the output matrix."""
        sizes = [self.hidden_size] * self.num_layers
        if self.tied and self.num_layers > 1:
            sizes[-1] = embedding
        return sizes

    def _around(self, recurrent: Recurrent) -> LanguageNetwork:
        return LanguageNetwork(
            len(self.vocabulary_), recurrent, self.dropout, self.tied, vector_dropout=self.vector_dropout,
            embedding_dropout=self.embedding_dropout, output_dropout=self.output_dropout,
        )  # fmt: skip

    # -- use -----------------------------------------------------------------------------------------------------------
    def evaluate(self, text: str | Sequence[str] | Path) -> dict[str, float]:
        """loss (nats per token), perplexity, bits_per_character over a text, and the share of unknown tokens."""
        self._need_fit()
        documents = self.to_judge(text)
        stream = self._encode(documents)
        unknown = np.count_nonzero(stream == self.vocabulary_.unknown_index) / (len(stream) - 2 * len(documents))
        return self._figures(stream, self._characters(documents)) | {"unknown": float(unknown)}

    def to_judge(self, X: Any, y: Any = None) -> list[str]:
        return self._filled(X, "to evaluate")

    def _figures(self, stream: np.ndarray, characters: int | None) -> dict[str, float]:
        total, count = self._nats(stream)
        per_token = total / count
        letters = count if characters is None else max(characters, 1)
        return {
            "loss": per_token,
            "perplexity": math.exp(min(per_token, 700.0)),
            "bits_per_character": total / letters / math.log(2),
        }

    def _nats(self, stream: np.ndarray) -> tuple[float, int]:
        """Nats over a stream and the number of predicted tokens, read as parallel rows of 2,000 places or more."""
        rows = max(1, min(64, len(stream) // 2000))
        length = -(-(len(stream) - 1) // rows)
        filling = rows * length - (len(stream) - 1)
        inputs = np.concatenate([stream[:-1], np.zeros(filling, np.int64)]).reshape(rows, length).T
        targets = np.concatenate([self._targets(stream), np.full(filling, IGNORED)]).reshape(rows, length).T
        return float(sum(nats.sum() for nats in self._losses(inputs, targets))), int((targets != IGNORED).sum())

    def _targets(self, stream: np.ndarray) -> np.ndarray:
        """What follows each place; a start token is not to be predicted."""
        return np.where(stream[1:] == self.vocabulary_.start_index, IGNORED, stream[1:])

    @torch.no_grad()
    def _losses(self, inputs: np.ndarray, targets: np.ndarray, lengths: Any = None) -> Iterator[np.ndarray]:
        """Nats of every place (t, B) of inputs and targets (T, B), 0 where the target is IGNORED, window by window with
        the state carried on: the memory does not grow with the text."""
        steps, state = max(1, min(WINDOW, MOST_LOGITS // (inputs.shape[1] * len(self.vocabulary_)))), None
        for a in range(0, len(inputs), steps):
            x, y = (as_tensor(part[a : a + steps], self._weight) for part in (inputs, targets))
            left = None if lengths is None else np.clip(lengths - a, 0, len(x))
            logits, state = self.module_(x, state, left)
            logits, y = logits.flatten(0, 1), y.flatten()
            nats = nn.functional.cross_entropy(logits, y, ignore_index=IGNORED, reduction="none")
            yield nats.view(x.shape).double().cpu().numpy()

    @property
    def _weight(self) -> Tensor:
        return self.module_.embedding.weight

    def score(self, sentences: Sequence[str], batch_size: int = 64) -> list[dict[str, float]]:
        """For each sentence, from its start to its end token: log_probability (nats), tokens, perplexity."""
        self._need_fit()
        sentences = listed(sentences, "the sentences to score")
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise DataError(f"a sentence to score is a text, not {type(sentence).__name__}")
        encoded = [self._encode([sentence]) for sentence in sentences]
        lengths = np.array([len(numbers) - 1 for numbers in encoded], np.int64)
        nats = np.zeros(len(encoded))
        for batch in fitting(length_batches(lengths, batch_size, seed=0, epoch=0, shuffle=False), lengths):
            tokens, _ = pad([encoded[i] for i in batch])
            inside = np.arange(len(tokens) - 1)[:, None] < lengths[batch]
            targets = np.where(inside, tokens[1:], IGNORED)
            nats[batch] = sum(part.sum(0) for part in self._losses(tokens[:-1], targets, lengths[batch]))
        return [
            {"log_probability": -total, "tokens": count, "perplexity": math.exp(min(total / count, 700.0))}
            for total, count in zip(nats.tolist(), lengths.tolist())
        ]

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
        """`prompt` continued by up to `length` sampled tokens; an end token ends it."""
        drawn = self.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        return self.tokenizer_.text([*self.tokenizer_.tokenize(prompt), *drawn])

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
        check_sampling(temperature, top_k, top_p)
        if type(length) is not int or length < 0:
            raise OptionError(f"--length must be a whole number, 0 or more, not {length!r}")
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
            raise OptionError(f"--seed must be a whole number from 0 to 2**63 - 1, not {seed!r}")
        if not isinstance(prompt, str):
            raise DataError(f"a prompt is a text, not {type(prompt).__name__}")
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        numbers = self.tokenizer_.numbers(self.tokenizer_.tokenize(prompt))
        return self._drawn(numbers, length, generator, temperature, top_k, top_p)

    @torch.no_grad()
    def _drawn(
        self,
        prompt: np.ndarray,
        length: int,
        generator: torch.Generator,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
    ) -> Iterator[str]:
        v = self.vocabulary_
        state = None
        first = as_tensor(np.concatenate([[v.start_index], prompt]).astype(np.int64)[:, None], self._weight)  # (T, 1)
        for a in range(0, len(first), WINDOW):
            logits, state = self.module_(first[a : a + WINDOW], state)
        never = [i for i in (v.unknown_index, v.start_index) if i is not None]
        for _ in range(length):
            token = draw(logits[-1, 0].cpu(), generator, temperature, top_k, top_p, never)
            if token == v.end_index:
                return
            yield v.tokens[token]
            logits, state = self.module_(torch.tensor([[token]], device=self._weight.device), state)

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], list[list[str]]]:
        """The beginnings of parallel streams of the text."""
        stream = self._encode(self._documents(X))
        if len(stream) < 3:
            raise DataError("the text to diagnose is empty")
        rows = max(1, min(sequences, (len(stream) - 1) // steps))
        inputs, targets = streams(stream[:-1], rows)[:steps], streams(self._targets(stream), rows)[:steps]

        def loss() -> Tensor:
            logits, _ = self.module_(as_tensor(inputs, self._weight))
            expected = as_tensor(targets, self._weight).flatten()
            return nn.functional.cross_entropy(logits.flatten(0, 1), expected, ignore_index=IGNORED)

        return loss, [[self.vocabulary_.tokens[i] for i in row] for row in inputs.T]

    def _truncation(self) -> dict[str, Any]:
        return {"bptt": self.bptt_reach or self.bptt}

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return self.tokenizer_.to_json_data("tokens")

    def _restore(self, doc: Document) -> None:
        self.tokenizer_ = Tokenizer.of(doc, "tokens", self.level)
        embedding = doc.networks["recurrent"][0].input_size if doc.networks.get("recurrent") else 1
        self.module_ = self._around(self._recurrent_from(doc, self.embedding_size, self._sizes(embedding)))
