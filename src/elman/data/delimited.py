"""CSV and TSV: the rows of a delimited file, each with as many fields as the header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError

_FIELD_LIMIT = 2**31 - 1  # the csv module's own limit of 128 KiB a field is process-wide and too small for documents


def read_csv(text: str, source: str, columns: Sequence[str] | None, first: int = 1) -> Table:
    """Comma-separated values (RFC 4180): fields in double quotes may hold commas, quotes (doubled) and line ends."""
    return _table(_csv_rows(text, source, first), source, columns, "put a field that holds a comma in double quotes")


def read_tsv(text: str, source: str, columns: Sequence[str] | None, first: int = 1) -> Table:
    """Tab-separated values: a record is one line, a tab always ends a field.

    Quotes are plain characters, but a field that is wholly in double quotes, as spreadsheets write them, loses those.
    """
    return _table(_tsv_rows(text, first), source, columns, "in a .tsv a tab ends the field and a line end the record")


def _csv_rows(text: str, source: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row; blank lines are skipped."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # strict: an unclosed quote is an error
        line = first
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise DataError(f"{source}, line {line}: {_csv_reason(error)}") from None
            if row is None:
                return
            if row:
                yield line, row
            line = reader.line_num + first
    finally:
        csv.field_size_limit(before)


def _csv_reason(error: csv.Error) -> str:
    if "end of data" in str(error):
        remedy = 'close it, or double it ("") inside a quoted field'
        return f"the record that begins here has a double quote that is never closed; {remedy}"
    return f'text follows a closing double quote ({error}); inside a quoted field write a quote as ""'


def _tsv_rows(text: str, first: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), first):
        line = line.removesuffix("\r")
        if line:
            yield number, [_unquoted(field) for field in line.split("\t")]


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        inner = field[1:-1].replace('""', "\0")  # no NUL gets here: read_raw_text refuses it
        if '"' not in inner:
            return inner.replace("\0", '"')
    return field


def _table(rows: Iterator[tuple[int, list[str]]], source: str, columns: Sequence[str] | None, hint: str) -> Table:
    if columns is None:
        line, names = next(rows, (1, []))
        remedy = "rename one, or if the file has no header name its columns (--columns)"
    else:
        line, names = 1, list(columns)
        remedy = "give every column its own name"
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DataError(f"{source}, line {line}: two columns are named {brief(name)}; {remedy}")
    values: list[list[str]] = []
    lines: list[int] = []
    for line, row in rows:
        if len(row) != len(names):
            what = "the header has" if columns is None else "--columns names"
            raise DataError(f"{source}, line {line}: expected {len(names)} fields, as {what}, got {len(row)}; {hint}")
        values.append(row)
        lines.append(line)
    if not values:
        only = " but its header" if names and columns is None else ""
        raise DataError(f"{source} holds no records{only}; it needs at least one")
    return Table(source, {name: list(column) for name, column in zip(names, zip(*values))}, lines)
