"""How much arithmetic a cell is: the multiplications and additions of its matrix products, counted from its program."""

from __future__ import annotations

from math import prod

from elman.compiler.ir import Program


def flops(program: Program, steps: int, batch: int, inputs: int, hidden: int, *, train: bool) -> int:
    """Operations of a pass over (T, B, I) with H hidden units.

    A matrix of `rows` x `columns` times a vector counts 2 rows columns. Inference is all affine maps of all steps and
    sequences; training counts three times that, for each map does three products: its value, the gradient of its
    vectors, the gradient of its weights. Per-unit functions are not counted, so that a share of the peak also tells
    what they cost.
    """
    shapes = program.parameter_shapes(inputs, hidden)
    products = sum(2 * prod(shapes[f"weight_{node.name}"]) for node in program.affine_maps)
    return (3 if train else 1) * steps * batch * products
