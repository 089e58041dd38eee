"""JSON Lines: one JSON object a line, all with the same keys, which become the columns; or one array a line."""

from __future__ import annotations

from typing import Any

import msgspec

from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError

ARRAYS = "steps"
_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def read_json_lines(text: str, source: str, first: int = 1) -> Table:
    """The records of a JSON Lines text, from line `first` of a file on; blank lines are skipped.

    Where lines are arrays, they become the column `steps`. DataError names the line that is not such a record.
    """
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(text.split("\n"), first):
        if not line.strip():
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(
                f"{source}, line {number}: not valid JSON ({reason}); each line must hold one whole JSON object"
            ) from None
        if isinstance(record, list) and list(columns) in ([], [ARRAYS]):
            record = {ARRAYS: record}
        if not isinstance(record, dict):
            kind = _KINDS.get(type(record), "a value")
            raise DataError(
                f'{source}, line {number}: expected a JSON object such as {{"text": "...", "label": "..."}}, got {kind}'
            )
        if not lines:
            columns = {key: [] for key in record}
        if record.keys() != columns.keys():
            _refuse_keys(source, number, lines[0], record, columns)
        for key, values in columns.items():
            values.append(record[key])
        lines.append(number)
    if not lines:
        raise DataError(f"{source} holds no records; it needs at least one line with a JSON object")
    return Table(source, columns, lines)


def _refuse_keys(source: str, number: int, first: int, record: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    for key in columns:
        if key not in record:
            raise DataError(
                f"{source}, line {number}: the key {brief(key)} of line {first} is missing; "
                "give every record the same keys"
            )
    key = next(key for key in record if key not in columns)
    raise DataError(
        f"{source}, line {number}: the key {brief(key)} is not in line {first}; give every record the same keys"
    )
