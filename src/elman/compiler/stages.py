"""The engine's plan of a step: stages of products and loops, and where each value lies in memory.

The step is cut into stages at its products (affine maps; in a backward step transposed ones) and reductions. A stage
first takes its products of what earlier stages left in memory, then its numbers (reductions and maths on them, one
a row), then walks over units and rows once, with everything else in registers.

Where a value lies (`Place`): what the engine knows of every kind is in engine/walk.h.

    input, old, new      a row of the input; the states before and after the step
    record               slot k of the record of the units' size: all maps' values of L units lie together, the forward
                         step leaves what the backward step asks for in them, and that one its maps' gradients
    scratch, chunk       a vector of one step; of every row of a chunk of steps, for the weights' gradients
    number, saved        one number a row, of one step or kept for the backward step
    grad, flow           the gradient of a new state as the caller gives it, and as it flows back from the step after
    parameter, sum       one value a unit; sums over rows of a gradient
    grad_input           the input's gradient
"""

from __future__ import annotations

from dataclasses import dataclass, field

from elman.compiler.ir import Program, Size

KINDS = ("input", "old", "new", "record", "scratch", "chunk", "number", "saved", "grad", "flow", "parameter", "sum",
         "grad_input")  # fmt: skip
SIZES: tuple[Size, ...] = ("I", "H", "O")
DENSE = ("input", "old", "new", "grad", "grad_input")
"""Kinds whose rows follow each other without padding to whole vectors."""


@dataclass(frozen=True)
class Place:
    """Where a value lies: the `index`-th of its kind and size."""

    kind: str
    size: Size
    index: int = 0


@dataclass(frozen=True)
class Term:
    """A part of a product: `sources` times blocks of the weights.

    In a forward step one source, and for each output the (map, vector) whose block it takes, None for zeros; in a
    backward step the gradients of some maps, and for each the block that is transposed.
    """

    sources: tuple[Place, ...]
    blocks: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Product:
    """outputs += sum of terms. maps: whose biases the outputs begin with (-1: zeros); ready: which hold it already."""

    outputs: tuple[Place, ...]
    terms: tuple[Term, ...]
    maps: tuple[int, ...]
    ready: tuple[bool, ...]


@dataclass
class Loop:
    """A walk over units and rows (or, for numbers, over rows): what is loaded, computed, stored and summed."""

    loads: dict[int, tuple[Place, ...]] = field(default_factory=dict)
    work: list[int] = field(default_factory=list)
    stores: list[tuple[Place, int]] = field(default_factory=list)
    sums: list[tuple[Place, int]] = field(default_factory=list)


@dataclass
class Stage:
    """One stage of a step."""

    products: list[Product] = field(default_factory=list)
    numbers: Loop = field(default_factory=Loop)
    loops: dict[Size, Loop] = field(default_factory=dict)


@dataclass(frozen=True)
class GradWeight:
    """Weights' gradients that have their vector in common: the sum over rows of `source` times `grads`."""

    source: Place
    grads: tuple[Place, ...]
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Steps:
    """A step in one direction."""

    program: Program
    stages: tuple[Stage, ...]
    places: tuple[Place, ...]
    projections: tuple[Product, ...] = ()
    """Forward: products with the input, for many steps at once. Backward: the input's gradient."""
    grad_weights: tuple[GradWeight, ...] = ()
    bias_sums: tuple[tuple[int, int], ...] = ()
    """(map, number of its `sum`)."""
    parameter_sums: tuple[tuple[int, int], ...] = ()

    @property
    def of_input(self) -> bool:
        """Whether a backward step gives the input a gradient at all."""
        return any(place.kind == "grad_input" for place in self.places)


@dataclass(frozen=True)
class Plan:
    """Both directions of a cell."""

    program: Program
    forward: Steps
    backward: Steps
    slots: dict[Size, int]
    """Vectors in a record of each size."""
    saved: int
    """Numbers kept for each row."""
    reduces: bool
    """Whether a row's units depend on each other within a step, other than through products."""
