"""Sensitivity: S[t, s] = ‖∂y_t/∂x_s‖_F from the input of a recurrent network to its output, through all its layers.

For each chosen t and each of K vectors v at the output, one backward pass gives vᵀ·∂y_t/∂x_s for every s. The sequences
stand in the batch once for each vector, so that the layers' own kernels do the work. With all unit vectors of the
output S is exact; with K random orthonormal ones its square is estimated without bias, as n/K times the sum of squares.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elman.diagnosis.figures import Floats, Sensitivity
from elman.diagnosis.memory import FADED, drawn_error, unit_vectors
from elman.diagnosis.trace import Recording


def sensitivity(
    recording: Recording, rows: Tensor, ends: Sequence[int], vectors: int, generator: torch.Generator
) -> Sensitivity:
    """The map of a network at the steps `ends`. rows: the sequences to look at."""
    layer = copy.deepcopy(recording.layer).to(recording.dtype).eval().requires_grad_(False)
    layer.batch_first, traces = False, recording.traces
    x, _, running = traces[0].stacked(rows)
    first = [[state[rows].detach() for state in trace.before[trace.chain[0]]] for trace in traces]
    basis = unit_vectors(vectors, layer.output_size, x, generator)  # (K, D·H)
    copies, units = len(basis), layer.output_size
    own = x.repeat(1, copies, 1).requires_grad_()  # (T, K·R, I)
    lengths = running.sum(0).repeat(copies)
    output, _ = layer(own, tuple(tuple(s.repeat(copies, 1) for s in part) for part in first), lengths=lengths)
    weights = basis.repeat_interleave(len(rows), 0)  # (K·R, D·H)
    squares = torch.full((len(ends), len(x), copies, len(rows)), torch.nan, dtype=torch.float64)
    for number, t in enumerate(ends):
        (grad,) = torch.autograd.grad((output[t] * weights).sum(), own, retain_graph=True)
        squares[number] = grad.double().square().sum(-1).cpu().view(len(x), copies, -1)
    inside = running.cpu()[None] & running.cpu()[list(ends), None]  # (E, T, R)
    mean, error = _figures(squares.numpy(), inside.numpy(), units)
    return Sensitivity(np.array(ends, np.int64), mean, error, span(mean, ends))


def _figures(
    squares: Floats, inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], units: int
) -> tuple[Floats, Floats]:
    """(mean over the sequences of the norm, its error) of squares (E, T, K, R)."""
    there = inside[:, :, None]
    norms = np.sqrt(units * squares.mean(2))
    count = inside.sum(-1)
    mean = np.divide(np.where(inside, norms, 0).sum(-1), count, out=np.full(count.shape, np.nan), where=count > 0)
    if squares.shape[2] == units:
        return mean, np.where(np.isnan(mean), np.nan, 0.0)
    error = drawn_error(np.where(there, squares, 0).sum(-1))
    return mean, np.where(np.isnan(mean), np.nan, error)


def span(map: Floats, ends: Sequence[int]) -> int:
    """The largest lag t − s whose mean is above 1 % of the largest mean of all lags t − s ≥ 0."""
    lags = np.array(ends)[:, None] - np.arange(map.shape[1])
    use = (lags >= 0) & ~np.isnan(map)
    if not use.any():
        return 0
    count = np.bincount(lags[use])
    mean = np.bincount(lags[use], map[use]) / np.maximum(count, 1)
    seen = np.flatnonzero(mean > FADED * mean.max())
    return int(seen[-1]) if len(seen) else 0
