"""How fast a run goes and how long it still takes: the clock of training, and the reports made for progress."""

from __future__ import annotations

import math
import time

from elman.training.options import TrainingOptions
from elman.training.progress import Report
from elman.training.state import Position

SMOOTHING = 0.05


class Pace:
    """The clock counts seconds of training across resumes, from `seconds`."""

    def __init__(self, options: TrainingOptions, unit: str, seconds: float) -> None:
        self._options, self._unit = options, unit
        self._zero = time.perf_counter() - seconds
        self._began = seconds
        self._done: float | None = None  # the share of the run that this process found done
        self._units, self._paused = 0, 0.0
        self._loss = self._norm = math.nan
        self.memory: int | None = None
        """Steps that the network remembered when last looked at."""

    def now(self) -> float:
        """Seconds of training so far."""
        return time.perf_counter() - self._zero

    def begin(self, done: float) -> None:
        """An epoch begins, or goes on, when so much of the run is done."""
        self._done = done if self._done is None else self._done

    def step(self, loss: float, units: int, norm: float) -> None:
        """A step was done."""
        self._units, self._norm = self._units + units, norm
        self._loss = loss if math.isnan(self._loss) else self._loss + SMOOTHING * (loss - self._loss)

    def pause(self, seconds: float) -> None:
        """So long was spent on other things than steps: validation, checkpoints."""
        self._paused += seconds

    def report(self, at: Position, batches: int, rate: float, loss: float | None = None) -> Report:
        """How the run stands; `loss`: instead of the smoothed one."""
        options, seconds = self._options, self.now()
        here = seconds - self._began
        done = share_done(at, batches, options)
        before = done if self._done is None else self._done
        lefts = [here * (1.0 - done) / (done - before)] if done > before else []
        if options.max_seconds is not None:
            lefts.append(max(0.0, options.max_seconds - seconds))
            done = max(done, min(1.0, seconds / options.max_seconds))
        return Report(
            step=at.step,
            epoch=min(options.epochs, at.epoch + (at.batch > 0 or not at.step)),
            epochs=options.epochs,
            done=done,
            unit=self._unit,
            loss=self._loss if loss is None else loss,
            gradient_norm=self._norm,
            rate=rate,
            units_per_second=self._units / max(1e-9, here - self._paused),
            seconds=seconds,
            seconds_left=min(lefts) if lefts else None,
            memory=self.memory,
        )


def share_done(at: Position, batches: int, options: TrainingOptions) -> float:
    """The share of all epochs that is done, 0 to 1; `batches` in the epoch at hand."""
    return min(1.0, (at.epoch + at.batch / max(1, batches)) / options.epochs)
