"""Streaming: a model one step at a time, with state, without torch; the same numbers as where it was trained.

The recurrent layers run as machine code where the machine has a C++ compiler (compiled once, then kept in a cache), and
in numpy where it has none. What stands around them is numpy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.compiler.interpret import Stacked, run
from elman.compiler.ir import resolve
from elman.engine.native import Step, library
from elman.errors import DataError, ModelFileError
from elman.runtime import model_file
from elman.runtime.document import Document, Layer, short

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
_LARGEST = float(np.finfo(np.float32).max)


class Stream:
    """A model file as a machine that takes one step after the other; for one thread at a time.

    step(x): a token (its text or number) or a vector (I,) -> what the network puts out there: a language model the
    logits of the next token (V,), a classifier the logits of the classes (V,) given all steps so far. Raises
    ModelFileError for a file that cannot be streamed: networks that read both directions need the whole sequence first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        document, tensors = model_file.load(path)
        try:
            self._build(document, tensors)
        except ModelFileError as error:
            raise ModelFileError(f"cannot stream {os.fspath(path)!r}: {error}") from None

    def _build(self, document: Document, tensors: Mapping[str, Array]) -> None:
        if document.task not in ("language-model", "classify") or set(document.networks) != {"recurrent"}:
            raise ModelFileError(f"a {document.task} model reads whole sequences and cannot be streamed")
        layers = document.networks["recurrent"]
        if any(layer.direction != "forward" for layer in layers):
            raise ModelFileError(
                "the model reads backward too and cannot be streamed; train it with --no-bidirectional"
            )
        self.task, self.input_size = document.task, layers[0].input_size
        self.level = _level(document)
        self.labels = _tokens(document, "labels") if self.task == "classify" else []
        self.tokens = [] if self.level == "series" else _tokens(document, "tokens")
        self._lower = document.options.get("lower") is True
        self._number = {token: number for number, token in enumerate(self.tokens)}
        unknown = document.vocabularies.get("tokens", {}).get("unknown")
        self._unknown = self._number.get(unknown) if isinstance(unknown, str) else None
        if self.level == "series":
            self._embedding, (self._mean, self._scale) = None, _scaling(document, self.input_size)
        else:
            self._embedding = _weight(tensors, "embedding.weight", (len(self.tokens), self.input_size))
        self._head = _Head(document, tensors, self.level, len(self.labels or self.tokens))
        self._layers = [_Layer(layer, _own(tensors, k)) for k, layer in enumerate(layers)]
        self._x = np.zeros((1, self.input_size), np.float32)

    def step(self, x: str | int | Sequence[float] | Array) -> Floats:
        """One step; DataError for an input that does not fit. The result is a new array."""
        self._x[0] = self._vector(x)
        return self._head.one(self._through(self._x)[0])

    def run(self, xs: str | Sequence[Any] | Array) -> Floats:
        """Many steps at once, (T, ...) -> (T, V); the state goes on from where it was. A text is its characters."""
        if isinstance(xs, str) and self.level != "char":
            raise DataError("this model does not read characters; give a list of its steps, one entry each")
        rows = np.array([self._vector(x) for x in xs], np.float32).reshape(-1, self.input_size)
        return np.array([self._head.one(row) for row in self._through(rows)], np.float32).reshape(
            len(rows), self._head.size
        )

    def reset(self) -> None:
        """Back to before the first step."""
        for layer in self._layers:
            layer.state = [np.zeros_like(s) for s in layer.state]
        self._head.reset()

    @property
    def state(self) -> list[list[Floats]]:
        """The states of each layer, and last what the pooling has gathered: copies, to be kept and given back."""
        return [*([s.copy() for s in layer.state] for layer in self._layers), self._head.state]

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
        for layer, own in zip(self._layers, new):
            layer.state = own
        self._head.state = new[-1]

    def _vector(self, x: Any) -> Any:
        """What enters the recurrent layers at a step."""
        if self._embedding is None:
            try:
                values = np.asarray(x, np.float64).reshape(-1)
            except (TypeError, ValueError):
                raise DataError(f"a step of this model takes {self.input_size} numbers") from None
            if values.shape != (self.input_size,):
                raise DataError(f"a step of this model takes {self.input_size} numbers, not {values.size}")
            if not (abs(values) <= _LARGEST).all():  # the state would be lost for good
                raise DataError("a step holds a number that is not finite, or too large for float32; leave it out")
            return (values.astype(np.float32) - self._mean) / self._scale
        if isinstance(x, str):
            number = self._number.get(x.lower() if self._lower else x, self._unknown)
            if number is None:
                raise DataError(f"the model never saw {x[:40]!r}, and has no token for unknown ones")
            return self._embedding[number]
        if isinstance(x, bool) or not isinstance(x, int | np.integer) or not 0 <= x < len(self._embedding):
            raise DataError(f"a step of this model takes a token, or its number from 0 to {len(self._embedding) - 1}")
        return self._embedding[x]

    def _through(self, rows: Floats) -> Floats:
        for layer in self._layers[:-1]:
            rows = layer.run(rows)
        # The pooling "last" takes the state itself, to which a residual layer's input is not added.
        return self._layers[-1].run(rows, residual=self._head.pooling != "last")


def _own(tensors: Mapping[str, Array], k: int) -> dict[str, Array]:
    start = f"recurrent.layers.{k}.forward_"
    return {
        name.removeprefix(start): _weight(tensors, name, tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


# -- what a file claims about the rest of a model: the runtime has checked its layers alone ----------------------------
def _weight(tensors: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Floats:
    """The weight of this name, when it has this shape and finite numbers."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape or tensor.dtype.kind != "f":
        raise ModelFileError(f"the weight {name!r} is missing, or not one of the shape {shape} and a floating type")
    with np.errstate(over="ignore"):
        weight: Floats = tensor.astype(np.float32, copy=False)
    if not np.isfinite(weight).all():
        raise ModelFileError(f"the weight {name!r} holds numbers that float32 cannot hold")
    return weight


def _tokens(document: Document, name: str) -> list[str]:
    """The tokens of a vocabulary: texts, each once."""
    tokens = document.vocabularies.get(name, {}).get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise ModelFileError(f"the vocabulary {name!r} is missing, or no list of texts")
    if len(set(tokens)) != len(tokens):
        raise ModelFileError(f"the vocabulary {name!r} holds a token twice")
    return tokens


def _level(document: Document) -> str:
    """How the model reads: char, word, space or series."""
    where = document.options if document.task == "language-model" else document.vocabularies.get("level", {})
    level = where.get("level")
    if level not in ("char", "word", "space") and (level, document.task) != ("series", "classify"):
        raise ModelFileError(f"the level of its tokens is not known: {short(level)}")
    return str(level)


def _scaling(document: Document, channels: int) -> tuple[Floats, Floats]:
    """(mean, scale) of each channel (I,)."""
    with np.errstate(over="ignore"):
        mean, scale = (np.array(document.scaling.get(name, ()), np.float32) for name in ("mean", "scale"))
    if mean.shape != (channels,) or scale.shape != (channels,):
        raise ModelFileError(f"the scaling must have a mean and a scale for each of the {channels} channels")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelFileError("the scaling must have means and scales that float32 can hold, and scales above 0")
    return mean, scale


class _Layer:
    """One recurrent layer: compiled, or interpreted in numpy."""

    def __init__(self, layer: Layer, weights: dict[str, Floats]) -> None:
        self.program, self.residual = layer.cell, layer.residual
        sizes = (layer.input_size, layer.hidden_size, layer.output_size)
        self.sizes = resolve(*sizes)
        code = library(layer.cell)
        self.step = None if code is None else Step(code, layer.cell, weights, sizes)
        self.weights = Stacked(weights)
        units = [self.sizes[size] for size in layer.cell.state_sizes().values()]
        self._state: list[Floats] = [np.zeros(n, np.float32) for n in units] if self.step is None else self.step.states
        self._bound: tuple[Floats, Floats, Sequence[object]] | None = None

    @property
    def state(self) -> list[Floats]:
        return self._state

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        for own, new in zip(self._state, state):
            own[:] = new

    def run(self, rows: Floats, *, residual: bool = True) -> Floats:
        """rows (T, I) -> the outputs (T, units); good until the next call."""
        out = self._interpreted(rows) if self.step is None else self._compiled(self.step, rows)
        return out + rows if self.residual and residual else out

    def _compiled(self, step: Step, rows: Floats) -> Floats:
        if self._bound is None or len(self._bound[0]) != len(rows):
            x, out = np.zeros(rows.shape, np.float32), np.zeros((len(rows), step.state_sizes[0]), np.float32)
            self._bound = (x, out, step.bind(x, out))
        x, out, arguments = self._bound
        x[:] = rows
        step.call(arguments)
        return out

    def _interpreted(self, rows: Floats) -> Floats:
        names, out = self.program.states, np.zeros((len(rows), self._state[0].size), np.float32)
        for t, row in enumerate(rows):
            new = run(self.program, {self._input: row, **dict(zip(names, self._state))}, self.weights, self.sizes)
            self.state = [new[name] for name in names]
            out[t] = self._state[0]
        return out

    @property
    def _input(self) -> str:
        return next(node.name for node in self.program.nodes if node.op == "input")


class _Head:
    """What stands above the layers: pooling over the steps so far, and layers without recurrence."""

    def __init__(self, document: Document, tensors: Mapping[str, Array], level: str, size: int) -> None:
        width = document.networks["recurrent"][-1].output_size
        self.size = size
        self.layers: list[tuple[Floats, Floats]] = []
        if document.task == "language-model":
            self.pooling = "every"
            tied = "output.weight" not in tensors
            names = [("embedding.weight" if tied else "output.weight", "output.bias", size)]
        else:
            self.pooling = _pooling(document, level)
            hidden = document.options.get("head_sizes", [])
            if not isinstance(hidden, list) or not all(type(units) is int and units > 0 for units in hidden):
                raise ModelFileError("the option head_sizes must be whole numbers")
            places = ((f"head.{3 * k + 1}", units) for k, units in enumerate([*hidden, size]))  # see elman.nn.Head
            names = [(f"{at}.weight", f"{at}.bias", int(units)) for at, units in places]  # type: ignore[arg-type]
        for weight, bias, units in names:
            self.layers.append((_weight(tensors, weight, (units, width)), _weight(tensors, bias, (units,))))
            width = units
        self.reset()

    def reset(self) -> None:
        self.count, self.gathered = 0, np.zeros(self.layers[0][0].shape[1], np.float32)

    @property
    def state(self) -> list[Floats]:
        return [np.array([self.count], np.float32), self.gathered.copy()]

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        self.count, self.gathered = int(state[0][0]), state[1].copy()

    def one(self, a: Floats) -> Floats:
        """The logits after one more step with the output `a`."""
        self.count += 1
        if self.pooling == "max":
            self.gathered = a.copy() if self.count == 1 else np.maximum(self.gathered, a)
        elif self.pooling in ("mean", "sum"):
            self.gathered = self.gathered + a
        if self.pooling in ("max", "sum"):
            a = self.gathered
        elif self.pooling == "mean":
            a = self.gathered / np.float32(self.count)
        for weight, bias in self.layers[:-1]:
            a = np.maximum(weight @ a + bias, 0)
        weight, bias = self.layers[-1]
        logits: Floats = weight @ a + bias
        return logits


def _pooling(document: Document, level: str) -> str:
    chosen = document.options.get("pooling")
    if chosen == "auto":
        return "max" if level in ("word", "space") else "last"
    if chosen == "attention":
        raise ModelFileError("attention pooling is not streamed yet; train with --pooling last, mean, sum or max")
    if chosen not in ("last", "mean", "sum", "max"):
        raise ModelFileError(f"the pooling is not known: {short(chosen)}")
    return str(chosen)
