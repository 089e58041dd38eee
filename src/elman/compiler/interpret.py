"""The interpreter: runs a program on numpy or torch arrays. It is the definition: where results differ, it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np

from elman.compiler.ir import Node, Program
from elman.errors import ProgramError

Array = Any
"""A numpy array or a torch tensor, (..., units)."""

Table = dict[str, Callable[..., Array]]

GIVEN = ("input", "state", "mask")
"""The leaves whose values the caller has at every step."""


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # never overflows, and both tails keep their relative accuracy
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


NUMPY: Table = {
    "neg": np.negative,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(x, np.zeros_like(x)),
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "step": lambda x: (x > 0).astype(x.dtype),
    "sign": np.sign,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "less": lambda a, b: (a < b).astype(a.dtype),
    "sum": lambda x: x.sum(-1, keepdims=True),
    "mean": lambda x: x.mean(-1, keepdims=True),
    "constant": lambda value, like: np.full((1,), value, like.dtype),
    "expand": lambda x, units: np.broadcast_to(x, (*x.shape[:-1], units)),
    "concat": lambda vectors: np.concatenate(vectors, -1),
}


@cache
def torch_table() -> Table:
    """The same functions on torch tensors; torch is loaded here and not before."""
    import torch

    return {
        "neg": torch.neg,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softplus": lambda x: -torch.nn.functional.logsigmoid(-x),  # second derivatives are finite for any x
        "exp": torch.exp,
        "log": torch.log,
        "abs": torch.abs,
        "rsqrt": torch.rsqrt,
        "reciprocal": torch.reciprocal,
        "step": lambda x: (x > 0).to(x.dtype),
        "sign": torch.sign,
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "minimum": torch.minimum,
        "maximum": torch.maximum,
        "less": lambda a, b: (a < b).to(a.dtype),
        "sum": lambda x: x.sum(-1, keepdim=True),
        "mean": lambda x: x.mean(-1, keepdim=True),
        "constant": lambda value, like: like.new_full((1,), value),
        "expand": lambda x, units: x.expand(*x.shape[:-1], units),
        "concat": lambda vectors: torch.cat(vectors, -1),
    }


def table_for(array: Array) -> Table:
    """The functions for the kind of `array`."""
    return torch_table() if type(array).__module__.partition(".")[0] == "torch" else NUMPY


class Weights(Protocol):
    """What a program asks of its weights."""

    def affine(self, node: Node, vectors: list[Array]) -> Array: ...

    def transpose(self, node: Node, vector: Array) -> Array: ...

    def parameter(self, name: str) -> Array: ...


class Stacked:
    """Weights by name, each affine map as one product with its stacked vectors: W·[x, h] + b."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = weights

    def parameter(self, name: str) -> Array:
        try:
            return self.weights[name]
        except KeyError:
            raise ProgramError(f"the weight {name!r} is missing; given: {', '.join(self.weights)}") from None

    def affine(self, node: Node, vectors: list[Array]) -> Array:
        leading = max((v.shape[:-1] for v in vectors), key=len)  # an input without a batch beside a batch of states
        wide = [v if v.shape[:-1] == leading else _lead(v, leading) for v in vectors]
        stacked = table_for(wide[0])["concat"](wide) if len(wide) > 1 else wide[0]
        result = stacked @ self.parameter(f"weight_{node.name}").T
        return result + self.parameter(f"bias_{node.name}") if node.bias else result

    def transpose(self, node: Node, vector: Array) -> Array:
        raise ProgramError(f"the transposed map {node.name!r} needs weights that are split: use Split")


class Split(Stacked):
    """Weights by name, each affine map a sum of products: W_x·x + W_h·h + b. `program` tells where the columns part."""

    def __init__(self, program: Program, weights: Mapping[str, Array], sizes: Mapping[str, int]) -> None:
        super().__init__(weights)
        self.columns = {node.name: column_ranges(program, node, sizes) for node in program.affine_maps}

    def affine(self, node: Node, vectors: list[Array]) -> Array:
        weight = self.parameter(f"weight_{node.name}")
        parts = [v @ weight[:, a:b].T for v, (a, b) in zip(vectors, self.columns[node.name])]
        result = sum(parts[1:], parts[0])
        return result + self.parameter(f"bias_{node.name}") if node.bias else result

    def transpose(self, node: Node, vector: Array) -> Array:
        columns = self.columns.get(node.name, [])
        if node.index >= len(columns):
            raise ProgramError(f"vector {node.index} of the map {node.name!r} does not exist in the forward program")
        first, last = columns[node.index]
        return vector @ self.parameter(f"weight_{node.name}")[:, first:last]


def column_ranges(program: Program, node: Node, sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    """Which columns of the stacked matrix belong to each vector of the affine map `node`."""
    ranges, first = [], 0
    for argument in node.args:
        last = first + sizes[program.nodes[argument].size]
        ranges.append((first, last))
        first = last
    return ranges


def run(program: Program, given: Mapping[str, Array], weights: Weights, sizes: Mapping[str, int]) -> dict[str, Array]:
    """The outputs of `program` by name.

    given: every input, state and mask (`elman.compiler.masks`) by name, (..., units). sizes: numbers for I, H, O
    (`ir.resolve`). On torch tensors every operation is torch's own, so autograd, vmap and forward mode work through it.
    Raises ProgramError for what is missing.
    """
    values = evaluate(program, given, weights, sizes)
    return {name: values[position] for name, position in program.outputs}


def evaluate(
    program: Program,
    given: Mapping[str, Array],
    weights: Weights,
    sizes: Mapping[str, int],
    table: Table | None = None,
) -> list[Array]:
    """The value of every node, in order. table: the functions to use, where the caller knows them."""
    missing = {node.name for node in program.nodes if node.op in GIVEN} - set(given)
    if missing or not given:
        names = ", ".join(sorted(missing)) or "its vectors"
        raise ProgramError(f"program {program.name!r} is not given {names}; given: {', '.join(given) or 'nothing'}")
    values: list[Array] = []
    like = next(iter(given.values()))
    table = table or table_for(like)
    for node in program.nodes:
        args = [values[a] for a in node.args]
        if node.op in GIVEN:
            value = given[node.name]
        elif node.op == "constant":
            value = table["constant"](node.value, like)
        elif node.op == "parameter":
            value = weights.parameter(node.name)
        elif node.op == "affine":
            value = weights.affine(node, args)
        elif node.op == "transpose":
            value = weights.transpose(node, args[0])
        elif node.op == "spread":
            value = table["expand"](args[0], sizes[node.size])
        elif node.op == "share":
            value = table["expand"](args[0], sizes[node.size]) / sizes[node.size]
        else:
            value = table[node.op](*args)
        values.append(value)
    return values


def _lead(vector: Array, leading: tuple[int, ...]) -> Array:
    """`vector` repeated along the leading axes of the others."""
    shape = (*leading, vector.shape[-1])
    return vector.expand(shape) if hasattr(vector, "expand") else np.broadcast_to(vector, shape)
