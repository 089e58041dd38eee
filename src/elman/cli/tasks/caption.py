"""`caption` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elman.cli import options
from elman.cli.options import TOKENS
from elman.cli.sources import Reading
from elman.cli.tasks.task import PICTURE, Chosen, Task
from elman.cli.tasks.transduce import N_BEST, SEARCH, searching
from elman.data import Table, is_made

KINDS = {
    "vector": "vectors of {0:,} features",
    "grid": "grids of {shape} features",
    "frames": "sequences of {0:,} features",
    "image": "pictures of {shape}",
    "clip": "clips of {shape}",
}


class CaptionTask(Task):
    """Pictures, clips or features in, a text of each out."""

    name = "caption"
    title = "captioner"
    about = "Learn to say what is in pictures, clips, or features of them."
    sources = (
        ("DATA", "A list (.tsv .csv .jsonl) of PNG or JPEG files with captions, an .npz of arrays, or made:scenes"),
    )
    reading = (*options.READING, options.MADE[1])
    judging = SEARCH
    using = (*SEARCH, N_BEST, PICTURE)

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Table:
        """The table of pictures; files are opened when the model reads them."""
        (name,) = sources
        if is_made(name):
            return reading.pictures(name, part, model.input, model.target)
        from elman.data.images import image_table

        columns = None if reading.columns is None else [column.strip() for column in reading.columns.split(",")]
        return image_table(
            name, model.input, model.target, columns=columns, encoding=reading.encoding, errors=reading.errors
        )

    def size(self, train: Table) -> str:
        """How many pictures."""
        return f"{len(train):,} pictures"

    def reads(self, estimator: Any) -> str:
        """What it looks at, and its tokens."""
        view, side = estimator.view_, estimator.target_
        kind = KINDS[view.kind].format(*view.shape, shape=" x ".join(map(str, view.shape)))
        return f"{kind}, writes {TOKENS[side.level]} ({len(side.vocabulary):,} known)"

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Judge it; look at what it says."""
        judge, predict = super().following(estimator, model, source, words)
        return [judge, f"{predict} --picture captions.png" if estimator.view_.drawn else predict]

    def evaluate(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Mapping[str, float]:
        """The figures, by the search that was chosen."""
        return super().evaluate(searching(model, chosen), source, reading, chosen)

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The caption of each record; with --n-best, several; with --picture, a picture of the first ones."""
        reading.require_made([source])
        table, n_best = self.read([source], reading, "test", model), chosen.get("n_best", 1)
        every = searching(model, chosen).outputs(table, n_best)
        if chosen.get("picture") is not None:
            model.picture(table, chosen["picture"])
        for entry, outputs in zip(table.column(model.input), every):
            record: dict[str, Any] = {model.input: entry} if isinstance(entry, str) else {}
            record |= {model.target: outputs[0].text, "log_probability": outputs[0].log_probability}
            if n_best > 1:
                record["outputs"] = [one._asdict() for one in outputs]
            yield record


TASK = CaptionTask()
