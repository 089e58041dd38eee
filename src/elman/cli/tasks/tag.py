"""`tag` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elman.cli.sources import Reading
from elman.cli.tasks.tables import TableTask
from elman.cli.tasks.task import Chosen
from elman.data import Table


class TagTask(TableTask):
    """A table of sentences in, a tag for every word out."""

    name = "tag"
    title = "tagger of words"
    about = "Learn one label for every word: parts of speech, named entities."
    unit = "sentences"
    words = True

    def target(self, train: Table, estimator: Any) -> str:
        """The column of tags."""
        return estimator.target or ("upos" if "upos" in train.names else "tags")

    def reads(self, estimator: Any) -> str:
        """Its words, letters and tags."""
        words, letters, tags = (f"{len(v):,}" for v in (estimator.words_, estimator.letters_, estimator.tags_))
        return f"{words} words and {letters} letters, gives {tags} tags"

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The words of a sentence and their tags."""
        table = self.inputs(source, reading, model)
        for tokens, tags in zip(table.column(model.input), model.predict(table)):
            yield {"tokens": tokens, "tags": tags}


TASK = TagTask()
