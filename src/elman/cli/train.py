"""`elman train TASK`: from the user's files to a model file, with a run's folder beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elman.cli import report
from elman.cli.options import estimator_values
from elman.cli.runs import Place, Resumable
from elman.cli.tasks import Data, Task
from elman.errors import OptionError
from elman.models import TASKS as ESTIMATORS
from elman.models.estimator import Estimator
from elman.training.allocator import keep_large_blocks
from elman.training.options import Summary
from elman.training.progress import Progress, Report


def train(task: Task, sources: Sequence[str], chosen: Mapping[str, Any]) -> None:
    """Run one training command with the options that were chosen."""
    estimator: Any = ESTIMATORS[task.name](**estimator_values(task.name, chosen))
    estimator.check()
    set_machine(chosen.get("threads"))
    place = Place(chosen.get("out") or f"{task.name}.elman")
    data = task.data(sources, chosen, estimator)
    place.prepare(resume=bool(chosen.get("resume")), overwrite=bool(chosen.get("overwrite")))
    progress = Shown(Progress.auto(quiet=bool(chosen.get("quiet"))), estimator, place, data)
    try:
        estimator.fit(
            data.train, valid=data.valid, folder=place.run, resume=bool(chosen.get("resume")), progress=progress
        )
    except KeyboardInterrupt:
        if place.resumable:
            raise Resumable from None
        raise
    finally:
        place.failed()
    estimator.save(place.model)
    test = None if data.test is None else estimator.evaluate(data.test)
    print(f"{report.trained(estimator, place, data, test)}\n\n{report.following(estimator, place, data)}")


def set_machine(threads: int | None) -> None:
    """How many processor threads torch uses (None: its own choice); large blocks of memory are kept between steps."""
    keep_large_blocks()
    if threads is not None:
        import torch

        if not 1 <= threads <= 1024:
            raise OptionError(f"--threads must be from 1 to 1024, not {threads}")
        torch.set_num_threads(threads)


class Shown(Progress):
    """Progress that first says what was chosen, and tells the place when training is under way."""

    def __init__(self, inner: Progress, estimator: Estimator, place: Place, data: Data) -> None:
        self._inner, self._estimator, self._place, self._data = inner, estimator, place, data
        self.seconds = inner.seconds

    def start(self, epochs: int) -> None:
        """Training begins."""
        if self._data.test is not None:  # what could not be judged is refused now, before hours are spent
            self._estimator.to_judge(self._data.test)
        self._place.started()
        self._inner.note(report.chosen(self._estimator, self._data))
        self._inner.start(epochs)

    def step(self, report: Report) -> None:
        """Some steps are done."""
        self._inner.step(report)

    def validated(self, report: Report, figures: Mapping[str, float], best: bool) -> None:
        """The model was validated."""
        self._inner.validated(report, figures, best)

    def note(self, text: str) -> None:
        """Something worth one line."""
        self._inner.note(text)

    def stop(self, summary: Summary | None) -> None:
        """Training is over."""
        self._inner.stop(summary)
