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
from elman.engine.native import L, Step, library
from elman.errors import DataError, ModelFileError, OptionError
from elman.runtime import model_file
from elman.runtime.document import Document, Layer

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Stream:
    """A model file as a machine that takes one step after the other.

    step(x): a token (its text or number) or a vector (I,) -> what the network puts out there: a language model the
    logits of the next token (V,), a classifier the logits of the classes (V,) given all steps so far. Raises
    ModelFileError for a file that cannot be streamed: networks that read both directions need the whole sequence first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        document, tensors = model_file.load(path)
        if document.task not in ("language-model", "classify") or set(document.networks) != {"recurrent"}:
            raise ModelFileError(
                f"{os.fspath(path)}: a {document.task} model reads whole sequences and cannot be streamed"
            )
        layers = document.networks["recurrent"]
        if any(layer.direction != "forward" for layer in layers):
            raise ModelFileError(
                f"{os.fspath(path)}: the model reads backward too and cannot be streamed; "
                "train it with --no-bidirectional"
            )
        self.task = document.task
        self.tokens: list[str] = list(document.vocabularies.get("tokens", {}).get("tokens", []))
        self.labels: list[str] = list(document.vocabularies.get("labels", {}).get("tokens", []))
        self._unknown = document.vocabularies.get("tokens", {}).get("unknown")
        self._number = {token: number for number, token in enumerate(self.tokens)}
        self._embedding = tensors.get("embedding.weight")
        self.input_size = layers[0].input_size
        self._scaling = _scaling(document)
        self._layers = [_Layer(layer, _own(tensors, k)) for k, layer in enumerate(layers)]
        self._head = _Head(document, tensors)
        self._x = np.zeros((1, self.input_size), np.float32)

    def step(self, x: str | int | Sequence[float] | Array) -> Floats:
        """One step; DataError for an input that does not fit. The result is a new array."""
        self._x[0] = self._vector(x)
        return self._head.one(self._through(self._x)[0])

    def run(self, xs: str | Sequence[Any] | Array) -> Floats:
        """Many steps at once, (T, ...) -> (T, V); the state goes on from where it was."""
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
        if len(state) != len(self._layers) + 1:
            raise DataError(f"the state has {len(state)} parts; this model's has {len(self._layers) + 1}")
        for layer, own in zip(self._layers, state):
            layer.state = [np.asarray(s, np.float32) for s in own]
        self._head.state = [np.asarray(s, np.float32) for s in state[-1]]

    def _vector(self, x: Any) -> Any:
        """What enters the recurrent layers at a step."""
        if self._embedding is None:
            values = np.asarray(x, np.float32).reshape(-1)
            if values.shape != (self.input_size,):
                raise DataError(f"a step of this model takes {self.input_size} numbers, not {values.size}")
            return (values - self._scaling[0]) / self._scaling[1]
        if isinstance(x, str):
            number = self._number.get(x, self._number.get(self._unknown or ""))
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
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _scaling(document: Document) -> tuple[Floats, Floats]:
    mean, scale = (
        np.array(document.scaling.get(name, default), np.float32)
        for name, default in (("mean", [0.0]), ("scale", [1.0]))
    )
    return mean, scale


class _Layer:
    """One recurrent layer: compiled, or interpreted in numpy."""

    def __init__(self, layer: Layer, weights: dict[str, Array]) -> None:
        self.program, self.residual = layer.cell, layer.residual
        sizes = (layer.input_size, layer.hidden_size, layer.output_size)
        self.sizes = resolve(*sizes)
        code = library(layer.cell)
        self.step = None if code is None else Step(code, layer.cell, weights, sizes)
        self.weights = Stacked({name: np.asarray(w, np.float32) for name, w in weights.items()})
        units = [self.sizes[size] for size in layer.cell.state_sizes().values()]
        self._state: list[Floats] = [np.zeros(n, np.float32) for n in units] if self.step is None else self.step.states
        self._bound: tuple[Floats, Floats, Sequence[object]] | None = None

    @property
    def state(self) -> list[Floats]:
        return self._state

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        if [s.shape for s in state] != [s.shape for s in self._state]:
            raise DataError(
                f"the state has the shapes {[s.shape for s in state]}; {[s.shape for s in self._state]} are needed"
            )
        for own, new in zip(self._state, state):
            own[:] = new

    def run(self, rows: Floats, *, residual: bool = True) -> Floats:
        """rows (T, I) -> the outputs (T, units); good until the next call."""
        out = self._interpreted(rows) if self.step is None else self._compiled(self.step, rows)
        return out + rows if self.residual and residual else out

    def _compiled(self, step: Step, rows: Floats) -> Floats:
        if self._bound is None or len(self._bound[0]) != len(rows):
            room = np.zeros(rows.size + L, np.float32)  # the last vector may be read beyond the last row
            x, out = room[: rows.size].reshape(rows.shape), np.zeros((len(rows), step.state_sizes[0]), np.float32)
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

    def __init__(self, document: Document, tensors: Mapping[str, Array]) -> None:
        self.pooling = "every" if document.task == "language-model" else _pooling(document)
        if self.pooling == "attention":
            raise ModelFileError("attention pooling is not streamed yet; train with --pooling last, mean, sum or max")
        if document.task == "language-model":
            weight = tensors.get("output.weight", tensors.get("embedding.weight"))
            self.layers = [(np.asarray(weight, np.float32), tensors["output.bias"].astype(np.float32))]
        else:
            numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("head.")})
            self.layers = [
                (tensors[f"head.{n}.weight"].astype(np.float32), tensors[f"head.{n}.bias"].astype(np.float32))
                for n in numbers
            ]
        self.size = len(self.layers[-1][1])
        self.reset()

    def reset(self) -> None:
        self.count, self.gathered = 0, np.zeros(self.layers[0][0].shape[1], np.float32)

    @property
    def state(self) -> list[Floats]:
        return [np.array([self.count], np.float32), self.gathered.copy()]

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        count, gathered = state
        if gathered.shape != self.gathered.shape:
            raise DataError(f"the pooling's state has {gathered.size} units; {self.gathered.size} are needed")
        self.count, self.gathered = int(count[0]), gathered.copy()

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


def _pooling(document: Document) -> str:
    chosen = document.options.get("pooling")
    if chosen == "auto":
        return "max" if document.vocabularies["level"]["level"] in ("word", "space") else "last"
    if chosen not in ("last", "mean", "sum", "max", "attention"):
        raise OptionError(f"unknown pooling {chosen!r}")
    return str(chosen)
