"""`regress` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elman.cli.options import TOKENS
from elman.cli.sources import Reading
from elman.cli.tasks.tables import TableTask
from elman.cli.tasks.task import Chosen


class RegressTask(TableTask):
    """A table of sequences in, a number each out."""

    name = "regress"
    title = "regressor of sequences"
    about = "Learn one number for a whole sequence: series of numbers, or texts."
    unit = "sequences"
    in_pieces = True

    def reads(self, estimator: Any) -> str:
        """Its tokens."""
        known = "" if estimator.vocabulary_ is None else f" ({len(estimator.vocabulary_):,} known)"
        return f"{TOKENS[estimator.level_]}{known}, gives a number"

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The number of every sequence."""
        for number in model.predict(self.inputs(source, reading, model)):
            yield {model.target: float(number)}


TASK = RegressTask()
