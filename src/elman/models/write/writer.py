"""What estimators that write texts share: the decoder's options, several right targets, the search, the figures."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elman.data.batching import length_batches, pad
from elman.data.table import Table
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, as_tensor
from elman.models.inputs import fitting, listed, missing, place
from elman.models.options import WriterOptions
from elman.models.tokenizer import SPECIALS, Tokenizer, check_level
from elman.models.write import decoding
from elman.models.write.decoder import Carried, DecoderNetwork
from elman.nn import Attention
from elman.nn.attention import KINDS, Memory
from elman.training.metrics import perplexity
from elman.training.text_metrics import bleu, error_rate, exact

MOST_PAIRS = 1 << 24
"""Pairs of a part of the memory and a target's token, over a batch, for which attention has a weight."""
MOST_LOGITS = 1 << 24
"""Logits of a step of the search: 64 MiB."""
MOST_NUMBERS = 1 << 26
"""Numbers that are read at once: 256 MiB."""
MONITORS = {"loss": False, "accuracy": True, "bleu": True, "error_rate": False}
"""The figures that may decide which weights are kept, and whether more is better."""
Numbers = list[np.ndarray]


class Output(NamedTuple):
    """What a model wrote."""

    text: str
    log_probability: float
    """Of the whole sequence, its end among it, nats."""
    score: float
    """By which outputs are ranked: see `elman.models.write.decoding.beam_search`."""


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Writer(WriterOptions, Estimator):
    """Reads something and writes a text. A child says what is read, and how a batch of it is encoded."""

    words: ClassVar[tuple[str, str]]
    """What is read and what is written, for messages: source, target."""

    target_: Tokenizer = dataclasses.field(init=False, repr=False)
    module_: DecoderNetwork = dataclasses.field(init=False, repr=False)

    # -- what a child says ---------------------------------------------------------------------------------------------
    @property
    def _target_level(self) -> str:
        return self.level

    @abstractmethod
    def _encoded(self, read: Numbers) -> tuple[Memory | None, Carried]:
        """What the decoder looks at, and what it begins from."""

    def _parts(self, one: np.ndarray) -> int:
        """How many parts the memory of an input has."""
        return len(one)

    # -- options -------------------------------------------------------------------------------------------------------
    def check(self) -> None:
        super().check()
        check_level("--level", self.level)
        self._check_whole("embedding_size", "min_count")
        self._check_whole("max_vocabulary", least=len(SPECIALS) + 1, optional=True)
        self._check_share("label_smoothing")
        self._check_known("attention", ("none", *KINDS))
        self._check_known("monitor", tuple(MONITORS))
        if self.monitor == "bleu" and self._target_level == "char":
            raise OptionError(
                f"--monitor bleu is for {self.words[1]}s of words or subwords, not of characters; take error_rate"
            )
        decoding.check(self.beam_size, 1, self.length_penalty)

    def _check_known(self, name: str, known: Sequence[str]) -> None:
        """OptionError unless the option is one of these."""
        value = getattr(self, name)
        if value not in known:
            raise OptionError(f"--{name.replace('_', '-')} {value!r} is not known{did_you_mean(str(value), known)}")

    def _looks(self, query_size: int, memory_size: int) -> Attention | None:
        return None if self.attention == "none" else Attention(self.attention, query_size, memory_size)

    def _learn_target(self, targets: Sequence[str]) -> Tokenizer:
        """How the targets of the training data become tokens."""
        return Tokenizer.learn(targets, self._target_level, self.min_count, self.max_vocabulary, self.lower)

    # -- data ----------------------------------------------------------------------------------------------------------
    def _targets(self, data: Any, targets: Any, count: int, where: Table | str) -> list[list[str]]:
        """The targets of each of `count` inputs: one, or several in a list, which are all right."""
        source, target = self.words
        if targets is None:
            if not isinstance(data, Table):
                raise DataError(f"{target}s are missing: give y beside X, or a table with a column of {target}s")
            targets = data.column(self.target)
        targets = listed(targets, f"the {target}s")
        if len(targets) != count:
            raise DataError(f"there are {count} {source}s and {len(targets)} {target}s; each {source} needs one")
        if not count:
            raise DataError(f"there are no pairs of a {source} and a {target}")
        every = [[own] if isinstance(own, str) or missing(own) else listed(own, f"the {target}s") for own in targets]
        for i, own in enumerate(every):
            odd = [j for j, text in enumerate(own) if not isinstance(text, str)]
            if odd or not own:
                raise DataError(
                    f"{place(where, i, *odd[:1])}: a {target} is a text, or a list of texts that are all right"
                )
        return every

    def batches(self, read: Numbers, written: Numbers, *, epoch: int = 0, shuffle: bool = True) -> list[np.ndarray]:
        """Indices of pairs of similar lengths, few enough to fit into memory."""
        sizes = np.array([(self._parts(a), len(b)) for a, b in zip(read, written)])
        batches = length_batches(sizes.sum(1), self.batch_size, seed=self.seed, epoch=epoch, shuffle=shuffle)
        batches = fitting(fitting(batches, sizes.max(1)), [one.size for one in read], MOST_NUMBERS)
        return fitting(batches, sizes.max(1) ** 2, MOST_PAIRS)

    # -- use -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _search(
        self, read: Numbers, limits: Sequence[int], beam_size: int, n_best: int
    ) -> list[list[decoding.Hypothesis]]:
        """For each input its `n_best` hypotheses of at most so many tokens, best first."""
        decoding.check(beam_size, n_best, self.length_penalty)
        v, parts = self.target_.vocabulary, [self._parts(one) for one in read]
        result: list[list[decoding.Hypothesis]] = [[]] * len(read)
        count = max(1, min(128, MOST_LOGITS // (beam_size * len(v))))
        assert v.start_index is not None
        assert v.end_index is not None
        batches = fitting(length_batches(parts, count, seed=0, epoch=0, shuffle=False), parts)
        for places in fitting(batches, [one.size for one in read], MOST_NUMBERS):
            memory, carried = self._encoded([read[i] for i in places])
            found = decoding.beam_search(
                partial(self.module_.step, memory=memory), carried, [limits[i] for i in places],
                start=v.start_index, end=v.end_index, beam_size=beam_size, n_best=n_best,
                length_penalty=self.length_penalty, never=[v.start_index],
            )  # fmt: skip
            for i, own in zip(places, found):
                result[i] = own
        return result

    @torch.no_grad()
    def _weights(self, read: np.ndarray, written: np.ndarray) -> np.ndarray:
        """(T, S): where each token that is written looks, in numbers of one input and target."""
        memory, carried = self._encoded([read])
        given = np.concatenate([[self.target_.vocabulary.start_index], written[:-1]]).astype(np.int64)[:, None]
        _, _, weights = self.module_(as_tensor(given, self.module_.output.weight), carried, memory)
        found: np.ndarray = weights[:, 0].cpu().numpy()
        return found

    # -- judging -------------------------------------------------------------------------------------------------------
    def _figures(self, texts: list[str], targets: list[list[str]]) -> dict[str, float]:
        """Of what was written: accuracy, error_rate and, but for characters, bleu."""
        plain = [[self.target_.plain(text) for text in own] for own in targets]
        letters = self._target_level == "char"
        figures = {"accuracy": exact(texts, plain), "error_rate": error_rate(texts, plain, characters=letters)}
        return figures if letters else figures | {"bleu": bleu(texts, targets, lower=self.lower)}

    @torch.no_grad()
    def _loss(self, read: Numbers, written: Numbers) -> dict[str, float]:
        total, count = 0.0, 0
        for places in self.batches(read, written, shuffle=False):
            loss, units = self.loss([read[i] for i in places], [written[i] for i in places])
            total, count = total + loss.item() * units, count + units
        return {"loss": total / count, "perplexity": perplexity(total / count)}

    def _given(self, written: Numbers) -> dict[str, list[list[str]]]:
        """What the decoder reads at each step: the start, and each token but the last."""
        tokens = self.target_.vocabulary.tokens
        return {"decoder": [[SPECIALS["start"], *(tokens[i] for i in own[:-1])] for own in written]}

    def loss(
        self, read: Numbers, written: Numbers, sampling: float = 0.0, smoothing: float = 0.0
    ) -> tuple[Tensor, int]:
        """The mean loss per token of a batch of pairs, and its tokens. sampling: share of the model's own tokens."""
        memory, carried = self._encoded(read)
        numbers, lengths = pad(written)
        targets = as_tensor(numbers, self.module_.output.weight)
        given = torch.cat([torch.full_like(targets[:1], self.target_.vocabulary.start_index), targets[:-1]])  # type: ignore[arg-type]
        if sampling:
            readouts = self.module_.sampled(given, carried, memory, sampling)
        else:
            readouts, _, _ = self.module_(given, carried, memory, lengths.tolist())
        return self.module_.loss(readouts, targets, lengths.tolist(), smoothing), int(lengths.sum())
