"""What the verbs read: files, standard input and made data, as the estimators take them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elman.data import Table, is_made, make, read_table, read_text, tokenize
from elman.errors import DataError, OptionError

LENGTH, TRAIN_COUNT, TEST_COUNT = 20, 10_000, 1_000
MADE_TASKS = {"made:parity": "classify", "made:modular": "classify", "made:agreement": "classify", "made:copy": "tag"}
PARTS = ("train", "valid", "test")
"""Each has random numbers of its own, so that made data to learn from, to validate and to judge by never coincide."""


@dataclass(frozen=True)
class Reading:
    """How files are read, and made data made."""

    encoding: str = "utf-8"
    errors: str = "strict"
    columns: str | None = None
    length: str | None = None
    count: int | None = None
    seed: int = 0

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> Reading:
        """From options by name; others are left out, and so is None."""
        return cls(**{n: chosen[n] for n in cls.__dataclass_fields__ if chosen.get(n) is not None})

    def text(self, source: str) -> str:
        """A file as one text."""
        if is_made(source):
            tasks = " or ".join(f"`elman train {task} {name}`" for name, task in list(MADE_TASKS.items())[:1])
            raise DataError(f"{source} is no text to learn a language from; made data is for {tasks} and the like")
        return read_text(source, encoding=self.encoding, errors=self.errors)

    def table(self, source: str, part: str, task: str | None = None) -> Table:
        """A file, a folder, standard input ('-') or made data as a table."""
        if is_made(source):
            return self._made(source, part, task)
        columns = None if self.columns is None else [name.strip() for name in self.columns.split(",")]
        return read_table(source, columns=columns, encoding=self.encoding, errors=self.errors)

    def _made(self, source: str, part: str, task: str | None) -> Table:
        if self.columns is not None:
            raise OptionError(f"--columns is for CSV and TSV files, but {source} is made; leave it out")
        if source == "made:adding":
            raise DataError(
                "made:adding asks for a number, which elman has no task for yet; try made:parity or made:copy"
            )
        right = MADE_TASKS.get(source)
        if right and task and right != task:
            raise DataError(f"{source} is made for {right}, not for {task}; try `elman train {right} {source}`")
        count = self.count if self.count is not None else TRAIN_COUNT if part == "train" else TEST_COUNT
        return make(source, count, self._lengths(source, part), len(PARTS) * self.seed + PARTS.index(part))

    def validation(self) -> Reading:
        """The same, with a tenth as many made sequences."""
        return Reading(**{**vars(self), "count": max(1, (self.count or TRAIN_COUNT) // 10)})

    def _lengths(self, source: str, part: str) -> int | tuple[int, int]:
        """One number N is exactly N to judge by, and 1 to N to learn a rule from, which shows on short sequences."""
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", self.length or str(LENGTH), re.ASCII)
        if found is None:
            raise OptionError(f"--length must be a number such as 20, or two as 1-20, not {self.length!r}")
        low, high = int(found[1]), found[2]
        if high is not None:
            return low, int(high)
        return (min(1, low), low) if part != "test" and MADE_TASKS.get(source) == "classify" else low


def plain_lines(table: Table) -> bool:
    """True for a table that was made of plain lines or documents, which have a text and no other column that counts."""
    return table.names == ["text"]


def as_inputs(table: Table, column: str, *, words: bool = False) -> Table:
    """The table with plain lines under the column's name that the model reads; `words`: cut into words and signs."""
    if not plain_lines(table) or (column == "text" and not words):
        return table
    texts: Sequence[Any] = table.columns["text"]
    lines = [tokenize(str(text), "word") for text in texts] if words else list(texts)
    return Table(table.source, {column: lines}, table.lines, table.unit)


def require_made(reading: Reading, sources: Sequence[str | None]) -> None:
    """Raises OptionError where --length or --count is given and no source is made."""
    if not any(source is not None and is_made(source) for source in sources):
        for name, given in (("--length", reading.length), ("--count", reading.count)):
            if given is not None:
                raise OptionError(
                    f"{name} is for made data such as made:parity, but {sources[0]} is a file; leave it out"
                )


def require_known(train: Table, other: Table, column: str) -> None:
    """Raises DataError for a label (or tag) of `other` that `train` lacks, before hours are spent on training."""
    known = {str(label) for entry in train.column(column) for label in _labels(entry)}
    for place, entry in enumerate(other.column(column)):
        for label in _labels(entry):
            if str(label) not in known:
                raise DataError(
                    f"{other.place(place)}: unknown label {str(label)[:60]!r}; {train.source} does not have it"
                )


def _labels(entry: Any) -> Sequence[Any]:
    return entry if isinstance(entry, list) else [entry]


class Data:
    """The data of a training command: what to learn from, to validate by (None: a held-out part) and to judge by."""

    def __init__(self, task: str, sources: Sequence[str], chosen: Mapping[str, Any], estimator: Any) -> None:
        self.names, self.task = list(sources), task
        self.valid_name, self.test_name = chosen.get("valid"), chosen.get("test")
        reading = Reading.of(chosen)
        given = {name: chosen.get(name) for name in ("columns", "encoding", "errors")}
        self.words = "".join(f" --{name} {shlex.quote(text)}" for name, text in given.items() if text)
        """The options that other commands need to read such files."""
        self.train: Any
        self.valid: Any = None
        self.test: Any = None
        if task == "language-model":
            if not sources:
                raise OptionError(
                    "a text to learn from is missing; name one or more files: elman train language-model FILE..."
                )
            self.train = [reading.text(source) for source in sources]
            self.valid, self.test = (n if n is None else [reading.text(n)] for n in (self.valid_name, self.test_name))
            self.size = f"{sum(map(len, self.train)):,} characters"
            return
        self.train = reading.table(sources[0], "train", task)
        if self.valid_name is None and is_made(sources[0]) and estimator.valid_fraction:
            self.valid_name = sources[0]
        require_made(reading, [sources[0], self.valid_name, self.test_name])
        if self.valid_name is not None:
            self.valid = reading.validation().table(self.valid_name, "valid", task)
        if self.test_name is not None:
            self.test = reading.table(self.test_name, "test", task)
            require_known(self.train, self.test, self._target(estimator))
        self.size = f"{len(self.train):,} {'sequences' if task == 'classify' else 'sentences'}"

    def _target(self, estimator: Any) -> str:
        return estimator.target or ("upos" if "upos" in self.train.names else "tags")

    def held_out(self, estimator: Any) -> str:
        """What decides which weights are kept, in words."""
        if self.valid_name is not None:
            made = f"; {len(self.valid):,} made of their own" if is_made(self.valid_name) else ""
            return f"{self.valid_name}{made}"
        if not estimator.valid_fraction:
            return "nothing (--valid-fraction 0): the last weights are kept"
        kind = "last" if self.task == "language-model" else "random"
        article = "the" if kind == "last" else "a"
        return f"{article} {kind} {100 * estimator.valid_fraction:g} % of the data, held out"
