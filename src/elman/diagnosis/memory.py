"""Effective memory: how far back the output of a layer still hangs on its states, by products of step Jacobians.

Vectors at the output of chosen steps are pulled back through one step after the other, J_tᵀ·v, all ends together, so
that neither a Jacobian nor a product of Jacobians is ever made. With unit vectors of every output unit the Frobenius
norm is exact; with K random orthonormal ones its square is estimated without bias, as n/K times the sum of squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elman.diagnosis.figures import Floats, Memory
from elman.diagnosis.trace import Step, Trace

FADED = 0.01


def memory(trace: Trace, rows: Tensor, ends: Sequence[int], vectors: int, generator: torch.Generator) -> Memory:
    """The memory of one layer and direction. rows: the sequences to look at; ends: places in the order of the
    recursion at which the output is asked what it remembers; vectors: how many for each."""
    squares = pulled(trace, rows, ends, vectors, generator)  # (E, T, R, K)
    gains = np.sqrt(squares.mean(-1))
    there = ~np.isnan(gains)
    count = there.sum((0, 2))
    gain = np.divide(np.where(there, gains, 0).sum((0, 2)), count, out=np.full(len(count), np.nan), where=count > 0)
    whole = squares.shape[-1] == trace.part.state_sizes[0]
    error = np.zeros_like(gain) if whole else drawn_error(np.where(np.isnan(squares), 0, squares).sum((0, 2)))
    steps, lasts = effective(gain)
    return Memory(gain, np.where(np.isnan(gain), np.nan, error), steps, lasts, rate(gain))


def effective(gain: Floats) -> tuple[int, bool]:
    """(the largest lag up to which the gain stays above 1 % of the first, whether the data ends before it falls)."""
    known = gain[~np.isnan(gain)]
    below = np.flatnonzero(~(known > FADED * known[0]))
    return (int(below[0]) - 1, False) if len(below) else (len(known) - 1, True)


def rate(gain: Floats) -> float:
    """The factor per step of a straight line through log(gain); 0 where nothing comes through a step."""
    lags = np.flatnonzero(np.isfinite(gain) & (gain > np.finfo(float).tiny))
    if len(lags) < 2:
        return 0.0 if len(gain) > 1 else float("nan")
    return float(np.exp(np.polyfit(lags, np.log(gain[lags]), 1)[0]))


def drawn_error(squares: Floats) -> Floats:
    """(..., K) sums of squares by vector -> the standard error of the root of their mean, as its share."""
    count = squares.shape[-1]
    if count < 2:
        return np.full(squares.shape[:-1], np.nan)
    mean = squares.mean(-1)
    deviation = squares.std(-1, ddof=1) / np.sqrt(count)
    share: Floats = np.divide(deviation, 2 * mean, out=np.zeros_like(mean), where=mean > 0)
    return share


def unit_vectors(count: int, units: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """(K, units): all unit vectors where `count` reaches, else random orthonormal ones."""
    if count >= units:
        return torch.eye(units, dtype=like.dtype, device=like.device)
    drawn = torch.randn(units, count, dtype=torch.float64, generator=generator)
    rows: Tensor = torch.linalg.qr(drawn).Q.T
    return rows.to(like)


def pulled(trace: Trace, rows: Tensor, ends: Sequence[int], vectors: int, generator: torch.Generator) -> Floats:
    """‖(∂h_t/∂s_{t−k})ᵀ·v‖² for each end t, lag k, sequence and vector v, (E, T, R, K); NaN where there is no step."""
    x, before, running = trace.stacked(rows)
    step, chain = trace.step(), trace.chain
    basis = unit_vectors(vectors, trace.part.state_sizes[0], before, generator)  # (K, H)
    squares = torch.full((len(ends), len(chain), len(rows), len(basis)), torch.nan, dtype=torch.float64)
    start = torch.nn.functional.pad(basis, (0, before.shape[-1] - basis.shape[-1]))  # the output is the first state
    start = start.expand(len(rows), *start.shape)
    order = sorted(range(len(ends)), key=lambda e: -ends[e])
    active = start.new_zeros(len(rows), 0, start.shape[-1])  # (R, ends so far · K, N)
    opened: list[int] = []
    for place in range(max(ends), -1, -1):
        while len(opened) < len(order) and ends[order[len(opened)]] == place:
            opened.append(order[len(opened)])
            active = torch.cat([active, start], 1)
        t = chain[place]
        here = running[t]  # (R,)
        norms = active.square().sum(-1).view(len(rows), len(opened), -1).double().cpu()
        for number, end in enumerate(opened):
            valid = (here & running[chain[ends[end]]]).cpu()
            squares[end, ends[end] - place, valid] = norms[valid, number]
        if place:
            active = torch.where(here[:, None, None], pull(step, x[t], before[t], active), active)
    return squares.numpy()


def pull(step: Step, x: Tensor, states: Tensor, vectors: Tensor) -> Tensor:
    """J_tᵀ·v for x (R, I), states (R, N) and vectors (R, M, N)."""
    back = torch.func.vjp(lambda s: step(x, s), states)[1]
    found: Tensor = torch.vmap(lambda v: back(v)[0], in_dims=1, out_dims=1)(vectors)
    return found
