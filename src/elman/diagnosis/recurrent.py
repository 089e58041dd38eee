"""The recurrent matrices of a cell: eigenvalues, singular values and spectral radius of what states bring into maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from elman.compiler.interpret import column_ranges
from elman.diagnosis.figures import Floats, Matrix
from elman.diagnosis.names import node_name
from elman.nn.recurrent import Part


def matrices(part: Part) -> tuple[Matrix, ...]:
    """A Matrix for every block of columns that reads something else than the input, and for every per-unit weight that
    multiplies a state."""
    return tuple(_matrix(*block) for block in _blocks(part))


def _blocks(part: Part) -> Iterator[tuple[str, str, Tensor]]:
    nodes = part.program.nodes
    for node in nodes:
        if node.op == "affine":
            for argument, (a, b) in zip(node.args, column_ranges(part.program, node, part.sizes)):
                if nodes[argument].op != "input":
                    block = part.weights[f"weight_{node.name}"][:, a:b]
                    yield node.name, node_name(part.program, argument), block.detach()
        elif node.op == "mul" and {nodes[a].op for a in node.args} == {"parameter", "state"}:
            weight, state = sorted((nodes[a] for a in node.args), key=lambda one: one.op)
            yield weight.name, state.name, torch.diag(part.weights[weight.name].detach())


def _matrix(name: str, vector: str, block: Tensor) -> Matrix:
    singular = torch.linalg.svdvals(block).double().cpu().numpy()
    if block.shape[0] != block.shape[1]:
        return Matrix(name, vector, singular, np.zeros((0, 2)), float("nan"))
    eigenvalues = complex_pairs(torch.linalg.eigvals(block))
    return Matrix(name, vector, singular, eigenvalues, float(np.hypot(*eigenvalues[0])))


def complex_pairs(values: Tensor) -> Floats:
    """Complex numbers (..., n) as (..., n, 2), the largest absolute value first."""
    order = values.abs().argsort(-1, descending=True)
    return torch.view_as_real(values.gather(-1, order)).double().cpu().numpy()
