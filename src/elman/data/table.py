"""A table: columns of equal length by name, and where each record stood in its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from elman.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Table:
    """Records as columns; `lines[i]` is the number of record i in the source, counted in `unit`s, for messages."""

    source: str
    columns: dict[str, list[Any]]
    lines: list[int]
    unit: Literal["line", "record"] = "line"
    parts: tuple[tuple[int, ...], ...] | None = None
    """Where each part of each record stood, where a record is put together from several."""

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if len(values) != len(self.lines):
                raise DataError(
                    f"{self.source}: column {name!r} has {len(values)} values for {len(self.lines)} records"
                )

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.columns)

    def column(self, name: str) -> list[Any]:
        """The values of one column; DataError when there is none of that name."""
        if name in self.columns:
            return self.columns[name]
        hint = did_you_mean(name, self.columns)
        shown = self.names[:20]
        rest = f" and {len(self.columns) - 20} more" if len(self.columns) > 20 else ""
        hint = hint if hint.startswith(" (did") else ""
        raise DataError(f"{self.source} has no column {name!r}{hint}; its columns are: {', '.join(shown)}{rest}")

    def place(self, index: int, part: int = 0) -> str:
        """Where record `index`, or a part of it, stands, for messages: "train.csv, line 7"."""
        own = () if self.parts is None else self.parts[index]
        return f"{self.source}, {self.unit} {own[part] if own else self.lines[index]}"

    def beside(self, folder: Path, name: str) -> Table:
        """The same with the paths in the column `name` taken from `folder`. DataError for an empty one."""
        paths = self.column(name)
        for index, path in enumerate(paths):
            if isinstance(path, str) and not path.strip():
                raise DataError(f"{self.place(index)}: {name!r} is empty; name a file or leave the record out")
        paths = [str(folder / path) if isinstance(path, str) else path for path in paths]
        return replace(self, columns={**self.columns, name: paths})

    def select(self, indices: Iterable[int]) -> Table:
        """The records at `indices`, in that order (a list or an integer array)."""
        rows = [int(index) for index in indices]
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        parts = None if self.parts is None else tuple(self.parts[row] for row in rows)
        return Table(self.source, columns, [self.lines[row] for row in rows], self.unit, parts)
