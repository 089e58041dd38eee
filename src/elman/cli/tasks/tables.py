"""What tasks share that learn from a table with a column of inputs and one of labels."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, ClassVar

from elman import data
from elman.cli.sources import Reading, check_made
from elman.cli.tasks.task import Task
from elman.data import Table, is_made

MADE_LENGTH = 1000
"""A rule that was learnt on short made sequences shows on long ones."""


class TableTask(Task):
    """Learns from one table."""

    unit: ClassVar[str]
    words: ClassVar[bool] = False
    """True where an input is a list of words, so that plain lines are cut into words and signs."""

    in_pieces: ClassVar[bool] = False
    """True where a large file can be learnt from without holding it in memory."""

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Any:
        """The table of the one source; one to learn from that is large, in pieces."""
        reading = reading.validation() if part == "valid" else reading
        check_made(sources[0], self.name)
        return reading.pieces(sources[0]) if part == "train" and self.in_pieces else reading.table(sources[0], part)

    def inputs(self, source: str, reading: Reading, model: Any) -> Table:
        """A table to predict from: plain lines come under the column's name that the model reads."""
        reading.require_made([source])
        table: Table = self.read([source], reading, "test", model)
        column = model.input
        if table.names != ["text"] or (column == "text" and not self.words):
            return table
        texts: Sequence[Any] = table.columns["text"]
        lines = [data.tokenize(str(text), "word") for text in texts] if self.words else list(texts)
        return Table(table.source, {column: lines}, table.lines, table.unit)

    def size(self, train: Any) -> str:
        """How many records, or bytes."""
        if not isinstance(train, Table):
            return f"{train.size:,} bytes, read in pieces"
        return f"{len(train):,} {self.unit}"

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Judge it; and predict, from a line of text where it reads text."""
        words = f" --length {MADE_LENGTH}" if is_made(shlex.split(source)[0]) else words
        text = getattr(estimator, "level_", None) != "series"
        judge, predict = super().following(estimator, model, source, words)
        return [judge, f"echo 'The dog barks.' | elman predict {model} -" if text else predict]
