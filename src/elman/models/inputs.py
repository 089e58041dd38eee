"""What users hand to the estimators as a table, places in it for messages, and batches that fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.readers import read_table
from elman.data.table import Table
from elman.errors import DataError, did_you_mean

MAX_STEPS = 1 << 20
"""The steps of the longest sequence that is taken whole, and of a batch: its sequences times the longest of them."""

Indices = npt.NDArray[np.int64]


def as_table(data: Any) -> Any:
    """A Path, or a data frame (pandas, polars), as a Table; anything else as it is."""
    if isinstance(data, Path):
        return read_table(data)
    if isinstance(data, Table) or not hasattr(data, "columns") or not hasattr(data, "__getitem__"):
        return data
    columns = {str(name): list(data[name]) for name in data.columns}
    count = len(next(iter(columns.values()), []))
    return Table("the data frame", columns, list(range(1, count + 1)), "record")


def listed(data: Any, what: str) -> list[Any]:
    """Several of something as a list; DataError for one text, or for what cannot be gone through."""
    if isinstance(data, str | bytes) or not hasattr(data, "__iter__"):
        raise DataError(f"{what} must come as a list, a table or a Path, not {type(data).__name__}")
    return list(data)


def place(where: Table | str, index: int, part: int = 0) -> str:
    """Where record `index`, or a part of it, stands, for messages."""
    return where.place(index, part) if isinstance(where, Table) else f"{where}, number {index + 1}"


@contextmanager
def naming(data: Any) -> Iterator[None]:
    """A DataError that says nothing of the file that `data`, a Table or a Path, comes from then begins with it."""
    try:
        yield
    except DataError as error:
        source = data.source if isinstance(data, Table) else str(data) if isinstance(data, Path) else ""
        if source in str(error):
            raise
        raise DataError(f"{source}: {error}") from None


def check_steps(lengths: Sequence[int], where: Table | str) -> None:
    """DataError for a sequence that would not fit into memory."""
    for index, length in enumerate(lengths):
        if length > MAX_STEPS:
            raise DataError(
                f"{place(where, index)}: the sequence has {length:,} steps; at most {MAX_STEPS:,} are taken, so cut it"
            )


def missing(value: Any) -> bool:
    """Whether a label or tag is none: None, an empty text, or the NaN that data frames have for it."""
    return value is None or value == "" or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def fitting(batches: Iterable[Indices], lengths: npt.ArrayLike, most: int = MAX_STEPS) -> list[Indices]:
    """The batches; one whose padded sequences would take more than `most` steps is cut, the longest first."""
    sizes = np.asarray(lengths)
    result: list[Indices] = []
    for batch in batches:
        if len(batch) * int(sizes[batch].max(initial=0)) > most:
            batch = batch[np.argsort(-sizes[batch], kind="stable")]
        while len(batch):
            count = max(1, most // max(1, int(sizes[batch].max())))
            result.append(batch[:count])
            batch = batch[count:]
    return result


def known(name: str, names: Sequence[str]) -> str:
    """What a message says about an unknown label: the nearest one, or all of a few."""
    return did_you_mean(name, names) if len(names) <= 50 and len(name) <= 100 else ""
