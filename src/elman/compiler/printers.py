"""Printers: from a program to text for people, plain or LaTeX. Nothing is said here that the program does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from elman.compiler.adjoint import adjoint
from elman.compiler.ir import LEAVES, Node, Program

# How tightly each form binds: what is printed inside something tighter needs brackets.
_SUM, _PRODUCT, _ATOM = 1, 2, 3
_LONG = 1000  # characters: a longer formula gets a name, so that text grows with the program and not with its square


_LATEX_FUNCTIONS = {
    "sigmoid": r"\sigma", "tanh": r"\tanh", "exp": r"\exp", "log": r"\log", "minimum": r"\min", "maximum": r"\max",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How the pieces are written; `name` puts an index below."""

    name: Callable[[str], str]
    number: Callable[[float], str]
    vector: Callable[[str], str]
    times: str
    over: Callable[[str, str], str]
    over_binds: tuple[int, int, int]
    """How tightly a quotient's upper side, its lower side and the whole bind."""
    call: Callable[[str, list[str]], str]
    weight: Callable[[str], str]
    bias: Callable[[str], str]
    mask: Callable[[str], str]
    transposed: Callable[[str, int], str]
    product: str
    minus: str


def _number(value: float) -> str:
    return repr(value).removesuffix(".0").replace("-", "−", 1) if value < 0 else repr(value).removesuffix(".0")


def _latex_number(value: float) -> str:
    mantissa, _, power = repr(value).removesuffix(".0").partition("e")
    if not power:
        return mantissa
    return rf"10^{{{int(power)}}}" if mantissa == "1" else rf"{mantissa} \cdot 10^{{{int(power)}}}"


def _latex_name(name: str) -> str:
    head, _, tail = name.partition("_")
    head = head if len(head) == 1 else rf"\mathrm{{{head}}}"
    tail = tail.replace("_", r"\_")
    return f"{head}_{{{tail}}}" if tail else head


def _latex_call(function: str, arguments: list[str]) -> str:
    if function == "abs":
        return rf"\left|{arguments[0]}\right|"
    if function == "rsqrt":
        return rf"\frac{{1}}{{\sqrt{{{arguments[0]}}}}}"
    name = _LATEX_FUNCTIONS.get(function, rf"\mathrm{{{function}}}")
    return rf"{name}\left({', '.join(arguments)}\right)"


TEXT = Style(
    name=str,
    number=_number,
    vector=lambda inside: f"[{inside}]",
    times=" ∘ ",
    over=lambda a, b: f"{a} / {b}",
    over_binds=(_PRODUCT, _ATOM, _PRODUCT),
    call=lambda function, arguments: f"{function}({', '.join(arguments)})",
    weight=lambda name: f"W_{name}",
    bias=lambda name: f"b_{name}",
    mask=lambda name: f"mask_{name}",
    transposed=lambda name, index: f"W_{name}[{index}]ᵀ",
    product="·",
    minus="−",
)
LATEX = Style(
    name=_latex_name,
    number=_latex_number,
    vector=lambda inside: rf"\left[{inside}\right]",
    times=r" \circ ",
    over=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    over_binds=(_SUM, _SUM, _ATOM),
    call=_latex_call,
    weight=lambda name: f"W_{{{_latex_name(name)}}}",
    bias=lambda name: f"b_{{{_latex_name(name)}}}",
    mask=lambda name: rf"\mathrm{{mask}}_{{{_latex_name(name)}}}",
    transposed=lambda name, index: f"W_{{{_latex_name(name)},{index}}}^\\top",
    product=r"\,",
    minus="-",
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
    back = adjoint(program)
    return [printer.value(p) for p in back.saved], [printer.value(p) for p in back.rebuilt]


@dataclass
class _Printer:
    program: Program
    style: Style
    names: dict[int, str] = field(default_factory=dict)
    forms: list[tuple[str, int]] = field(default_factory=list)
    """The formula of each node and how tightly it binds, made in order: no recursion, however deep the program."""

    def __post_init__(self) -> None:
        nodes = self.program.nodes
        taken = {node.name for node in nodes} | {name for name, _ in self.program.labels}
        free = (name for n in range(1, 2 * len(nodes) + 2) if (name := f"s{n}") not in taken)
        self._name_values(free)
        for position, node in enumerate(nodes):
            self.forms.append(self._form(node))
            if len(self.forms[-1][0]) > _LONG and position not in self.names:
                self.names[position] = self.style.name(next(free))

    def _name_values(self, free: Iterator[str]) -> None:
        """Values that get an equation of their own: new states, what the author named, what is used more than once."""
        nodes, style = self.program.nodes, self.style
        for name, position in self.program.labels:
            if nodes[position].op != "spread":
                self.names[position] = style.name(name)
        uses = [0] * len(nodes)
        for position in reversed(range(len(nodes))):
            for argument in nodes[position].args:
                uses[argument] += max(1, uses[position]) if nodes[position].op == "spread" else 1
        for position, node in enumerate(nodes):
            if uses[position] > 1 and position not in self.names and node.op not in (*LEAVES, "spread"):
                self.names[position] = style.name(next(free))
        for name, position in self.program.outputs:
            if nodes[position].op not in LEAVES:
                self.names[position] = style.name(name) + "'"

    def run(self) -> list[tuple[str, str]]:
        lines = [(name, self.forms[p][0]) for p, name in sorted(self.names.items())]
        for name, position in self.program.outputs:
            left = self.style.name(name) + "'"
            if self.names.get(position) != left:
                lines.append((left, self.value(position)))
        return lines

    def value(self, position: int, inside: int = _SUM) -> str:
        """`f`, or the formula of a value that has no name, in brackets where `inside` binds more tightly."""
        if position in self.names:
            return self.names[position]
        text, binds = self.forms[position]
        return f"({text})" if binds < inside else text

    def _form(self, node: Node) -> tuple[str, int]:
        style = self.style
        if node.op in ("input", "state", "parameter"):
            return style.name(node.name), _ATOM
        if node.op == "mask":
            return style.mask(node.name), _ATOM
        if node.op == "constant":
            return style.number(node.value), _SUM if node.value < 0 else _ATOM
        if node.op == "spread":
            argument = node.args[0]
            return (self.names[argument], _ATOM) if argument in self.names else self.forms[argument]
        if node.op == "affine":
            return self._affine(node)
        if node.op == "transpose":
            matrix = style.transposed(node.name, node.index)
            return f"{matrix}{style.product}{self.value(node.args[0], _ATOM)}", _PRODUCT
        if node.op in ("add", "sub", "mul", "div", "neg"):
            return self._arithmetic(node)
        return style.call(node.op, [self.value(a) for a in node.args]), _ATOM

    def _affine(self, node: Node) -> tuple[str, int]:
        style = self.style
        vectors = ", ".join(self.value(a) for a in node.args)
        inside = style.vector(vectors) if len(node.args) > 1 else self.value(node.args[0], _ATOM)
        text = f"{style.weight(node.name)}{style.product}{inside}"
        return (f"{text} + {style.bias(node.name)}", _SUM) if node.bias else (text, _PRODUCT)

    def _arithmetic(self, node: Node) -> tuple[str, int]:
        style = self.style
        if node.op == "neg":
            return style.minus + self.value(node.args[0], _PRODUCT), _SUM
        left, right = node.args
        if node.op == "mul":
            return self.value(left, _PRODUCT) + style.times + self.value(right, _PRODUCT), _PRODUCT
        if node.op == "div":
            above, below, whole = style.over_binds
            return style.over(self.value(left, above), self.value(right, below)), whole
        second = self.value(right, _SUM if node.op == "add" else _PRODUCT)
        if second.startswith(style.minus):
            second = f"({second})"
        sign = "+" if node.op == "add" else style.minus
        return f"{self.value(left)} {sign} {second}", _SUM
