"""Symbols: what a cell's vectors and its `W` are while it is traced. Arithmetic on them is noted, not done."""

from __future__ import annotations

from types import CodeType
from typing import Any, NoReturn, Protocol

from elman.errors import CellError

FUNCTIONS = (
    "sigmoid", "tanh", "relu", "softplus", "exp", "log", "abs", "identity", "minimum", "maximum", "mean", "normalize",
)  # fmt: skip
"""The functions of the language, which elman.cells exports: for the hints in messages."""


class Recorder(Protocol):
    """What writes a program while symbols are computed with: the tracer."""

    codes: set[CodeType]
    """The code of the cell, and of the cells that it calls."""

    def unary(self, op: str, value: Any) -> Symbol: ...

    def binary(self, op: str, left: Any, right: Any) -> Symbol: ...

    def reduce(self, op: str, value: Any) -> Symbol: ...

    def affine(self, name: str, vectors: tuple[Any, ...], bias: bool) -> Symbol: ...

    def parameter(self, name: str) -> int: ...

    def error(self, what: str, remedy: str) -> CellError: ...


class Symbol:
    """A vector (or number) of a step that is being traced."""

    __array_ufunc__ = None  # numpy must not take a symbol apart, and leaves `array * symbol` to the symbol
    __hash__ = object.__hash__

    def __init__(self, tracer: Recorder, position: int) -> None:
        self.tracer = tracer
        self._position = position

    @property
    def position(self) -> int:
        return self._position

    def __add__(self, other: Any) -> Symbol:
        return self.tracer.binary("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.tracer.binary("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.tracer.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.tracer.binary("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.tracer.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.tracer.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.tracer.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.tracer.binary("div", other, self)

    def __neg__(self) -> Symbol:
        return self.tracer.unary("neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.tracer.unary("abs", self)

    def __pow__(self, power: Any) -> Symbol:
        if isinstance(power, Symbol) or power not in (2, 3):
            shown = "a vector" if isinstance(power, Symbol) else repr(power)
            raise self.tracer.error(
                f"a power of {shown} is not in the language", "write v * v, v ** 2, v ** 3 or exp(a * log(v))"
            )
        square = self * self
        return square if power == 2 else square * self

    def __rpow__(self, base: Any) -> NoReturn:
        raise self.tracer.error(f"{base!r} to the power of a vector is not in the language", "write exp(a * v)")

    def _no_branch(self, *_: object) -> NoReturn:
        raise self.tracer.error(
            "a cell cannot branch on a value (if, and, or, not, a comparison)",
            "one equation serves every unit and step: use minimum, maximum, relu or a gate such as u * a + (1 - u) * b",
        )

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __contains__ = _no_branch

    def _no_number(self, *_: object) -> NoReturn:
        raise self.tracer.error(
            "a value has no number while the cell is traced",
            "use the functions of elman.cells (sigmoid, tanh, exp, ...), not those of math, numpy or torch; "
            "W.i(x, h) stacks its vectors",
        )

    __float__ = __int__ = __index__ = __complex__ = __array__ = __round__ = _no_number

    def _no_units(self, *_: object) -> NoReturn:
        raise self.tracer.error(
            "a cell cannot index a vector or loop over its units",
            "an equation holds for every unit at once; what mixes units is an affine map, W.name(v), or mean(v)",
        )

    __len__ = __iter__ = __getitem__ = _no_units

    def _no_matrix(self, *_: object) -> NoReturn:
        raise self.tracer.error(
            "the matrix product @ is not in the language", "W.name(x, h) is the matrix W_name times its stacked vectors"
        )

    __matmul__ = __rmatmul__ = _no_matrix

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)  # what libraries look for, such as __array_interface__
        remedy = (
            f"write {name}(v), with {name} from elman.cells"
            if name in FUNCTIONS
            else "it knows + - * / and the functions"
        )
        raise self.tracer.error(f"a vector of a cell has no attribute {name!r}", remedy)


class Weight(Symbol):
    """`W.name`: an affine map when called, a per-unit parameter when used as a factor."""

    def __init__(self, tracer: Recorder, name: str) -> None:
        self.tracer = tracer
        self._name = name

    @property
    def position(self) -> int:
        return self.tracer.parameter(self._name)

    def __call__(self, *vectors: Any, bias: bool = True, **unknown: Any) -> Symbol:
        if unknown:
            raise self.tracer.error(f"W.{self._name}(...) has no option {min(unknown)!r}", "its only one is bias=False")
        return self.tracer.affine(self._name, vectors, bias)


class Weights:
    """The `W` of a traced cell."""

    def __init__(self, tracer: Recorder) -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> Weight:
        if name.startswith("__"):
            raise AttributeError(name)
        return Weight(self._tracer, name)

    def _no_name(self, *_: object) -> NoReturn:
        raise self._tracer.error(
            "W alone is not a matrix", "name the map, W.i(x, h), or the per-unit parameter, W.p_i * c"
        )

    __getitem__ = __call__ = __len__ = __iter__ = __bool__ = _no_name
    __mul__ = __rmul__ = __add__ = __radd__ = __matmul__ = __rmatmul__ = _no_name
