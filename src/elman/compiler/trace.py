"""The trace: a cell function, called on symbols instead of numbers, leaves its program.

Sizes are found by unification: what is added or multiplied has the same number of units. The input has I units, the
output (the first state) and whatever is tied to it H; where nothing ties the output to the other vectors of the cell
(a projection, a Jordan network), the output has O units and the others H.
"""

from __future__ import annotations

import dis
import inspect
import linecache
import math
import numbers
import sys
from collections.abc import Callable
from pathlib import PurePath
from types import CodeType, FrameType, TracebackType
from typing import Any

from elman.compiler.build import Builder
from elman.compiler.ir import Node, Program, Size
from elman.compiler.symbols import FUNCTIONS, Symbol, Weights
from elman.compiler.verify import NAME, reserved, verify_cell
from elman.errors import CellError, ProgramError, did_you_mean

_INPUT, _NUMBER = 0, 1  # the two size classes that are known from the start
_SIGNS = {"add": "a sum", "sub": "a difference", "mul": "a product", "div": "a quotient"}


class Tracer:
    """Writes the program of one cell; every refusal names the cell, the line and the remedy."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code
        self.codes = {code}  # the cell's own function, and those of the cells that it calls
        self.line = definition_line(code)  # where the trace stands when it is outside the function
        self.builder = Builder()
        self.classes: list[int] = []  # the size class of each node
        self.parent = [_INPUT, _NUMBER]  # union-find over size classes
        self.state_classes: dict[int, str] = {}
        self.local_names: dict[str, Symbol] = {}  # what the author calls the values
        self.uses: dict[str, str] = {}  # weight name -> "an affine map" or "a per-unit parameter"

    # -- errors -------------------------------------------------------------------------------------------------------
    def error(self, what: str, remedy: str, where: str | None = None) -> CellError:
        return CellError(f"cell {self.name!r}, {where or self.where()}: {what}; {remedy}")

    def where(self) -> str:
        """`line 7 of cells.py (f = sigmoid(...))`: where in the cell's code the trace stands."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code in self.codes:
                return describe_line(frame.f_code, frame.f_lineno)
            frame = frame.f_back
        return describe_line(self.code, self.line)

    def look(self) -> None:
        """Notes the line of the cell that is running and the names that its values have there.

        The frames are read at every operation, not by a hook of the interpreter, which profilers and debuggers need.
        A name that is bound after the last operation is that of a result, or of nothing.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code in self.codes:
                values = {k: v for k, v in frame.f_locals.items() if type(v) is Symbol and v.tracer is self}
                self.local_names.update(values)
            if frame.f_code is self.code:
                self.line = frame.f_lineno
                return
            frame = frame.f_back

    # -- size classes -------------------------------------------------------------------------------------------------
    def find(self, size: int) -> int:
        while self.parent[size] != size:
            size = self.parent[size]
        return size

    def new_class(self) -> int:
        self.parent.append(len(self.parent))
        return len(self.parent) - 1

    def unify(self, a: int, b: int, doing: str) -> int:
        a, b = self.find(a), self.find(b)
        low, high = min(a, b), max(a, b)
        if low != high and low in (_INPUT, _NUMBER) and self.describe_size(high):
            raise self.error(
                f"the sizes in {doing} cannot agree: {self.describe_size(a)} and {self.describe_size(b)}",
                "bring one to the size of the other with an affine map such as W.name(x)",
            )
        self.parent[high] = low
        return low

    def describe_size(self, size: int) -> str:
        """Words for a size class that is tied to the input or a state, else the empty string."""
        if size in (_INPUT, _NUMBER):
            return "a number" if size == _NUMBER else "input_size units"
        return "hidden_size units" if size in {self.find(s) for s in self.state_classes} else ""

    # -- nodes --------------------------------------------------------------------------------------------------------
    def place(self, position: int, size: int) -> Symbol:
        """The symbol of the node at `position`; a new node takes the size class `size`."""
        # Sizes are symbols only at the end: until then the node carries none, and its class stands beside it.
        self.look()
        if position == len(self.classes):
            self.classes.append(size)
        return Symbol(self, position)

    def add(self, node: Node, size: int) -> Symbol:
        return self.place(self.builder.add(node), size)

    def symbol(self, value: Any, doing: str) -> Symbol:
        if isinstance(value, Symbol):
            if value.tracer is not self:
                raise self.error(f"{doing} uses a value of another trace", "compute every value inside the cell")
            return value
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            kind = "None" if value is None else f"a {type(value).__name__}"
            raise self.error(
                f"{doing} got {kind}", "the values of a cell are its vectors, numbers and W.name (one weight a unit)"
            )
        number = float(value)
        if not math.isfinite(number):
            raise self.error(f"{doing} got the number {number}", "numbers in a cell are finite")
        return self.add(Node("constant", size="1", value=number), _NUMBER)

    def parameter(self, name: str) -> int:
        self.use(name, "a per-unit parameter")
        if any(node.name == name and node.op in ("input", "state") for node in self.builder.nodes):
            raise self.error(f"the parameter W.{name} has the name of a vector", f"call it W.p_{name}, for example")
        if reserved("parameter", name):
            raise self.error(f"the name of W.{name} is kept for backward programs", "give it another name")
        found = (p for p, node in enumerate(self.builder.nodes) if node.op == "parameter" and node.name == name)
        position = next(found, None)
        return self.add(Node("parameter", name=name), self.new_class()).position if position is None else position

    def use(self, name: str, role: str) -> None:
        if not NAME.fullmatch(name):
            raise self.error(f"W.{name[:80]} cannot be stored", "name weights with letters a-z, digits and _, up to 64")
        if self.uses.setdefault(name, role) != role:
            raise self.error(
                f"W.{name} is used both as an affine map and as a per-unit parameter", "give one of them another name"
            )

    def affine(self, name: str, vectors: tuple[Any, ...], bias: bool) -> Symbol:
        self.use(name, "an affine map")
        if not vectors:
            raise self.error(f"W.{name}() is given no vector", f"write W.{name}(x, h) with the vectors that it maps")
        args = [self.symbol(v, f"W.{name}(...)") for v in vectors]
        if any(self.find(self.classes[a.position]) == _NUMBER for a in args):
            raise self.error(
                f"W.{name}(...) is given a number", "an affine map takes vectors; its bias is its constant"
            )
        node = Node("affine", tuple(a.position for a in args), name=name, bias=bool(bias))
        for earlier in self.builder.nodes:
            if earlier.op == "affine" and earlier.name == name and earlier != node:
                differs = "different vectors" if earlier.args != node.args else "once with and once without a bias"
                raise self.error(
                    f"W.{name} maps {differs} at two places", "one name is one matrix: give the second map another name"
                )
        return self.add(node, self.new_class())

    def unary(self, op: str, value: Any) -> Symbol:
        symbol = self.symbol(value, op)
        return self.add(Node(op, (symbol.position,)), self.classes[symbol.position])

    def reduce(self, op: str, value: Any) -> Symbol:
        symbol = self.symbol(value, op)
        if self.find(self.classes[symbol.position]) == _NUMBER:
            raise self.error(f"{op} over the units of a number", "it takes a vector")
        return self.add(Node(op, (symbol.position,), "1"), _NUMBER)

    def binary(self, op: str, left: Any, right: Any) -> Symbol:
        doing = _SIGNS.get(op, op)
        a, b = self.symbol(left, doing), self.symbol(right, doing)
        size_a, size_b = (self.find(self.classes[s.position]) for s in (a, b))
        if size_a != _NUMBER and size_b == _NUMBER:
            b = self.spread(b, size_a)
        elif size_a == _NUMBER and size_b != _NUMBER:
            a = self.spread(a, size_b)
        size = self.unify(self.classes[a.position], self.classes[b.position], doing)
        return self.place(self.builder.apply(op, a.position, b.position), size)

    def spread(self, number: Symbol, size: int) -> Symbol:
        # `index` keeps spreads to different size classes apart until the sizes are known.
        return self.add(Node("spread", (number.position,), index=size), size)

    # -- the end ------------------------------------------------------------------------------------------------------
    def finish(self, states: tuple[str, ...], results: list[Symbol], labels: dict[str, int], **about: str) -> Program:
        """The program, with the symbols of the sizes in it."""
        nodes = self.builder.nodes
        own = {node.name: p for p, node in enumerate(nodes) if node.op == "state"}
        for name, result in zip(states, results):
            if self.find(self.classes[result.position]) == _NUMBER:
                raise self.error(f"the new {name} is a number", "return a vector for each state")
            self.unify(self.classes[own[name]], self.classes[result.position], f"the new {name}")
        kept = self.builder.needed(result.position for result in results)
        sizes = self.sizes(states, kept)
        final = Builder()
        place: dict[int, int] = {}
        for p in kept:
            node = nodes[p]
            args = tuple(place[a] for a in node.args)
            place[p] = final.add(Node(node.op, args, sizes[p], node.name, node.value, bias=node.bias))
        outputs = [(name, place[result.position]) for name, result in zip(states, results)]
        named = [(name, place[p]) for name, p in labels.items() if p in place]
        return final.program(self.name, outputs, named, **about)

    def sizes(self, states: tuple[str, ...], kept: list[int]) -> dict[int, Size]:
        """The symbol of the size of every node that is kept."""
        output = self.find(next(c for c, name in self.state_classes.items() if name == states[0]))
        free = {self.find(self.classes[p]) for p in kept} - {_INPUT, _NUMBER, output}
        names: dict[int, Size] = {_INPUT: "I", _NUMBER: "1", output: "O" if free else "H"}
        return {p: names.get(self.find(self.classes[p]), "H") for p in kept}


def definition_line(code: CodeType) -> int:
    """The line of `def`: a function's first line is that of its first decorator."""
    first = code.co_firstlineno
    if code.co_name == "<lambda>":
        return first
    ahead = (
        line for line in range(first, first + 100) if linecache.getline(code.co_filename, line).lstrip()[:4] == "def "
    )
    return next(ahead, first)


def describe_line(code: CodeType, line: int) -> str:
    """`line 7 of cells.py (the text of the line)`."""
    text = linecache.getline(code.co_filename, line).strip()
    text = text if len(text) <= 100 else text[:97] + "..."
    return f"line {line} of {PurePath(code.co_filename).name}" + (f" ({text})" if text else "")


def trace(function: Callable[..., Any], name: str, states: tuple[str, ...], **about: str) -> Program:
    """The verified program of the cell `function(x, *states, W)`. Raises CellError for what is not a step."""
    tracer = Tracer(name, inspect.unwrap(function).__code__)
    x = tracer.add(Node("input", name=next(iter(inspect.signature(function).parameters)), size="I"), _INPUT)
    symbols = []
    for state in states:
        size = tracer.new_class()
        tracer.state_classes[size] = state
        symbols.append(tracer.add(Node("state", name=state), size))
    results = _call(tracer, function, (x, *symbols, Weights(tracer)))
    given = results if isinstance(results, tuple) else (results,)
    whole = f"return every new state, in order: return {', '.join(states)}"
    if results is None:
        raise tracer.error("it returns nothing", whole)
    if len(given) != len(states):
        count, missing = len(given), states[len(given) :]
        counted = "1 value" if count == 1 else f"{count} values"
        raise tracer.error(
            f"it has the state{'s' * (len(states) > 1)} {', '.join(states)} but returns {counted}",
            whole + (f" ({', '.join(missing)} did not come back)" if missing else " and nothing else"),
        )
    final = [tracer.symbol(value, f"the new {state}") for value, state in zip(given, states)]
    labels = {key: value.position for key, value in tracer.local_names.items()}
    program = tracer.finish(states, final, labels, **about)
    try:
        return verify_cell(program)
    except ProgramError as error:
        where = describe_line(tracer.code, definition_line(tracer.code))
        raise CellError(f"cell {name!r}, {where}: its program was refused: {error}") from None


def _call(tracer: Tracer, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The function's result; Python's own errors become CellErrors."""
    try:
        results = function(*arguments)
    except CellError:
        raise
    except Exception as error:
        raise _explained(tracer, error) from error
    returns = [
        i.positions.lineno for i in dis.get_instructions(tracer.code) if i.opname.startswith("RETURN_") and i.positions
    ]
    after = [line for line in returns if line is not None and line >= tracer.line]
    tracer.line = min(
        after, default=tracer.line
    )  # what is wrong with the results is said of the line that returns them
    return results


def _explained(tracer: Tracer, error: Exception) -> CellError:
    """Python's own error inside a cell, in the words of the language."""
    where, code = describe_line(tracer.code, tracer.line), tracer.code
    trail: TracebackType | None = error.__traceback__
    unseen = set(tracer.codes)
    while trail is not None:
        if trail.tb_frame.f_code in unseen:
            code = trail.tb_frame.f_code
            unseen.remove(code)  # the first line of each cell: deeper ones are where it called itself
            where = describe_line(code, trail.tb_lineno)
        trail = trail.tb_next
    if isinstance(error, NameError) and error.name and not isinstance(error, UnboundLocalError):
        hint = did_you_mean(error.name, {*code.co_varnames, *FUNCTIONS})
        return tracer.error(
            f"unknown name {error.name!r}{hint}", "compute it above, or import it from elman.cells", where
        )
    if isinstance(error, TypeError) and any(kind in str(error) for kind in ("Symbol", "Weight")):
        return tracer.error(
            f"a function or operator outside the language was given a value of the cell ({error})",
            "use + - * / and the functions of elman.cells (sigmoid, tanh, exp, ...); W.i(x, h) stacks its vectors",
            where,
        )
    return tracer.error(
        f"{type(error).__name__}: {error}",
        "a cell uses its vectors, numbers, W and the functions of elman.cells",
        where,
    )
