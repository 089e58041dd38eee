"""The cell language: a cell is a plain function of its input, its states and `W`, written once as equations.

    @cell(source="Elman 1990")
    def rnn(x, h, W):
        h = tanh(W.h(x, h))
        return h

The same function runs on numbers (numpy arrays, torch tensors) and on symbols, which leave its program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, overload

from elman.compiler.interpret import Stacked, table_for
from elman.compiler.ir import Node, Program
from elman.compiler.trace import Symbol, trace
from elman.errors import CellError


def _unary(op: str, value: Any) -> Any:
    return value._tracer.unary(op, value) if isinstance(value, Symbol) else table_for(value)[op](value)


def _binary(op: str, left: Any, right: Any) -> Any:
    symbol = left if isinstance(left, Symbol) else right
    if isinstance(symbol, Symbol):
        return symbol._tracer.binary(op, left, right)
    array = left if hasattr(left, "shape") else right
    table = table_for(array)
    left, right = (v if hasattr(v, "shape") else table["constant"](v, array) for v in (left, right))
    return table[op](left, right)


def sigmoid(v: Any) -> Any:
    """1 / (1 + exp(−v)), per unit. Its derivative is at most 0.25."""
    return _unary("sigmoid", v)


def tanh(v: Any) -> Any:
    """Hyperbolic tangent, per unit. Its derivative is at most 1."""
    return _unary("tanh", v)


def relu(v: Any) -> Any:
    """max(v, 0), per unit."""
    return _unary("relu", v)


def softplus(v: Any) -> Any:
    """log(1 + exp(v)), per unit."""
    return _unary("softplus", v)


def exp(v: Any) -> Any:
    """e to the power v, per unit."""
    return _unary("exp", v)


def log(v: Any) -> Any:
    """Natural logarithm, per unit."""
    return _unary("log", v)


def abs(v: Any) -> Any:
    """Absolute value, per unit."""
    return _unary("abs", v)


def identity(v: Any) -> Any:
    """v itself: the activation that is none."""
    return v


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two, per unit."""
    return _binary("minimum", a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two, per unit."""
    return _binary("maximum", a, b)


def mean(v: Any) -> Any:
    """The mean over the units: one number for each sequence."""
    return v._tracer.reduce("mean", v) if isinstance(v, Symbol) else table_for(v)["mean"](v)


def normalize(v: Any, eps: float = 1e-5) -> Any:
    """(v − mean) / sqrt(variance + eps) over the units; scale and shift are per-unit parameters of the cell (Ba et al. 2016)."""
    centred = v - mean(v)
    return centred * _unary("rsqrt", mean(centred * centred) + eps)


class Bound:
    """`W` on numbers: weights by name, as `Program.parameter_shapes` names and shapes them."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._weights = weights

    def __getattr__(self, name: str) -> Any:
        if f"weight_{name}" not in self._weights:
            if name in self._weights:
                return self._weights[name]
            raise CellError(f"the weights have neither weight_{name} nor {name}; given: {', '.join(self._weights)}")

        def affine(*vectors: Any, bias: bool = True) -> Any:
            return Stacked(self._weights).affine(Node("affine", name=name, bias=bias), list(vectors))

        return affine


class Cell:
    """A recurrent cell: callable on numbers, with its program. Made by `cell`."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        source: str = "",
        doc: str | None = None,
        states: tuple[str, ...] | None = None,
    ) -> None:
        self.function = function
        self.name = self.__name__ = name or function.__name__
        self.source = source
        self.doc = self.__doc__ = doc or inspect.getdoc(function) or ""
        names = list(inspect.signature(function).parameters)
        if states is None and (len(names) < 3 or names[-1] != "W"):
            raise CellError(
                f"cell {self.name!r}: its arguments are ({', '.join(names)}); "
                "write the input, then one or more states, then W: def my_cell(x, h, W)"
            )
        self.states = states or tuple(names[1:-1])

    def __call__(self, x: Any, *states_and_weights: Any) -> Any:
        """One step on numbers: `cell(x, *states, W)` with W a mapping of arrays by name (or a `Bound`), or on symbols."""
        *states, weights = states_and_weights
        return self.function(x, *states, Bound(weights) if isinstance(weights, Mapping) else weights)

    @cached_property
    def program(self) -> Program:
        """The traced, verified program. Raises CellError when the equations do not make a step."""
        about = {"doc": self.doc.partition("\n")[0], "source": self.source}
        return trace(self.function, self.name, self.states, **about)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.states)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copied or pickled cell is its program: data, never its function."""
        return (TracedCell, (self.program,))


class TracedCell:
    """A cell known by its program alone, such as one that was read from a model file."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name, self.source, self.doc = program.name, program.source, program.doc
        self.states = program.states

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.states)}), from its program>"


@overload
def cell(function: Callable[..., Any]) -> Cell: ...


@overload
def cell(
    *, name: str | None = None, source: str = "", doc: str | None = None
) -> Callable[[Callable[..., Any]], Cell]: ...


def cell(
    function: Callable[..., Any] | None = None, *, name: str | None = None, source: str = "", doc: str | None = None
) -> Cell | Callable[[Callable[..., Any]], Cell]:
    """Decorator: makes a cell of a function `(x, first_state, ..., W) -> new states in order`.

    source: the paper that the equations come from. Errors in the equations are raised when the cell is first traced
    (`.program`, `elman.nn.Recurrent(cell, ...)`).
    """
    if function is not None:
        return Cell(function, name=name, source=source, doc=doc)
    return lambda f: Cell(f, name=name, source=source, doc=doc)
