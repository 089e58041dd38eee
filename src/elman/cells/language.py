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

from elman.compiler.interpret import NUMPY, Stacked, table_for
from elman.compiler.ir import Node, Program
from elman.compiler.symbols import Symbol
from elman.compiler.trace import definition_line, describe_line, trace
from elman.compiler.verify import NAME
from elman.errors import CellError


def _unary(op: str, value: Any) -> Any:
    return value.tracer.unary(op, value) if isinstance(value, Symbol) else table_for(value)[op](value)


def _binary(op: str, left: Any, right: Any) -> Any:
    symbol = left if isinstance(left, Symbol) else right
    if isinstance(symbol, Symbol):
        return symbol.tracer.binary(op, left, right)
    array = next((v for v in (left, right) if hasattr(v, "shape")), None)
    if array is None:
        return NUMPY[op](left, right)
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
    return v.tracer.reduce("mean", v) if isinstance(v, Symbol) else table_for(v)["mean"](v)


def normalize(v: Any, eps: float = 1e-5) -> Any:
    """(v − mean) / sqrt(variance + eps) over the units (Ba et al. 2016); a cell's own parameters may follow."""
    centred = v - mean(v)
    return centred * _unary("rsqrt", mean(centred * centred) + eps)


class Bound:
    """`W` on numbers: weights by name, as `Program.parameter_shapes` names and shapes them."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._weights = weights

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if f"weight_{name}" not in self._weights:
            if name in self._weights:
                return self._weights[name]
            raise CellError(f"the weights have neither weight_{name} nor {name}; given: {', '.join(self._weights)}")

        def affine(*vectors: Any, bias: bool = True) -> Any:
            columns, units = self._weights[f"weight_{name}"].shape[-1], sum(v.shape[-1] for v in vectors)
            if columns != units:
                raise CellError(
                    f"weight_{name} has {columns} columns, but the vectors of W.{name}(...) have {units} units"
                )
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
        if not inspect.isfunction(function):
            raise CellError(f"a cell is made of a function, def my_cell(x, h, W), not of {type(function).__name__}")
        self.function = function
        self.name = self.__name__ = name or function.__name__
        if not NAME.fullmatch(self.name):
            raise CellError(
                f"cell {self.name[:80]!r}: its name must consist of letters a-z, digits and _, at most 64; "
                'name it with @cell(name="my_cell")'
            )
        self.source = " ".join(source.split())
        self.doc = self.__doc__ = doc or inspect.getdoc(function) or ""
        self.states = states or _states_of(function, self.name)

    def __call__(self, x: Any, *states_and_weights: Any) -> Any:
        """One step on numbers: `cell(x, *states, W)` with W a mapping of arrays by name; or inside another cell."""
        if len(states_and_weights) != len(self.states) + 1:
            given = len(states_and_weights) + 1
            raise CellError(f"cell {self.name!r} takes x, {', '.join(self.states)} and W, but got {given} arguments")
        *states, weights = states_and_weights
        if isinstance(x, Symbol):
            x.tracer.codes.add(inspect.unwrap(self.function).__code__)  # errors name the line inside this cell
        return self.function(x, *states, Bound(weights) if isinstance(weights, Mapping) else weights)

    @cached_property
    def program(self) -> Program:
        """The traced, verified program. Raises CellError when the equations do not make a step."""
        about = {"doc": " ".join(self.doc.partition("\n")[0].split()), "source": self.source}
        return trace(self.function, self.name, self.states, **about)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.states)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copied or pickled cell is its program: data, never its function."""
        return (TracedCell, (self.program,))


def _states_of(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    """The states among the arguments (x, first_state, ..., W)."""
    arguments = inspect.signature(function).parameters
    names = list(arguments)
    plain = all(a.kind is a.POSITIONAL_OR_KEYWORD and a.default is a.empty for a in arguments.values())
    if not plain or len(names) < 3 or names[-1] != "W":
        code = inspect.unwrap(function).__code__
        raise CellError(
            f"cell {name!r}, {describe_line(code, definition_line(code))}: its arguments are ({', '.join(names)}); "
            "write the input, then one or more states, then W: def my_cell(x, h, W)"
        )
    return tuple(names[1:-1])


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
