"""Folders of sounds or pictures, with texts beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.data.files import read_text
from elman.data.table import Table
from elman.errors import DataError

SOUNDS, PICTURES = (".wav", ".flac", ".ogg", ".mp3"), (".png", ".jpg", ".jpeg")


def with_texts(root: Path, suffixes: Sequence[str], kind: str, input: str, target: str) -> Table:
    """A record for each file in the folder and below, its path in the column `input`; where a text of the same name
    lies beside each (a.wav, a.txt), it is in the column `target`. kind: what such files are called."""
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise DataError(f"the folder {root} holds no {kind} ({', '.join(suffixes)}); check the path")
    columns: dict[str, list[Any]] = {input: [str(p) for p in files]}
    texts = [p.with_suffix(".txt") for p in files]
    there = [p.is_file() for p in texts]
    if any(there):
        if not all(there):
            lone = files[there.index(False)]
            raise DataError(f"{lone} has no text beside it ({lone.stem}.txt), as other {kind} of the folder have")
        columns[target] = [" ".join(read_text(p).split()) for p in texts]
    return Table(str(root), columns, list(range(1, len(files) + 1)), "record")
