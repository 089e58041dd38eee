"""One row of a table: elman's layer and its rivals on one task, compared first, then timed in turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import torch

from elman.bench.peak import peak
from elman.bench.rivals import RIVALS
from elman.bench.task import Rival, Task, disagreement
from elman.bench.turns import Spread, Times, ratio, spread, turns
from elman.nn import Recurrent, explain

OWN, PEAK, DISAGREES = "elman", "peak", "disagrees"


@dataclass(frozen=True)
class Measured:
    """What came out: the seconds of every turn of elman, of its rivals and of the processor's peak."""

    task: Task
    threads: int
    backend: str
    """elman's, that ran."""
    times: Times
    peak: float
    """Operations a second that the processor did at most, on as many threads."""
    missing: dict[str, str]
    """Why a rival was not timed: not installed, or results that disagree."""

    @property
    def milliseconds(self) -> Spread | None:
        """Of elman's pass; None where it was not timed."""
        return spread(self.times[OWN]).times(1e3) if OWN in self.times else None

    @property
    def gflops(self) -> float | None:
        """Billions of operations a second (see `elman.bench.work.flops`)."""
        return self.task.flops / median(self.times[OWN]) / 1e9 if OWN in self.times else None

    @property
    def share(self) -> float | None:
        """Of the processor's peak on as many threads: the fastest turn of it so far in this process."""
        return None if self.gflops is None or not self.peak else 1e9 * self.gflops / self.peak

    def against(self, *names: str) -> float | None:
        """How many times as fast elman is as the rival, the fastest of several; above 1, elman is faster."""
        found = [ratio(self.times, name, OWN) for name in names if name in self.times and OWN in self.times]
        return min(found, default=None)


def measure(
    task: Task, threads: int, repeats: int, *, backend: str = "auto", rivals: Iterable[str] = tuple(RIVALS)
) -> Measured:
    """elman's layer on the back end asked for and the rivals, on `threads` threads each.

    Every result is compared with the same in float64 first; one that disagrees is reported and not timed. Raises
    OptionError where the back end cannot run the cell.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        layer = task.layer(backend)
        made: dict[str, Rival | str] = {OWN: task.own_rival(layer)}
        made |= {name: RIVALS[name](task, threads) for name in rivals}
        missing, runs = {}, {}
        for name, rival in made.items():
            why = rival if isinstance(rival, str) else disagreement(task, rival)
            if isinstance(rival, str) or why:
                missing[name] = why if isinstance(rival, str) else f"{DISAGREES}: {why}"
            else:
                runs[name] = rival.run
        top = peak(threads)
        if top is not None:
            runs[PEAK] = top
        times = turns(runs, repeats) if OWN in runs else {}
        return Measured(task, threads, ran_by(layer, task), times, top.rate if top else 0.0, missing)
    finally:
        torch.set_num_threads(before)


def ran_by(layer: Recurrent, task: Task) -> str:
    """The back end that runs the layer on this task, as `elman.explain` names it."""
    return explain(layer, task.tensors()[0]).partition(": ")[2].partition(" ")[0]
