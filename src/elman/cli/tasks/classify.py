"""`classify` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elman.cli.options import RUN, TOKENS, Option
from elman.cli.sources import Reading
from elman.cli.tasks.tables import TableTask
from elman.cli.tasks.task import Chosen


class ClassifyTask(TableTask):
    """A table of sequences in, a label each out."""

    name = "classify"
    title = "classifier of sequences"
    about = "Learn one label for a whole sequence: texts, or series of numbers."
    unit = "sequences"
    in_pieces = True
    using = (Option("probabilities", "bool", False, RUN, "A classifier tells the probability of every label"),)

    def reads(self, estimator: Any) -> str:
        """Its tokens and labels."""
        known = "" if estimator.vocabulary_ is None else f" ({len(estimator.vocabulary_):,} known)"
        return f"{TOKENS[estimator.level_]}{known}, gives {len(estimator.labels_):,} labels"

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The likeliest label and its probability; with --probabilities, of every label."""
        for row in model.predict_proba(self.inputs(source, reading, model)):
            best = int(row.argmax())
            record: dict[str, Any] = {"label": model.classes_[best], "probability": round(float(row[best]), 6)}
            if chosen.get("probabilities"):
                record["probabilities"] = {name: round(float(p), 6) for name, p in zip(model.classes_, row)}
            yield record


TASK = ClassifyTask()
