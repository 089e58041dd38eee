"""Printers: pure functions from a program to text for people, plain or LaTeX. Nothing is said here that the program does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elman.compiler.adjoint import adjoint
from elman.compiler.ir import LEAVES, Node, Program

# How tightly each form binds: what is printed inside something tighter needs brackets.
_SUM, _PRODUCT, _ATOM = 1, 2, 3


@dataclass(frozen=True)
class Style:
    """How the pieces are written; `name` puts an index below."""

    name: Callable[[str], str]
    vector: Callable[[str], str]
    prime: str
    times: str
    over: Callable[[str, str], str]
    call: Callable[[str, str], str]
    weight: Callable[[str], str]
    bias: Callable[[str], str]
    product: str
    minus: str


def _latex_name(name: str) -> str:
    head, _, tail = name.partition("_")
    head = head if len(head) == 1 else rf"\mathrm{{{head}}}"
    tail = tail.replace("_", r"\_")
    return f"{head}_{{{tail}}}" if tail else head


def _latex_call(function: str, argument: str) -> str:
    name = {"sigmoid": r"\sigma", "tanh": r"\tanh", "exp": r"\exp", "log": r"\log"}.get(
        function, rf"\mathrm{{{function}}}"
    )
    return rf"{name}\left({argument}\right)"


TEXT = Style(
    name=str,
    vector=lambda inside: f"[{inside}]",
    prime="'",
    times=" ∘ ",
    over=lambda a, b: f"{a} / {b}",
    call=lambda function, argument: f"{function}({argument})",
    weight=lambda name: f"W_{name}",
    bias=lambda name: f"b_{name}",
    product="·",
    minus=" − ",
)
LATEX = Style(
    name=_latex_name,
    vector=lambda inside: rf"\left[{inside}\right]",
    prime="'",
    times=r" \circ ",
    over=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    call=_latex_call,
    weight=lambda name: f"W_{{{_latex_name(name)}}}",
    bias=lambda name: f"b_{{{_latex_name(name)}}}",
    product=r"\,",
    minus=" - ",
)


def equations(program: Program, style: Style = TEXT) -> list[tuple[str, str]]:
    """(left, right) of every equation of the step, in order; new states are primed."""
    return _Printer(program, style).run()


def as_text(program: Program) -> str:
    """The equations as aligned plain text."""
    lines = equations(program)
    width = max(len(left) for left, _ in lines)
    return "\n".join(f"{left:<{width}} = {right}" for left, right in lines)


def as_latex(program: Program) -> str:
    """The equations as a LaTeX `align*`."""
    body = " \\\\\n".join(f"  {left} &= {right}" for left, right in equations(program, LATEX))
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def storage(program: Program) -> tuple[list[str], list[str]]:
    """What the forward step saves for the backward one beside the states, and what the backward step computes again."""
    printer = _Printer(program, TEXT)
    printer.run()
    back = adjoint(program)
    return [printer.describe(p) for p in back.saved], [printer.describe(p) for p in back.rebuilt]


class _Printer:
    def __init__(self, program: Program, style: Style) -> None:
        self.program, self.style = program, style
        self.names = self._left_sides()

    def _left_sides(self) -> dict[int, str]:
        """Values that get an equation of their own: new states, what the author named, what is used more than once."""
        names: dict[int, str] = {}
        taken = {node.name for node in self.program.nodes} | {name for name, _ in self.program.labels}
        for name, position in self.program.labels:
            if self.program.nodes[position].op != "spread":
                names[position] = self.style.name(name)
        uses = [0] * len(self.program.nodes)
        for node in self.program.nodes:
            for argument in node.args:
                uses[argument] += 1
        free = (f"s{n}" for n in range(1, len(self.program.nodes) + 1))
        for position, node in enumerate(self.program.nodes):
            if uses[position] > 1 and position not in names and node.op not in (*LEAVES, "spread"):
                names[position] = self.style.name(next(n for n in free if n not in taken))
        for name, position in self.program.outputs:
            if self.program.nodes[position].op not in LEAVES:
                names[position] = self.style.name(name) + self.style.prime
        return names

    def run(self) -> list[tuple[str, str]]:
        lines = [(name, self.node(self.program.nodes[p], _SUM)) for p, name in sorted(self.names.items())]
        for name, position in self.program.outputs:
            left = self.style.name(name) + self.style.prime
            if self.names.get(position) != left:
                lines.append((left, self.value(position, _SUM)))
        return lines

    def describe(self, position: int) -> str:
        """`f`, or the formula of a value that has no name."""
        return self.value(position, _SUM)

    def value(self, position: int, inside: int) -> str:
        return self.names.get(position) or self.node(self.program.nodes[position], inside)

    def node(self, node: Node, inside: int) -> str:
        style = self.style
        if node.op in ("input", "state", "parameter"):
            return style.name(node.name)
        if node.op == "constant":
            return f"{node.value:g}"
        if node.op in ("spread", "share"):
            return self.value(node.args[0], inside)
        if node.op == "affine":
            return self._bracket(self._affine(node), _SUM if node.bias else _PRODUCT, inside)
        if node.op in ("add", "sub", "mul", "div", "neg"):
            return self._arithmetic(node, inside)
        return style.call(node.op, ", ".join(self.value(a, _SUM) for a in node.args))

    def _affine(self, node: Node) -> str:
        vectors = [self.value(a, _SUM) for a in node.args]
        inside = self.style.vector(", ".join(vectors)) if len(vectors) > 1 else self.value(node.args[0], _ATOM)
        text = f"{self.style.weight(node.name)}{self.style.product}{inside}"
        return f"{text} + {self.style.bias(node.name)}" if node.bias else text

    def _arithmetic(self, node: Node, inside: int) -> str:
        if node.op == "neg":
            return self._bracket(f"{self.style.minus.strip()}{self.value(node.args[0], _PRODUCT)}", _SUM, inside)
        left, right = node.args
        if node.op in ("add", "sub"):
            sign = " + " if node.op == "add" else self.style.minus
            tight = _SUM if node.op == "add" else _PRODUCT
            return self._bracket(self.value(left, _SUM) + sign + self.value(right, tight), _SUM, inside)
        if node.op == "mul":
            return self._bracket(
                self.value(left, _PRODUCT) + self.style.times + self.value(right, _PRODUCT), _PRODUCT, inside
            )
        return self._bracket(self.style.over(self.value(left, _PRODUCT), self.value(right, _ATOM)), _PRODUCT, inside)

    def _bracket(self, text: str, binds: int, inside: int) -> str:
        return f"({text})" if binds < inside else text
