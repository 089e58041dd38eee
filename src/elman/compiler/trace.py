"""The trace: a cell function, called on symbols instead of numbers, leaves its program.

Sizes are found by unification: what is added or multiplied has the same number of units. The input has I units, the
output (the first state) and whatever is tied to it H; where nothing ties the output to the other vectors of the cell
(a projection, a Jordan network), the output has O units and the others H.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NoReturn

from elman.compiler.build import Builder
from elman.compiler.ir import Node, Program, Size
from elman.compiler.verify import verify_cell
from elman.errors import CellError, ProgramError, did_you_mean

_INPUT, _NUMBER = 0, 1  # the two size classes that are known from the start


class Symbol:
    """A vector (or number) of a step that is being traced: arithmetic on it is written down, not computed."""

    __array_ufunc__ = None  # numpy must not take a symbol apart
    __hash__ = object.__hash__

    def __init__(self, tracer: Tracer, position: int) -> None:
        self._tracer = tracer
        self._position = position

    @property
    def position(self) -> int:
        return self._position

    def __add__(self, other: Any) -> Symbol:
        return self._tracer.binary("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._tracer.binary("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._tracer.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._tracer.binary("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._tracer.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._tracer.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._tracer.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._tracer.binary("div", other, self)

    def __neg__(self) -> Symbol:
        return self._tracer.unary("neg", self)

    def __pow__(self, power: Any) -> Symbol:
        if power not in (2, 3):
            self._tracer.fail(f"a power of {power!r} is not in the language", "write x * x, or exp(a * log(x))")
        square = self * self
        return square if power == 2 else square * self

    def __abs__(self) -> Symbol:
        return self._tracer.unary("abs", self)

    def _no_branch(self, *_: object) -> NoReturn:
        self._tracer.fail(
            "a cell cannot branch on a value (if, and, or, not, comparison)",
            "one equation must serve every unit and step: use minimum, maximum, relu or a gate such as u * a + (1 - u) * b",
        )

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _no_branch  # type: ignore[assignment]

    def _no_number(self, *_: object) -> NoReturn:
        self._tracer.fail(
            "a value has no number while the cell is traced",
            "use the functions of elman.cells (sigmoid, tanh, exp, ...), not those of math or numpy, and no loop over units",
        )

    __float__ = __int__ = __index__ = __len__ = __iter__ = __getitem__ = __array__ = __matmul__ = __rmatmul__ = (
        _no_number
    )


class _Weight(Symbol):
    """`W.name`: an affine map when called, a per-unit parameter when used as a factor."""

    def __init__(self, tracer: Tracer, name: str) -> None:
        self._tracer = tracer
        self._name = name

    @property
    def position(self) -> int:
        return self._tracer.parameter(self._name)

    def __call__(self, *vectors: Any, bias: bool = True) -> Symbol:
        return self._tracer.affine(self._name, vectors, bias)


class _Weights:
    """The `W` of a traced cell."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> _Weight:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Weight(self._tracer, name)


class Tracer:
    """Writes the program of one cell; every refusal names the cell, the line and the remedy."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code
        self.builder = Builder()
        self.classes: list[int] = []  # the size class of each node
        self.parent = [_INPUT, _NUMBER]  # union-find over size classes
        self.state_classes: dict[int, str] = {}
        self.uses: dict[str, str] = {}  # weight name -> "map" or "parameter"

    # -- errors -------------------------------------------------------------------------------------------------------
    def fail(self, what: str, remedy: str, frame: FrameType | None = None) -> NoReturn:
        raise CellError(f"cell {self.name!r}, {self.where(frame)}: {what}; {remedy}") from None

    def where(self, frame: FrameType | None = None) -> str:
        """`line 7 of cells.py (f = sigmoid(...))`: where in the cell's own code the trace stands."""
        frame = frame or sys._getframe(1)
        line = self.code.co_firstlineno
        while frame is not None:
            if frame.f_code is self.code:
                line = frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return describe_line(self.code, line)

    # -- size classes -------------------------------------------------------------------------------------------------
    def find(self, size: int) -> int:
        while self.parent[size] != size:
            size = self.parent[size]
        return size

    def new_class(self) -> int:
        self.parent.append(len(self.parent))
        return len(self.parent) - 1

    def unify(self, a: int, b: int, doing: str) -> int:
        low, high = sorted((self.find(a), self.find(b)))
        if low == high:
            return low
        if low in (_INPUT, _NUMBER) and (
            high in (_INPUT, _NUMBER) or high in {self.find(s) for s in self.state_classes}
        ):
            left, right = (
                "a number" if c == _NUMBER else "input_size units" if c == _INPUT else "hidden_size units"
                for c in (low, high)
            )
            self.fail(
                f"sizes cannot agree in {doing}: one side has {left}, the other {right}",
                "bring one to the other's size with an affine map, for example W.name(x)",
            )
        self.parent[high] = low
        return low

    # -- nodes --------------------------------------------------------------------------------------------------------
    def add(self, node: Node, size: int) -> Symbol:
        # Sizes are symbols only at the end: until then the node carries none, and its class stands beside it.
        position = self.builder.add(node)
        if position == len(self.classes):
            self.classes.append(size)
        return Symbol(self, position)

    def symbol(self, value: Any, doing: str) -> Symbol:
        if isinstance(value, Symbol):
            if value._tracer is not self:
                self.fail(f"{doing} uses a value of another trace", "compute every value inside the cell")
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self.add(Node("constant", size="1", value=float(value)), _NUMBER)
        self.fail(f"{doing} got {type(value).__name__}", "vectors, numbers and W.name are the values of a cell")

    def parameter(self, name: str) -> int:
        self.use(name, "parameter")
        existing = [p for p, n in enumerate(self.builder.nodes) if n.op == "parameter" and n.name == name]
        return existing[0] if existing else self.add(Node("parameter", name=name), self.new_class()).position

    def use(self, name: str, role: str) -> None:
        if self.uses.setdefault(name, role) != role:
            self.fail(
                f"W.{name} is used both as an affine map and as a per-unit parameter", "give one of them another name"
            )

    def affine(self, name: str, vectors: tuple[Any, ...], bias: bool) -> Symbol:
        self.use(name, "map")
        if not vectors:
            self.fail(f"W.{name}() is given no vector", f"write W.{name}(x, h)")
        args = [self.symbol(v, f"W.{name}(...)") for v in vectors]
        if any(self.find(self.classes[a.position]) == _NUMBER for a in args):
            self.fail(f"W.{name}(...) is given a number", "an affine map takes vectors")
        node = Node("affine", tuple(a.position for a in args), name=name, bias=bool(bias))
        for earlier in self.builder.nodes:
            if earlier.op == "affine" and earlier.name == name and earlier != node:
                self.fail(
                    f"W.{name} maps different vectors at two places",
                    "one name is one matrix: give the second map another name",
                )
        return self.add(node, self.new_class())

    def unary(self, op: str, value: Any) -> Symbol:
        symbol = self.symbol(value, op)
        return self.add(Node(op, (symbol.position,)), self.classes[symbol.position])

    def reduce(self, op: str, value: Any) -> Symbol:
        symbol = self.symbol(value, op)
        if self.find(self.classes[symbol.position]) == _NUMBER:
            self.fail(f"{op} over the units of a number", "it takes a vector")
        return self.add(Node(op, (symbol.position,), "1"), _NUMBER)

    def binary(self, op: str, left: Any, right: Any) -> Symbol:
        a, b = self.symbol(left, op), self.symbol(right, op)
        size_a, size_b = (self.find(self.classes[s.position]) for s in (a, b))
        if size_a != _NUMBER and size_b == _NUMBER:
            b = self.spread(b, size_a)
        elif size_a == _NUMBER and size_b != _NUMBER:
            a = self.spread(a, size_b)
        size = self.unify(self.classes[a.position], self.classes[b.position], op)
        return self.add(Node(op, (a.position, b.position)), size)

    def spread(self, number: Symbol, size: int) -> Symbol:
        # `index` keeps spreads to different size classes apart until the sizes are known.
        return self.add(Node("spread", (number.position,), index=size), size)

    # -- the end ------------------------------------------------------------------------------------------------------
    def finish(self, states: tuple[str, ...], results: list[Symbol], labels: dict[str, int], **about: str) -> Program:
        for name, result in zip(states, results):
            own = next(n for n, node in enumerate(self.builder.nodes) if node.op == "state" and node.name == name)
            if self.find(self.classes[result.position]) == _NUMBER:
                self.fail(f"the new {name} is a number", "return a vector for each state")
            self.unify(self.classes[own], self.classes[result.position], f"the new {name}")
        sizes = self.sizes(states)
        final = Builder()
        place: dict[int, int] = {}
        for position, node in enumerate(self.builder.nodes):
            args = tuple(place[a] for a in node.args)
            place[position] = final.add(Node(node.op, args, sizes[position], node.name, node.value, bias=node.bias))
        outputs = [(name, place[result.position]) for name, result in zip(states, results)]
        return final.program(self.name, outputs, [(name, place[p]) for name, p in labels.items()], **about)

    def sizes(self, states: tuple[str, ...]) -> list[Size]:
        """The symbol of every node's size."""
        output = self.find(next(c for c, name in self.state_classes.items() if name == states[0]))
        free = {self.find(c) for c in self.classes} - {_INPUT, _NUMBER, output}
        names: dict[int, Size] = {_INPUT: "I", _NUMBER: "1", output: "O" if free else "H"}
        return [names.get(self.find(c), "H") for c in self.classes]


def describe_line(code: CodeType, line: int) -> str:
    """`line 7 of cells.py (the text of the line)`."""
    text = linecache.getline(code.co_filename, line).strip()
    file = code.co_filename.rsplit("/", 1)[-1]
    return f"line {line} of {file}" + (f" ({text})" if text else "")


def trace(function: Callable[..., Any], name: str, states: tuple[str, ...], **about: str) -> Program:
    """The verified program of the cell `function(x, *states, W)`. Raises CellError for what is not a step."""
    code = function.__code__
    tracer = Tracer(name, code)
    x = tracer.add(Node("input", name=code.co_varnames[0], size="I"), _INPUT)
    symbols = []
    for state in states:
        size = tracer.new_class()
        tracer.state_classes[size] = state
        symbols.append(tracer.add(Node("state", name=state), size))
    local_names: dict[str, Any] = {}
    results = _call(tracer, function, (x, *symbols, _Weights(tracer)), local_names)
    given = results if isinstance(results, tuple) else (results,)
    if len(given) != len(states):
        missing = ", ".join(states[len(given) :]) or "nothing more"
        tracer.fail(
            f"it has the states {', '.join(states)} but returns {len(given)} value{'s' * (len(given) != 1)}",
            f"return every new state, in order: return {', '.join(states)} (missing: {missing})",
        )
    final = [tracer.symbol(value, f"the new {state}") for value, state in zip(given, states)]
    labels = {key: value.position for key, value in local_names.items() if type(value) is Symbol}
    try:
        return verify_cell(tracer.finish(states, final, labels, **about))
    except ProgramError as error:
        raise CellError(f"cell {name!r}, {describe_line(code, code.co_firstlineno)}: {error}") from None


def _call(tracer: Tracer, function: Callable[..., Any], arguments: tuple[Any, ...], local_names: dict[str, Any]) -> Any:
    """The function's result; its local names at the end are kept, and Python's own errors become CellErrors."""
    code = function.__code__

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            local_names.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return function(*arguments)
    except CellError:
        raise
    except Exception as error:
        line = next((t.tb_lineno for t in _frames(error) if t.tb_frame.f_code is code), code.co_firstlineno)
        where = describe_line(code, line)
        if isinstance(error, NameError):
            known = [
                "sigmoid",
                "tanh",
                "relu",
                "softplus",
                "exp",
                "log",
                "abs",
                "minimum",
                "maximum",
                "mean",
                "normalize",
            ]
            hint = did_you_mean(str(error.name), [*code.co_varnames, *known])
            raise CellError(
                f"cell {tracer.name!r}, {where}: unknown name {error.name!r}{hint}; import it from elman.cells"
            ) from None
        raise CellError(
            f"cell {tracer.name!r}, {where}: {type(error).__name__}: {error}; a cell may use its vectors, numbers, W and the functions of elman.cells"
        ) from error
    finally:
        sys.setprofile(before)


def _frames(error: BaseException) -> list[Any]:
    frames, here = [], error.__traceback__
    while here is not None:
        frames.append(here)
        here = here.tb_next
    return frames
