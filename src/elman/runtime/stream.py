"""Streaming: a model one step at a time, with state, without torch; the same numbers as where it was trained.

The recurrent layers run as machine code where the machine has a C++ compiler (compiled once, then kept in a cache), and
in numpy where it has none. What stands around them is numpy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elman.errors import DataError, ModelFileError, OptionError
from elman.runtime import claims, model_file
from elman.runtime.claims import Array, Floats
from elman.runtime.document import Document
from elman.runtime.inputs import Input, Tokens, Words, input_of
from elman.runtime.layers import Running, Stack
from elman.runtime.ngrams import Direct
from elman.runtime.outputs import head_of

NETWORKS = {
    "language-model": {"recurrent"}, "classify": {"recurrent"}, "regress": {"recurrent"},
    "tag": {"recurrent", "characters"}, "label-sets": {"recurrent"},
}  # fmt: skip
LABELS = {"classify": "labels", "tag": "tags", "label-sets": "labels"}
"""The vocabulary of a task's outputs, where they are not tokens (a language model) or a number (a regressor)."""


class Stream:
    """A model file as a machine that takes one step after the other; for one thread at a time.

    step(x): a token (its text or number), a word, a set of labels, or a vector (I,) -> what the network puts out there:
    a language model the logits of the next token (V,), a tagger those of the word's tag, a classifier those of the
    classes given all steps so far, a regressor its number (1,), a model of label sets the logits of the labels of the
    step to come (K,): those above 0 are its likeliest set. threads: how many may work on a step; more than one pays for
    large layers whose steps follow each other without a pause; None: as many as the process may use. Raises
    ModelFileError for a file that cannot be streamed: what reads both directions, or has a CRF, needs the whole
    sequence.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = 1) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise OptionError(f"threads must be a whole number, 1 or more, or None, not {threads!r}")
        document, tensors = model_file.load(path)
        try:
            self._build(document, tensors, threads)
        except ModelFileError as error:
            raise ModelFileError(f"cannot stream {os.fspath(path)!r}: {error}") from None

    def _build(self, document: Document, tensors: Mapping[str, Array], threads: int | None) -> None:
        networks = set(document.networks)
        if "recurrent" not in networks or not networks <= NETWORKS.get(document.task, set()):
            raise ModelFileError(f"a {document.task} model reads whole sequences and cannot be streamed")
        layers = document.networks["recurrent"]
        if any(layer.direction != "forward" for layer in layers):
            raise ModelFileError(
                "the model reads backward too and cannot be streamed; train it with --no-bidirectional"
            )
        if "crf.transitions" in tensors:
            raise ModelFileError(
                "the model chooses the tags of a whole sentence together (CRF) and cannot be streamed; "
                "train it with --no-crf"
            )
        self.task, self.input_size = document.task, layers[0].input_size
        self.level = claims.level(document)
        self.labels = claims.tokens(document, LABELS[self.task]) if self.task in LABELS else []
        made = input_of(document, tensors, self.level, self.input_size)
        self._input: Input = made
        self.tokens = made.tokens if isinstance(made, Tokens | Words) else []
        outputs = 1 if self.task == "regress" else len(self.labels or self.tokens)
        self._head = head_of(document, tensors, self.level, outputs)
        claimed = document.options.get("ngrams", 0) != 0 or "direct.weight" in tensors
        with_ngrams = self.task == "classify" and claimed
        self._direct = Direct(document, tensors, made, outputs) if with_ngrams else None
        self._layers = [
            Running.of(layer, tensors, ("recurrent", k, "forward"), threads) for k, layer in enumerate(layers)
        ]
        self._stacks: dict[int, Stack] = {}

    def step(self, x: str | int | Sequence[float] | Array, out: Floats | None = None) -> Floats:
        """One step; DataError for an input that does not fit.

        The result is a new array, or `out` (float32): then nothing is allocated after the first step.
        """
        stack = self._stacks.get(1) or self._bound(1)
        self._input.read(x, stack.x[0])
        if out is None:
            out = np.empty(self._head.size, np.float32)
        elif out.shape != (self._head.size,) or out.dtype != np.float32:
            raise DataError(f"out must be a float32 array ({self._head.size},), not {out.dtype} {out.shape}")
        self._answer(x, stack.run()[0], out)
        return out

    def run(self, xs: str | Sequence[Any] | Array) -> Floats:
        """Many steps at once, (T, ...) -> (T, V); the state goes on from where it was. A text is its characters."""
        if isinstance(xs, str) and self.level != "char":
            raise DataError("this model does not read characters; give a list of its steps, one entry each")
        steps = list(xs)
        stack = self._bound(len(steps))
        for x, row in zip(steps, stack.x):
            self._input.read(x, row)
        made = np.empty((len(steps), self._head.size), np.float32)
        for x, a, logits in zip(steps, stack.run(), made):
            self._answer(x, a, logits)
        return made

    def _answer(self, x: Any, a: Floats, out: Floats) -> None:
        """Write what the network puts out at a step whose input is `x` and whose layers give `a`."""
        self._head.one(a, out)
        if self._direct is not None:
            self._direct.one(x, out)

    def reset(self) -> None:
        """Back to before the first step."""
        for layer in self._layers:
            layer.reset()
        self._head.reset()
        if self._direct is not None:
            self._direct.reset()

    @property
    def state(self) -> list[list[Floats]]:
        """The states of each layer, what the pooling has gathered and, with n-grams, what they have: copies, to be kept
        and given back."""
        direct = [] if self._direct is None else [self._direct.state]
        return [*([s.copy() for s in layer.step.states] for layer in self._layers), self._head.state, *direct]

    @state.setter
    def state(self, state: Sequence[Sequence[Array]]) -> None:
        wanted = [[s.shape for s in part] for part in self.state]
        try:
            new = [[np.asarray(s, np.float32) for s in part] for part in state]
        except (TypeError, ValueError):
            raise DataError("the state must be one that a stream of this model gave: lists of arrays") from None
        if len(new) != len(wanted):
            raise DataError(f"the state has {len(new)} parts; this model's has {len(wanted)}")
        if (given := [[s.shape for s in part] for part in new]) != wanted:
            raise DataError(f"the state has the shapes {given}; {wanted} are needed")
        if self._direct is not None:
            self._direct.check(new[-1])
        for layer, part in zip(self._layers, new):
            for own, values in zip(layer.step.states, part):
                own[:] = values
        self._head.state = new[len(self._layers)]
        if self._direct is not None:
            self._direct.state = new[-1]

    def _bound(self, steps: int) -> Stack:
        """The layers bound to arrays for so many steps; those for one step are kept."""
        if steps not in self._stacks:
            self._stacks = {1: self._stacks[1]} if 1 in self._stacks else {}
            # The pooling "last" takes the state itself, to which a residual layer's input is not added.
            self._stacks[steps] = Stack(self._layers, steps, last_residual=self._head.pooling != "last")
        return self._stacks[steps]
