"""Interleaved timing: rivals take turns, so that a change of the machine's load or frequency meets all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

Run = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of a call, by rival and turn."""


class Spread(NamedTuple):
    """The median of some values and their quartiles."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> Spread:
        """In another unit."""
        return Spread(*(factor * value for value in self))


def spread(values: Sequence[float]) -> Spread:
    """The quartiles of one value or more."""
    return Spread(*(float(q) for q in np.percentile(values, (25, 50, 75))))


def ratio(times: Times, rival: str, own: str) -> float:
    """How many times as long as `own` the rival takes: the median over the turns, each on the same machine."""
    return median(r / o for r, o in zip(times[rival], times[own], strict=True))


def turns(rivals: Mapping[str, Run], repeats: int, *, least: float = 0.05) -> Times:
    """Seconds of a call of each rival in each of `repeats` turns, after a warm-up that is not counted.

    In its turn a rival is called as often as fills `least` seconds, which is not counted, and as often again: after a
    rest threads must wake, which makes the first calls slower than those of a training that goes on.
    """
    calls = {name: _calls(run, least) for name, run in rivals.items()}
    times: Times = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, run in rivals.items():
            settle()
            _seconds(run, calls[name])
            times[name].append(_seconds(run, calls[name]))
    return times


def _seconds(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _calls(run: Run, least: float) -> int:
    first = _seconds(run, 1)  # compiles, allocates, starts threads
    return 1 if first > 50 * least else max(1, math.ceil(least / _seconds(run, 1)))


def settle(limit: float = 0.5) -> None:
    """Wait, at most `limit` seconds, until no thread of this process spins: onnxruntime's were seen to spin for 38 ms
    after a run, OpenMP's for 11 ms, on the cores that the next rival needs. The system counts what other cores do by
    ticks of some milliseconds: a shorter look sees nothing."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        wall, busy = time.perf_counter(), time.process_time()
        time.sleep(0.02)
        if time.process_time() - busy < 0.2 * (time.perf_counter() - wall):
            return
