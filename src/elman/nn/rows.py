"""The rows of a batch as the kernels take them: sorted by length, without padding, in chunks and segments of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from elman.errors import OptionError

Longs = npt.NDArray[np.int64]
CHUNK = 512
"""Rows of a chunk: as many as make the products of the weights' gradients large."""
CheckpointEvery = int | Literal["auto"] | None


@dataclass(frozen=True)
class Segment:
    """Steps `start` to `stop`, cut into chunks at `bounds`, which count from `start`."""

    start: int
    stop: int
    bounds: Longs
    bounds_at: int
    """The address of `bounds`, which takes a microsecond to ask for."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch."""

    steps: int
    batch: int
    offsets: Longs
    """Rows before each step; one more than there are steps."""
    order: Longs | None
    """The sequences, longest first; None where all have the same length."""
    padded: int
    """Steps of the padded batch."""
    offsets_at: int
    segments: tuple[Segment, ...]
    """Between their ends the states are kept; one where no step is computed again."""

    @property
    def total(self) -> int:
        """How many rows there are."""
        return int(self.offsets[self.steps])

    def first(self, segment: Segment) -> int:
        """Rows before a segment."""
        return int(self.offsets[segment.start])

    def count(self, segment: Segment) -> int:
        """Rows of a segment."""
        return int(self.offsets[segment.stop] - self.offsets[segment.start])

    def going(self, segment: Segment, reverse: bool) -> int:
        """Rows of the step before a segment in the order of the recursion; 0 where there is none."""
        step = segment.stop if reverse else segment.start - 1
        return int(self.offsets[step + 1] - self.offsets[step]) if 0 <= step < self.steps else 0


def check_checkpoint_every(every: Any) -> None:
    """OptionError for what is no number of steps."""
    if every is not None and every != "auto" and (type(every) is not int or every < 1):
        raise OptionError(f'checkpoint_every must be a number of steps, 1 or more, "auto" or None, not {every!r}')


@lru_cache(maxsize=256)
def dense(steps: int, batch: int, every: CheckpointEvery = None) -> Rows:
    """Sequences of the same length."""
    return _rows(steps, batch, np.arange(steps + 1, dtype=np.int64) * batch, None, steps, every)


def ragged(steps: int, lengths: Sequence[int], every: CheckpointEvery = None) -> Rows:
    """Sequences of these lengths, of which the longest has a step, in a padded batch of so many steps."""
    given = np.asarray(lengths, np.int64)
    order = np.ascontiguousarray(np.argsort(-given, kind="stable"))
    ends = np.bincount(given, minlength=steps + 1)
    running = len(given) - ends.cumsum()[:-1]  # sequences longer than t
    offsets = np.concatenate([[0], running.cumsum()]).astype(np.int64)
    return _rows(int(given.max()), len(given), offsets, order, steps, every)


def _rows(steps: int, batch: int, offsets: Longs, order: Longs | None, padded: int, every: CheckpointEvery) -> Rows:
    bounds = [0]
    while bounds[-1] < steps:
        enough = int(np.searchsorted(offsets, offsets[bounds[-1]] + CHUNK, side="right")) - 1
        bounds.append(min(steps, max(bounds[-1] + 1, enough)))
    if every is None:
        ends = [0, steps]
    else:  # whole chunks, so that sums are added up in the same order as without
        wanted = math.isqrt(max(1, steps)) if every == "auto" else every
        ends = [0]
        for bound in bounds[1:]:
            if bound - ends[-1] >= wanted or bound == steps:
                ends.append(bound)
    all_bounds = np.array(bounds, np.int64)
    segments = []
    for a, b in pairwise(ends):
        own = all_bounds[(all_bounds >= a) & (all_bounds <= b)] - a
        segments.append(Segment(a, b, own, own.ctypes.data))
    return Rows(steps, batch, offsets, order, padded, offsets.ctypes.data, tuple(segments))
