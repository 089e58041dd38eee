"""Large files as a row of tables, some MiB of the file each, so that a file need not fit into memory."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from elman.data import readers
from elman.data.delimited import read_csv, read_tsv
from elman.data.files import PathLike, check_encoding, decoded, display, is_gzip, open_bytes, with_newlines
from elman.data.json_lines import read_json_lines
from elman.data.parquet import parquet_pieces
from elman.data.table import Table
from elman.errors import DataError

LARGE = 256 << 20
"""Bytes from which on training reads a file in pieces."""
PIECE = 16 << 20
LONGEST = 1 << 30
"""A record of more bytes is refused: what looks like one is mostly a quote that is never closed."""

MOST_HELD = 20_000
"""Records held out for validation, at most: they stay in memory."""

Reader = Callable[[str, str, Sequence[str] | None, int], Table]
"""Text, source, names of the columns, number of the first line -> table."""
BY_LINE: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": lambda text, source, _, first: read_json_lines(with_newlines(text), source, first),
    ".ndjson": lambda text, source, _, first: read_json_lines(with_newlines(text), source, first),
    ".txt": lambda text, source, _, first: readers.read_lines(with_newlines(text), source, first),
}
ONE_BYTE_NEWLINE = ("utf-8", "ascii", "iso8859-1", "cp1252")
"""Encodings, by Python's names, in which a newline is one byte that is part of nothing else."""


def is_large(path: PathLike) -> bool:
    """Whether a file is to be read in pieces: large, of a format and an encoding that can be."""
    return suffix(path) in (*BY_LINE, ".parquet") and Path(path).is_file() and Path(path).stat().st_size >= LARGE


def suffix(path: PathLike) -> str:
    """The format of a file by its name; "" for packed ones, which are read whole."""
    return "" if is_gzip(path) else Path(path).suffix.lower()


def read_pieces(
    path: PathLike,
    *,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    piece: int = PIECE,
) -> Iterator[Table]:
    """The records of `read_table`, in their order, a table for about `piece` bytes of the file; all have the same
    columns. Formats that cannot be cut at a line's end come as one table. DataError as from `read_table`."""
    check_encoding(encoding, errors)
    if suffix(path) == ".parquet" and columns is None:
        yield from parquet_pieces(path, piece)
        return
    reader = BY_LINE.get(suffix(path))
    if reader is None or codecs.lookup(encoding).name not in ONE_BYTE_NEWLINE:
        yield readers.read_table(path, columns=columns, encoding=encoding, errors=errors)
        return
    source, names, line, at = display(path), columns, 1, 0
    first: Table | None = None
    for data in _cut(path, piece, quoted=reader is read_csv):
        text = decoded(data, source, encoding=encoding, errors=errors, first=line, before=at)
        if text.strip():
            table = reader(text, source, names, line)
            if first is None:
                first = table
                names = table.names if reader in (read_csv, read_tsv) else None
            elif set(table.names) != set(first.names):
                raise DataError(
                    f"{table.place(0)}: the keys are not those of {first.place(0)}; give every record the same keys"
                )
            yield table
        line, at = line + data.count(b"\n"), at + len(data)
    if first is None:
        raise DataError(f"{source} holds no records; it needs at least one")


def _cut(path: PathLike, piece: int, *, quoted: bool) -> Iterator[bytes]:
    """The bytes of a file in pieces that end where a record does."""
    left, header = b"", True
    with open_bytes(path) as stream:
        while block := stream.read(piece):
            left += block
            end = _record_end(left, quoted)
            if header and end:  # the first line may be no record: another one must come with it
                end = end if _record_end(left[:end].strip(), quoted) else 0
            if end:
                yield left[:end]
                left, header = left[end:], False
            elif len(left) > LONGEST:
                raise DataError(
                    f"{display(path)} has a record of more than {LONGEST:,} bytes; is a quote never closed?"
                )
    if left:
        yield left


def _record_end(data: bytes, quoted: bool) -> int:
    """Where the last whole record ends, 0 for none: at a newline, which in a CSV has as many quotes before it as close
    each other (RFC 4180)."""
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    open_quote = data.count(b'"', 0, end) % 2
    while end and open_quote:
        before = data.rfind(b"\n", 0, end - 1) + 1
        open_quote = (open_quote + data.count(b'"', before, end)) % 2
        end = before
    return end


@dataclass(frozen=True)
class Pieces:
    """A large file to go through again and again; each time its tables are read anew."""

    path: PathLike
    columns: Sequence[str] | None = None
    encoding: str = "utf-8"
    errors: str = "strict"
    most_held: ClassVar[str] = f"{MOST_HELD:,} records"

    def __iter__(self) -> Iterator[Table]:
        return read_pieces(self.path, columns=self.columns, encoding=self.encoding, errors=self.errors)

    @property
    def size(self) -> int:
        """Bytes."""
        return Path(self.path).stat().st_size
