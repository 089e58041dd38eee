"""What the verbs read: files, standard input and made data, as the estimators take them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elman import data
from elman.data import Table, is_made
from elman.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    from elman.data.long_text import LongText
    from elman.data.pieces import Pieces

LENGTH, TRAIN_COUNT, TEST_COUNT = 20, 10_000, 1_000
MADE_TASKS = {
    "made:parity": "classify", "made:modular": "classify", "made:agreement": "classify", "made:copy": "tag",
    "made:adding": "regress", "made:stories": "transduce",
}  # fmt: skip
PICTURES = {
    "made:scenes": (False, "never"), "made:clips": (True, "never"), "made:new-scenes": (False, "always"),
    "made:new-clips": (True, "always"),
}  # fmt: skip
"""Made pictures: whether they move, and whether they have the combinations of colour and shape that are kept apart."""
MADE_TASKS |= dict.fromkeys(PICTURES, "caption")
PARTS = ("train", "valid", "test")
"""Each has random numbers of its own, so that made data to learn from, to validate and to judge by never coincide."""


def check_made(source: str, task: str) -> None:
    """Raises DataError where `source` is made for another task."""
    right = MADE_TASKS.get(source, task)
    if right != task:
        raise DataError(f"{source} is made for {right}, not for {task}; try `elman train {right} {source}`")


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
        return data.read_text(source, encoding=self.encoding, errors=self.errors)

    def texts(self, sources: Sequence[str]) -> list[str] | LongText:
        """Texts to learn from: those that are large together, in pieces."""
        from elman.data.long_text import LongText

        return LongText.of(sources, self.encoding, self.errors) or [self.text(source) for source in sources]

    def table(self, source: str, part: str) -> Table:
        """A file, a folder, standard input ('-') or made data as a table."""
        if is_made(source):
            return self._made(source, part)
        return data.read_table(source, columns=self._names, encoding=self.encoding, errors=self.errors)

    def pieces(self, source: str) -> Table | Pieces:
        """The same to learn from: a large file in pieces."""
        from elman.data.pieces import Pieces, is_large

        if is_made(source) or not is_large(source):
            return self.table(source, "train")
        return Pieces(source, self._names, self.encoding, self.errors)

    @property
    def _names(self) -> list[str] | None:
        return None if self.columns is None else [name.strip() for name in self.columns.split(",")]

    def _made(self, source: str, part: str) -> Table:
        if self.columns is not None:
            raise OptionError(f"--columns is for CSV and TSV files, but {source} is made; leave it out")
        count, seed = self._amount(part)
        return data.make(source, count, self._lengths(source, part), seed)

    def _amount(self, part: str) -> tuple[int, int]:
        """How many records are made, and of which seed."""
        count = self.count if self.count is not None else TRAIN_COUNT if part == "train" else TEST_COUNT
        return count, len(PARTS) * self.seed + PARTS.index(part)

    def pictures(self, source: str, part: str, input: str, target: str) -> Table:
        """Made scenes or clips (PICTURES), with every right caption of each."""
        from elman.data.scenes import make_scenes

        if source not in PICTURES:
            raise DataError(f"{source} holds no pictures{did_you_mean(source, PICTURES)}")
        for name in ("columns", "length"):
            if getattr(self, name) is not None:
                raise OptionError(f"--{name} is not for made pictures; leave it out")
        clips, held_out = PICTURES[source]
        count, seed = (self.validation() if part == "valid" else self)._amount(part)
        made = make_scenes(count, seed, clips=clips, held_out=held_out)
        columns = {input: made.columns["clip" if clips else "image"], target: made.columns["references"]}
        return Table(source, columns, made.lines, made.unit)

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
        return (min(1, low), low) if part != "test" and MADE_TASKS.get(source) in ("classify", "transduce") else low

    def require_made(self, sources: Sequence[str | None]) -> None:
        """Raises OptionError where --length or --count is given and no source is made."""
        if not any(source is not None and is_made(source) for source in sources):
            for name, given in (("--length", self.length), ("--count", self.count)):
                if given is not None:
                    raise OptionError(
                        f"{name} is for made data such as made:parity, but {sources[0]} is a file; leave it out"
                    )
