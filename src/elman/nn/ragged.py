"""Sequences of different lengths in one batch, without work on padding.

The batch is sorted by length, longest first; between two neighbouring lengths the set of running sequences does not
change, so the batch is run as a few dense segments, each narrower than the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError

Dense = Callable[[Tensor, Sequence[Tensor]], tuple[list[Tensor], list[Tensor]]]


def checked_lengths(lengths: Any, steps: int, batch: int) -> list[int]:
    """`lengths` (a tensor, array or list of any integer type, on any device) as a list. DataError where they cannot be."""
    array = lengths.detach().cpu().numpy() if isinstance(lengths, Tensor) else np.asarray(lengths)
    if array.dtype.kind not in "iu" and array.size:
        raise DataError(f"lengths must be whole numbers, not {array.dtype}; convert them with .long()")
    if array.shape != (batch,):
        raise DataError(f"lengths must have one entry a sequence, shape ({batch},), not {tuple(array.shape)}")
    found = [int(n) for n in array]
    wrong = next((n for n in found if not 0 <= n <= steps), None)
    if wrong is not None:
        raise DataError(
            f"a length of {wrong} does not fit into an input of {steps} steps; lengths go from 0 to {steps}"
        )
    return found


def reverse(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """Each sequence of x (T, B, ...) turned around within its length; what is beyond stays where it is."""
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    ends = torch.tensor(lengths, device=x.device)[None, :]
    index = torch.where(steps < ends, ends - 1 - steps, steps)  # (T, B)
    return x.gather(0, index.reshape(*index.shape, *(1,) * (x.dim() - 2)).expand_as(x))


def run(dense: Dense, x: Tensor, states: Sequence[Tensor], lengths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """`dense` over the true steps of each sequence of x (T, B, I): (sequences with zeros beyond, final states)."""
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
    index = torch.tensor(order, device=x.device, dtype=torch.long)
    back = torch.empty_like(index)
    back[index] = torch.arange(len(order), device=x.device)
    x = x.index_select(1, index)
    current = [s.index_select(0, index) for s in states]
    ended: list[list[Tensor]] = [[] for _ in states]  # final states, shortest sequences first
    segments: list[list[Tensor]] = []
    start, active = 0, len(order)
    for stop in sorted(set(lengths)):
        if stop > start:
            parts, current = dense(x[start:stop, :active], current)
            segments.append([torch.nn.functional.pad(p, (0, 0, 0, len(order) - active)) for p in parts])
            start = stop
        running = sum(n > stop for n in lengths)
        for done, state in zip(ended, current):
            done.append(state[running:])
        current = [s[:running] for s in current]
        active = running
    final = [torch.cat(done[::-1]).index_select(0, back) for done in ended]
    if not segments:  # no sequence has a step: one pass over nothing tells the sizes
        parts, _ = dense(x.new_zeros(1, *x.shape[1:]), states)
        return [p.new_zeros(x.shape[0], *p.shape[1:]) for p in parts], list(states)
    sequences = []
    for parts in zip(*segments):
        joined = torch.cat(parts).index_select(1, back)
        sequences.append(torch.nn.functional.pad(joined, (0, 0, 0, 0, 0, x.shape[0] - start)))
    return sequences, final
