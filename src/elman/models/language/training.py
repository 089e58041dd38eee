"""How a language model learns: windows of parallel streams, with the state carried on; what is added to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.data.batching import random, streams
from elman.data.store import FileArray, blocks, mapped
from elman.models.estimator import as_tensor
from elman.models.language.network import LanguageNetwork
from elman.models.options import LanguageModelOptions
from elman.nn.loss import linear_cross_entropy, sampled_cross_entropy
from elman.nn.recurrent import State

IGNORED = -100  # a target that is not counted: starts of documents, and what fills up the last row of the streams
SHORTER, LEAST = 0.05, 5  # Merity, Keskar & Socher 2018: how often a window is half as long, and the shortest there is


def windows(steps: int, length: int, spread: float, *seeds: int) -> list[range]:
    """Steps 0 to `steps` in windows, in order: of `length`, or of lengths drawn from a normal distribution around it,
    and now and then around half of it (Merity, Keskar & Socher 2018). The same seeds give the same windows."""
    if not spread:
        return [range(start, min(start + length, steps)) for start in range(0, steps, length)]
    generator = random(*seeds)
    found, start = list[range](), 0
    while start < steps:
        middle = length if generator.random() >= SHORTER else length / 2
        drawn = max(min(LEAST, length), round(generator.normal(middle, spread)))
        found.append(range(start, min(start + drawn, steps)))
        start += drawn
    return found


class LanguageTrainee:
    """What the loop trains."""

    maximize = False
    monitor = "loss"

    def __init__(
        self,
        options: LanguageModelOptions,
        module: LanguageNetwork,
        text: np.ndarray | FileArray,
        start: int | None,
        validate: Callable[[], dict[str, float]],
    ) -> None:
        """text (N): numbers of tokens; start: the one that is not to be predicted; validate: figures on other text."""
        self.options, self.module, self.validate = options, module, validate
        self.unit = {"char": "characters", "subword": "subwords"}.get(options.level, "words")
        self.text, self.start, self.like = text, start, module.embedding.weight
        self.rows = min(options.batch_size, max(1, (len(text) - 1) // 2))
        self.steps = len(streams(mapped(text)[:-1], self.rows))
        self.reach = (options.bptt_reach or options.bptt) // options.bptt
        samples, vocabulary = options.softmax_samples, module.embedding.num_embeddings
        self.samples = None if samples is None or samples >= vocabulary else samples
        if self.samples is not None:
            counts = np.zeros(vocabulary, np.int64)
            for block in blocks(text):
                counts += np.bincount(block, minlength=vocabulary)
            self.shares = as_tensor((counts / len(text)).astype(np.float32), self.like)
            with torch.no_grad():  # rare words begin as rare: they stand for many where they are drawn
                module.output.bias.copy_(self.shares.clamp(min=1 / len(text)).log())

    def epoch(self, number: int) -> list[range]:
        own = self.options
        return windows(self.steps, own.bptt, own.bptt_spread, own.seed, number)

    def read(self, steps: range, back: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The inputs (t + back, B) of some steps and of so many before them, and what follows each of the steps (t, B),
        IGNORED where a start token does."""
        text = mapped(self.text)
        inputs = np.array(streams(text[:-1], self.rows)[steps.start - back : steps.stop], np.int64, order="C")
        targets = np.array(streams(text[1:], self.rows)[steps.start : steps.stop], np.int64, order="C")
        return inputs, np.where(targets == self.start, IGNORED, targets)

    def rate_factor(self, window: range) -> float:
        """The rate goes with the window's length where lengths are drawn, else short ones would count for more."""
        return len(window) / self.options.bptt if self.options.bptt_spread else 1.0

    def loss(self, window: range, carry: Any) -> tuple[Tensor, int, Any]:
        """The loss of a window. The carry holds the states at the starts of the last k2 / k1 windows, this one's
        last: the gradient reaches back to the oldest of them, the loss is that of the new window alone."""
        history: tuple[State | None, ...] = carry or (None,)
        back = (len(history) - 1) * self.options.bptt
        inputs, targets = self.read(window, back)
        output, state = self.module.read(as_tensor(inputs, self.like), history[0])
        count = int(np.count_nonzero(targets != IGNORED))
        carried = tuple(tuple(s.detach() for s in part) for part in state)
        kept = history[len(history) - self.reach + 1 :] if len(history) >= self.reach else history
        if kept and kept[0] is None:  # the zeros before the first step, as tensors: a checkpoint holds tensors
            kept = (tuple(part.zeros(self.rows) for part in self.module.recurrent.parts()), *kept[1:])
        loss = self._mean(output[back:], as_tensor(targets.reshape(-1), self.like), count)
        return loss, count, (*(kept if self.reach > 1 else ()), carried)

    def _mean(self, output: Tensor, targets: Tensor, count: int) -> Tensor:
        """Nats a token, and the penalties (Merity, McCann & Socher 2017), from the last layer's output (T, B, H)."""
        own, last = self.options, self.module.output
        dropped = self.module.dropped(output)
        counted = targets != IGNORED
        x, targets = dropped.flatten(0, 1)[counted], targets[counted]
        if self.samples is None:
            total = linear_cross_entropy(x, last.weight, last.bias, targets)
        else:
            total = sampled_cross_entropy(x, last.weight, last.bias, targets, self.shares, self.samples)
        # A short window may hold nothing but a start token: its loss is 0, where a mean over nothing would be NaN.
        loss = total / max(1, count)
        if own.activation_penalty:
            loss = loss + own.activation_penalty * dropped.square().mean()
        if own.temporal_penalty and len(output) > 1:
            loss = loss + own.temporal_penalty * (output[1:] - output[:-1]).square().mean()
        return loss
