"""Cells beyond the catalogue, and random weights and vectors for any cell: what tests of cells and compiler share."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from typing import Any

import numpy as np
import torch

from elman.cells import (
    CATALOGUE,
    Cell,
    abs,
    cell,
    exp,
    log,
    maximum,
    mean,
    minimum,
    normalize,
    relu,
    sigmoid,
    softplus,
    tanh,
)
from elman.compiler.ir import Program, resolve

SIZES = [(b, i, h) for b in (1, 3) for i in (1, 7) for h in (1, 5, 13)]
OUTPUT = 2  # O, where the output has a size of its own


@cell
def layer_norm_lstm(x: Any, h: Any, c: Any, W: Any) -> Any:
    """LSTM with layer normalisation, before the gates and of the memory cell."""
    i = sigmoid(W.k_i * normalize(W.i(x, h)) + W.s_i)
    f = sigmoid(W.k_f * normalize(W.f(x, h)) + W.s_f)
    g = tanh(W.k_g * normalize(W.g(x, h), eps=1e-3))
    o = sigmoid(W.o(x, h))
    c = f * c + i * g
    h = o * tanh(W.k_c * normalize(c) + W.s_c)
    return h, c


@cell
def deep_transition(x: Any, h: Any, W: Any) -> Any:
    """Two nonlinear maps inside one step, with a shortcut that ties their sizes."""
    u = tanh(W.u(x, h))
    h = u + tanh(W.v(u))
    return h


@cell
def indrnn(x: Any, h: Any, W: Any) -> Any:
    """IndRNN: a recurrent weight a unit."""
    h = relu(W.h(x) + W.u * h)
    return h


@cell
def every_function(x: Any, h: Any, c: Any, W: Any) -> Any:
    """All that the language has, in no meaningful order."""
    a = softplus(W.a(x, h)) - 0.5 * abs(W.low)
    b = exp(-abs(W.b(h)))
    d = log(1 + a**2) / (2 + b)
    c = maximum(minimum(d, c), W.low - 0.25 * a) + 1 / (1.5 + b) ** 3
    h = relu(c) - d / (1 + abs(h)) + mean(a * b) * h + (mean(c) - 2)
    return h, c


@cell
def input_outside_maps(x: Any, h: Any, W: Any) -> Any:
    """Per-unit maths on the input, reductions of it, a map of the result, and a state that is left as it came."""
    e = sigmoid(x) * W.scale - mean(x)
    h = tanh(W.h(e, h)) / 2
    return h


@cell
def odd_returns(x: Any, h: Any, c: Any, d: Any, W: Any) -> Any:
    """States that are returned unchanged, twice, or as a bare map."""
    c = W.c(x, h)
    return c, d, c


EXTRA: dict[str, Cell] = {
    c.name: c for c in (layer_norm_lstm, deep_transition, indrnn, every_function, input_outside_maps, odd_returns)
}
ALL: dict[str, Cell] = {**CATALOGUE, **EXTRA}


def weights_for(program: Program, i: int, h: int, o: int, seed: int = 0, scale: float = 0.7) -> dict[str, np.ndarray]:
    """Random weights in float64, in the shapes that the program asks for."""
    rng = np.random.default_rng(seed)
    return {name: scale * rng.standard_normal(shape) for name, shape in program.parameter_shapes(i, h, o).items()}


def vectors_for(program: Program, batch: int, i: int, h: int, o: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Random input and states (B, units) by name, in float64."""
    rng, sizes = np.random.default_rng(seed), resolve(i, h, o)
    leaves = [node for node in program.nodes if node.op in ("input", "state")]
    return {node.name: rng.standard_normal((batch, sizes[node.size])) for node in leaves}


def tensors(arrays: dict[str, np.ndarray], grad: bool = False) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array, requires_grad=grad) for name, array in arrays.items()}


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """The relative distance of a from b; an absolute one where b is within 1e-3 of zero."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a - b).norm()) / max(float(b.norm()), 1e-3)
