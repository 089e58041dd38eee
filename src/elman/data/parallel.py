"""Parallel text: line n of one file belongs to line n of the other."""

from __future__ import annotations

from elman.data.files import PathLike, display, read_text
from elman.data.table import Table
from elman.errors import DataError


def read_parallel(
    source: PathLike,
    target: PathLike,
    *,
    names: tuple[str, str] = ("source", "target"),
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Table:
    """Two files of lines (also .gz) as a table of two columns. DataError where they have not as many lines.

    Tabs and empty lines stay as they are, since a line that is dropped would shift all that follow.
    """
    if display(source) == display(target) == "standard input":
        raise DataError("both files of a pair are standard input; name two files")
    lines = []
    for path in (source, target):
        found = read_text(path, encoding=encoding, errors=errors).split("\n")
        lines.append(found[:-1] if not found[-1] else found)  # a line end ends a line, and begins none
    counts = [len(found) for found in lines]
    if counts[0] != counts[1]:
        raise DataError(
            f"{display(source)} has {counts[0]:,} lines and {display(target)} has {counts[1]:,}; "
            "line n of one must belong to line n of the other"
        )
    where = f"{display(source)} and {display(target)}"
    return Table(where, dict(zip(names, lines)), list(range(1, counts[0] + 1)))
