"""Sequences of different lengths in one batch, without work on padding.

The batch is sorted by length, longest first; between two neighbouring lengths the set of running sequences does not
change, so the batch is run as a few dense segments, each narrower than the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError
from elman.nn.noise import Noise

Dense = Callable[[Tensor, Sequence[Tensor], Noise | None], tuple[list[Tensor], list[Tensor]]]


def checked_lengths(lengths: Any, steps: int, batch: int) -> list[int]:
    """`lengths` (a tensor, array or list of any integer type, on any device) as a list. DataError where that fails."""
    if isinstance(lengths, (list, tuple)) and all(type(n) is int for n in lengths):
        found, shape = list(lengths), (len(lengths),)  # torch.compile can follow this way
    else:
        array = _array(lengths)
        if array.dtype.kind not in "iu":
            raise DataError(f"lengths must be whole numbers, not {array.dtype}; convert them with .long()")
        found, shape = array.ravel().tolist(), array.shape
    if shape != (batch,):
        raise DataError(f"lengths must have one entry for each sequence, shape ({batch},), not {tuple(shape)}")
    wrong = next((n for n in found if not 0 <= n <= steps), None)
    if wrong is not None:
        raise DataError(f"a length of {wrong} does not fit an input of {steps} steps; lengths go from 0 to {steps}")
    return found


def _array(lengths: Any) -> np.ndarray[Any, Any]:
    try:
        if isinstance(lengths, Tensor):
            return lengths.detach().cpu().numpy()
        return np.asarray(lengths)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"lengths cannot be read as a row of whole numbers: {str(error).splitlines()[0]}") from None


def inside(lengths: Sequence[int], x: Tensor) -> Tensor:
    """Which steps of x (T, B, ...) belong to its sequences: booleans (T, B, 1)."""
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    return (steps < torch.tensor(lengths, device=x.device, dtype=torch.long))[..., None]


def reverse(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """Each sequence of x (T, B, ...) turned around within its length; what is beyond stays where it is."""
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    ends = torch.tensor(lengths, device=x.device, dtype=torch.long)[None, :]
    index = torch.where(steps < ends, ends - 1 - steps, steps)  # (T, B)
    return x.gather(0, index.reshape(*index.shape, *(1,) * (x.dim() - 2)).expand_as(x))


def run(
    dense: Dense,
    x: Tensor,
    states: Sequence[Tensor],
    lengths: Sequence[int],
    count: int,
    noise: Noise | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """`dense` over the true steps of each sequence of x (T, B, I): (sequences with zeros beyond, final states).

    count: how many sequences `dense` gives; each has the units of the state of its number. noise: a segment is told
    which rows of the batch it has, and from which step on.
    """
    steps, batch = x.shape[:2]
    if not any(lengths):
        return [s.new_zeros(steps, *s.shape) for s in states[:count]], list(states)
    order = sorted(range(batch), key=lambda b: -lengths[b])
    index = torch.tensor(order, device=x.device)
    back = torch.tensor(sorted(range(batch), key=order.__getitem__), device=x.device)
    stops = sorted({0, *lengths})
    widths = [after - before for before, after in pairwise(stops)]
    # Splitting once and not slicing segment by segment keeps the backward pass linear: each slice would fill a whole x.
    *parts, _ = torch.split(x.index_select(1, index), [*widths, steps - stops[-1]])
    current = [s.index_select(0, index) for s in states]
    ended: list[list[Tensor]] = [[] for _ in states]  # final states, shortest sequences first
    segments: list[list[Tensor]] = []
    for start, part in zip(stops, parts):
        running = sum(n > start for n in lengths)
        for done, state in zip(ended, current):
            done.append(state[running:])
        own = None if noise is None else noise.segment(index[:running], start)
        outputs, current = dense(part[:, :running], [s[:running] for s in current], own)
        segments.append([torch.nn.functional.pad(o, (0, 0, 0, batch - running)) for o in outputs])
    final = [torch.cat([state, *done[::-1]]).index_select(0, back) for done, state in zip(ended, current)]
    sequences = []
    for pieces in zip(*segments):
        joined = torch.cat(pieces).index_select(1, back)
        sequences.append(torch.nn.functional.pad(joined, (0, 0, 0, 0, 0, steps - stops[-1])))
    return sequences, final
