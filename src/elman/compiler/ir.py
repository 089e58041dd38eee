"""The program: what a cell becomes once traced. Affine maps, per-unit maths and reductions, in order of computation.

A program is plain frozen data: `to_json` and `from_json` carry it into model files and back, nothing in it is code.
Every node is a vector of `size` units (for one sequence at one step) and names its arguments by their position.

    op            args            name        what
    input         -               x           the input of this step (I units); in a backward program any given vector
    state         -               h           a state as the step before left it
    constant      -               -           the number `value`, at every unit (size 1)
    parameter     -               p_i         one weight a unit
    mask          -               zoneout_c   1 where a unit is kept, 0 where it is dropped, with probability `value`;
                                              the same at every step of a sequence (`index` 0) or fresh at each (1)
    affine        vectors         i           W_i·[vectors] + b_i (`bias=False`: without b_i)
    transpose     one vector      i           the columns of W_i for its argument `index`, transposed, times the vector
    sigmoid ...   one vector      -           UNARY: per-unit functions
    add ...       two vectors     -           BINARY: per-unit arithmetic
    sum, mean     one vector      -           REDUCTIONS: over the units, leaves size 1
    spread, share one number      -           BROADCASTS: size 1 to every unit (share: divided by the number of units)
"""

from __future__ import annotations

from typing import Literal

import msgspec

Size = Literal["I", "H", "O", "1"]
"""Symbolic sizes: I input units, H hidden units, O output units where the output has a size of its own, 1 a number."""

UNARY = (
    "neg", "sigmoid", "tanh", "relu", "softplus", "exp", "log", "abs", "rsqrt", "reciprocal",
    "step",  # 1 where positive, else 0: the derivative of relu
    "sign",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "minimum", "maximum", "less")
COMMUTATIVE = ("add", "mul", "minimum", "maximum")
REDUCTIONS = ("sum", "mean")
BROADCASTS = ("spread", "share")
LEAVES = ("input", "state", "constant", "parameter", "mask")
OPS = (*LEAVES, "affine", "transpose", *UNARY, *BINARY, *REDUCTIONS, *BROADCASTS)


class Node(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One value of a step."""

    op: str
    args: tuple[int, ...] = ()
    size: Size = "H"
    name: str = ""
    value: float = 0.0
    index: int = 0
    bias: bool = True


class Program(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A step: `nodes` in order of computation, `outputs` naming the results (a cell's new states, output first)."""

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, int], ...] = ()
    """Names that the cell's author gave to values: for printing and for diagnosis, without effect on the step."""
    doc: str = ""
    source: str = ""

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states, in the order in which the cell takes and returns them; the first is the output."""
        return tuple(node.name for node in self.nodes if node.op == "state")

    @property
    def affine_maps(self) -> tuple[Node, ...]:
        """The affine maps in order of computation."""
        return tuple(node for node in self.nodes if node.op == "affine")

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of the affine maps."""
        return tuple(node.name for node in self.affine_maps)

    def state_sizes(self) -> dict[str, Size]:
        """The symbolic size of each state."""
        return {node.name: node.size for node in self.nodes if node.op == "state"}

    def parameter_shapes(
        self, input_size: int, hidden_size: int, output_size: int | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Every weight by name: `weight_i` (rows, columns of all arguments stacked), `bias_i`, and per-unit `p_i`."""
        sizes = resolve(input_size, hidden_size, output_size)
        shapes: dict[str, tuple[int, ...]] = {}
        for node in self.nodes:
            if node.op == "affine":
                shapes[f"weight_{node.name}"] = (sizes[node.size], sum(sizes[self.nodes[a].size] for a in node.args))
                if node.bias:
                    shapes[f"bias_{node.name}"] = (sizes[node.size],)
            elif node.op == "parameter":
                shapes[node.name] = (sizes[node.size],)
        return shapes

    def same_step(self, other: Program) -> bool:
        """True when both compute the same numbers from the same input, states and weights, by the same arithmetic.

        The cell's name, documentation and labels, the order of its equations and that of the two sides of +, ·, minimum
        and maximum make no difference. The names of weights and states and the order of a map's vectors do (they say
        where numbers are stored), and so does arithmetic that may round otherwise: (a + b) + c is not a + (b + c).
        """
        known: dict[Node, int] = {}
        return self._meaning(known) == other._meaning(known)

    def _meaning(self, known: dict[Node, int]) -> list[object]:
        """Input, states and outputs, each by its number in `known`: equal computations have equal numbers."""
        numbers: list[int] = []
        for node in self.nodes:
            args = tuple(numbers[a] for a in node.args)
            if node.op in COMMUTATIVE:
                args = tuple(sorted(args))
            numbers.append(known.setdefault(msgspec.structs.replace(node, args=args), len(known)))
        given = [numbers[p] for p, node in enumerate(self.nodes) if node.op in ("input", "state")]
        return [*given, *((name, numbers[p]) for name, p in self.outputs)]


def resolve(input_size: int, hidden_size: int, output_size: int | None = None) -> dict[str, int]:
    """Numbers for the symbolic sizes."""
    return {"I": input_size, "H": hidden_size, "O": hidden_size if output_size is None else output_size, "1": 1}


def to_json(program: Program) -> bytes:
    """The program as JSON."""
    return msgspec.json.encode(program)
