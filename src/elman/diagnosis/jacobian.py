"""Step Jacobians J_t = ∂s_t/∂s_{t−1} along real data: their spectra at chosen places, and Lyapunov exponents by QR.

All states of a cell are one vector of N units. A Jacobian is made one place at a time, by the vector-Jacobian products
of all unit vectors of that one step. The exponents (Benettin et al. 1980; Engelken, Wolf & Abbott 2023) need only its
products with K vectors. They are taken backwards, with J_tᵀ from the last step to the first: the product of all steps
and its transpose have the same singular values, and it is along this way that the gradient goes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elman.diagnosis.figures import Jacobian, Lyapunov
from elman.diagnosis.memory import pull, unit_vectors
from elman.diagnosis.recurrent import complex_pairs
from elman.diagnosis.trace import Trace

TURNING = 0.1
"""The share of the steps in which the vectors of Lyapunov exponents turn to their directions, uncounted."""


def step_jacobians(trace: Trace, places: Sequence[tuple[int, int]]) -> Tensor:
    """J (P, N, N) at (step, sequence) each."""
    step, found = trace.step(), []
    for t, b in places:
        states = torch.cat([state[b] for state in trace.before[t]], -1).detach()[None]
        unit = torch.eye(states.shape[-1], dtype=states.dtype, device=states.device)[None]
        found.append(pull(step, trace.x[t][b].detach()[None], states, unit)[0])
    return torch.stack(found)


def spectra(trace: Trace, places: Sequence[tuple[int, int]]) -> Jacobian:
    """Singular values and eigenvalues of the Jacobians at these places, (step, sequence) each."""
    values = step_jacobians(trace, places)
    singular = torch.linalg.svdvals(values).double().cpu().numpy()
    eigenvalues = complex_pairs(torch.linalg.eigvals(values))
    steps, sequences = (np.array(side, np.int64) for side in zip(*places))
    return Jacobian(steps, sequences, singular, eigenvalues, np.hypot(*np.moveaxis(eigenvalues[:, 0], -1, 0)))


def lyapunov(trace: Trace, rows: Tensor, count: int, generator: torch.Generator) -> Lyapunov:
    """The `count` largest exponents along these sequences, each over its own steps."""
    x, before, running = trace.stacked(rows)
    step, units = trace.step(), before.shape[-1]
    start = unit_vectors(min(count, units), units, before, generator)
    q = start.expand(len(rows), *start.shape)  # (R, K, N)
    turning = torch.floor(TURNING * running.sum(0)).cpu()  # (R,)
    sums = torch.zeros(q.shape[:2], dtype=torch.float64)
    seen = torch.zeros(len(rows), dtype=torch.float64)
    for t in reversed(trace.chain):
        turned, r = torch.linalg.qr(pull(step, x[t], before[t], q).mT)
        here = running[t]
        q = torch.where(here[:, None, None], turned.mT, q)
        counted = here.cpu() & (seen >= turning)
        sums[counted] += r.diagonal(dim1=-2, dim2=-1).abs().log().double().cpu()[counted]
        seen += here.cpu()
    steps = seen - turning
    exponents = (sums / steps[:, None])[steps > 0]
    if not len(exponents):
        exponents = sums.new_full((1, len(sums[0])), torch.nan)
    mean = exponents.mean(0)
    order = mean.argsort(descending=True)
    deviation = exponents.std(0, correction=0)
    return Lyapunov(mean[order].numpy(), deviation[order].numpy(), int(steps.max()))
