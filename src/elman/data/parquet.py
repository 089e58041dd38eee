"""Parquet files as tables, by polars (`pip install 'elman[data]'`)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from elman.data import files
from elman.data.files import PathLike, display
from elman.data.table import Table
from elman.errors import DataError


def read_parquet(path: PathLike) -> Table:
    """The columns of a .parquet file; nested lists stay lists, so that a column may hold series."""
    (table,) = parquet_pieces(path)
    return table


def parquet_pieces(path: PathLike, piece: int | None = None) -> Iterator[Table]:
    """The same, a table for about `piece` bytes of the file; None: all in one."""
    source = display(path)
    try:
        import polars
    except ImportError:
        raise DataError(f"{source}: Parquet is read by polars; install it with: pip install 'elman[data]'") from None
    data = files.read_bytes(path) if piece is None else None
    size = Path(path).stat().st_size if data is None else len(data)
    with _damage_named(source):
        lazy = polars.scan_parquet(Path(path) if data is None else data)
        names = lazy.collect_schema().names()
        rows = int(lazy.select(polars.len()).collect().item())
    # Runs of one value pack to nothing: what is claimed is compared with the file before memory is set aside.
    limit = max(files.UNPACKED_FLOOR, files.UNPACKED_RATIO * size) // 8
    if rows * len(names) > limit:
        raise DataError(
            f"{source} claims {rows:,} rows of {len(names)} columns, more than the {limit:,} entries allowed for a "
            "file of its size"
        )
    if not rows:
        raise DataError(f"{source} holds no records; it needs at least one")
    count = rows if piece is None else max(1, rows * piece // size)
    for start in range(0, rows, count):
        with _damage_named(source):
            columns = lazy.slice(start, count).collect().to_dict(as_series=False)
        yield Table(source, columns, list(range(start + 1, min(start + count, rows) + 1)), "record")


@contextlib.contextmanager
def _damage_named(source: str) -> Iterator[None]:
    """What polars says of a damaged file as one sentence."""
    try:
        with _quiet():
            yield
    except BaseException as error:  # polars' panics are no Exceptions
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise DataError(f"{source} is not a whole Parquet file ({reason}); write it again") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error, where polars' Rust tells a damaged file's story in many lines before it raises."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
