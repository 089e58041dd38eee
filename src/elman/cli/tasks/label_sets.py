"""`label-sets` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from elman.cli import options
from elman.cli.options import RUN, Option
from elman.cli.sources import Reading
from elman.cli.tasks.task import Chosen, Task
from elman.data import Table, is_made
from elman.errors import DataError


class LabelSetTask(Task):
    """Sequences of sets of labels in; what comes next, or new sequences, out."""

    name = "label-sets"
    title = "model of label sets"
    about = "Learn which labels, any number of them, each step of a sequence has: the notes of music."
    sources = (
        ("DATA", "A file (.jsonl .npz, also .gz): a sequence of lists of labels in a line, or arrays of 0 and 1"),
    )
    reading = options.READING[:2]
    generating = (
        Option("start", "str | None", None, RUN, "Label sets: a file whose first sequence is gone on with"),
        Option("picture", "str | None", None, RUN, "Label sets: a PNG to draw the sequence into, as a piano roll"),
    )
    makes_with = ("length", "temperature", "seed")

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Table:
        """The table of the one source."""
        if is_made(sources[0]):
            raise DataError(f"{sources[0]} has no sets of labels; made data is for `elman train classify made:parity`")
        return reading.table(sources[0], part)

    def size(self, train: Table) -> str:
        """How many sequences."""
        return f"{len(train):,} sequences"

    def reads(self, estimator: Any) -> str:
        """Its labels."""
        return f"sets of {len(estimator.labels_):,} labels"

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Judge it, let it play."""
        judge = super().following(estimator, model, source, words)[0]
        return [judge, f"elman generate {model} --start {source} --length 100 --picture piece.png"]

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The labels of the step to come, and the probabilities of the likeliest."""
        for rows in model.predict_proba(self.read([source], reading, "test", model)):
            order = sorted(range(len(rows[-1])), key=lambda k: -rows[-1][k])
            chances = {model.classes_[k]: round(float(rows[-1][k]), 6) for k in order[:10]}
            yield {"labels": [model.classes_[k] for k in sorted(order) if rows[-1][k] >= 0.5], "probabilities": chances}

    def generate(self, model: Any, chosen: Chosen) -> None:
        """Print the sequence as one line of JSON, and draw it."""
        start: Any = []
        if chosen.get("start") is not None:
            table = self.read([chosen["start"]], Reading(), "test", model)
            start = table.column(model.input)[0]
        how = {name: chosen[name] for name in ("temperature", "seed") if name in chosen}
        steps = model.generate(start, chosen.get("length", 200), **how)
        if (picture := chosen.get("picture")) is not None:
            from elman.training.pictures.roll import draw_roll

            title = f"{len(steps) - len(start):,} steps, temperature {chosen.get('temperature', 1.0):g}"
            draw_roll(steps, model.classes_, len(start), title, picture)
        numbers = all(label.isdecimal() and label == str(int(label)) for label in model.classes_)
        print(json.dumps([[int(label) if numbers else label for label in step] for step in steps]))


TASK = LabelSetTask()
