"""Readers: any file that elman knows, chosen by its suffix, as text or as a table."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from elman.data.arrays import read_npz, series, wide_series
from elman.data.conll import read_conll, read_conllu
from elman.data.delimited import read_csv, read_tsv
from elman.data.files import (
    PathLike,
    check_encoding,
    check_exists,
    display,
    is_gzip,
    read_bytes,
    read_raw_text,
    read_text,
)
from elman.data.folders import PICTURES, SOUNDS
from elman.data.json_lines import read_json_lines
from elman.data.parquet import read_parquet
from elman.data.table import Table
from elman.errors import DataError, did_you_mean

__all__ = ["Table", "read_table", "read_text", "series", "wide_series"]


def read_lines(text: str, source: str, first: int = 1) -> Table:
    """One record a line, in the column `text`; blank lines are skipped."""
    kept = [(number, line) for number, line in enumerate(text.split("\n"), first) if line.strip()]
    if not kept:
        raise DataError(f"{source} holds no records; it needs at least one line of text")
    return Table(source, {"text": [line for _, line in kept]}, [number for number, _ in kept])


BY_LINE: dict[str, Callable[[str, str], Table]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".txt": read_lines,
    ".conllu": read_conllu,
    ".conll": read_conll,
    ".bio": read_conll,
    ".iob": read_conll,
}
BY_FIELD: dict[str, Callable[[str, str, Sequence[str] | None], Table]] = {".csv": read_csv, ".tsv": read_tsv}
BINARY: dict[str, Callable[[PathLike], Table]] = {
    ".npz": lambda path: read_npz(read_bytes(path), display(path)),
    ".parquet": read_parquet,
}
SUFFIXES = (*BY_FIELD, *BY_LINE, *BINARY)
NO_TEXTS = {
    **dict.fromkeys(SOUNDS, "a sound, which `elman train transcribe` reads"),
    **dict.fromkeys(PICTURES, "a picture, which `elman train caption` reads"),
}


def read_table(
    path: PathLike, *, columns: Sequence[str] | None = None, encoding: str = "utf-8", errors: str = "strict"
) -> Table:
    """The records of a file or folder, read by its suffix (SUFFIXES, each also with .gz); '-' is standard input.

    `columns` names the columns of a .csv or .tsv without a header row. DataError says which file and line
    cannot be read, and why.
    """
    check_encoding(encoding, errors)
    source = display(path)
    if columns is not None and _suffix(path) not in BY_FIELD:
        raise DataError(f"{source}: only the columns of a .csv or .tsv can be named (--columns); leave the names out")
    if source == "standard input":
        text = read_text(path, encoding=encoding, errors=errors)
        return read_json_lines(text, source) if text.lstrip().startswith("{") else read_lines(text, source)
    if stat.S_ISDIR(check_exists(path)):
        return read_folder(path, encoding=encoding, errors=errors)
    suffix = _suffix(path)
    if suffix in BY_FIELD:
        return BY_FIELD[suffix](read_raw_text(path, encoding=encoding, errors=errors), source, columns)
    if suffix in BY_LINE:
        return BY_LINE[suffix](read_text(path, encoding=encoding, errors=errors), source)
    if suffix in BINARY:
        return BINARY[suffix](path)
    hint = did_you_mean(suffix, SUFFIXES)
    hint = hint if hint.startswith(" (did") else ""
    what = f"the suffix {suffix!r}" if suffix else "a file without a suffix"
    raise DataError(
        f"{source}: {what} says no known format{hint}; known are {', '.join(SUFFIXES)} (each also with .gz) and folders"
    )


def is_known(path: PathLike) -> bool:
    """Whether `read_table` knows what the file is: it has a suffix of SUFFIXES, is a folder, or standard input."""
    return os.fspath(path) == "-" or Path(path).is_dir() or _suffix(path) in SUFFIXES


def _suffix(path: PathLike) -> str:
    name = os.fspath(path)
    return Path(name[:-3] if is_gzip(name) else name).suffix.lower()


def read_folder(path: PathLike, *, encoding: str = "utf-8", errors: str = "strict") -> Table:
    """A folder of documents (columns text, file), or of one subfolder a label with its documents (text, label, file).

    In order of the names; hidden files are skipped, and beside labelled subfolders any files (a README) too.
    """
    root, source = Path(path), display(path)
    labels = [entry for entry in _entries(root) if entry.is_dir()]
    found: list[tuple[Path, str]] = []
    for folder in labels or [root]:
        documents = _entries(folder)
        if not documents:
            raise DataError(f"{folder} holds no documents; put one file for each in it, or remove the folder")
        for document in documents:
            if document.is_dir():
                raise DataError(
                    f"{document} is a folder inside a label's folder; a label's folder holds documents only"
                )
            if (what := NO_TEXTS.get(document.suffix.lower())) is not None:
                raise DataError(f"{document} is {what}; a folder is read as texts, one in each file")
            found.append((document, folder.name))
    columns: dict[str, list[str]] = {"text": [read_text(file, encoding=encoding, errors=errors) for file, _ in found]}
    if labels:
        columns["label"] = [label for _, label in found]
    columns["file"] = [file.relative_to(root).as_posix() for file, _ in found]
    return Table(source, columns, list(range(1, len(found) + 1)), "record")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}; check its rights") from None
