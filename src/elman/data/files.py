"""Files as bytes and as text: plain or gzip, a path or standard input; each way to fail becomes one sentence."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

from elman.errors import DataError, did_you_mean

PathLike: TypeAlias = "str | os.PathLike[str]"

PREFIX = "made:"
"""Begins the names of made tasks, which stand where files do."""

ERRORS = ("strict", "replace", "ignore", "backslashreplace")
ENCODINGS = (
    "utf-8",
    "utf-16",
    "utf-32",
    "latin-1",
    "cp1252",
    "ascii",
    "shift_jis",
    "euc_jp",
    "gb18030",
    "big5",
    "koi8-r",
)

UNPACKED_FLOOR = 1 << 28
"""Packed files may always unpack to 256 MiB, ..."""
UNPACKED_RATIO = 100
"""... and beyond that to 100 times their size: text packs to a tenth, a file made to fill memory to a thousandth."""

_CHUNK = 1 << 20


def display(path: PathLike) -> str:
    """What messages call `path`: itself, or "standard input" for '-'."""
    return "standard input" if os.fspath(path) == "-" else os.fspath(path)


def is_made(path: PathLike) -> bool:
    """Whether this names a made task ("made:parity") rather than a file."""
    return os.fspath(path).startswith(PREFIX)


def is_gzip(path: PathLike) -> bool:
    """Whether the name says that the file is packed."""
    return os.fspath(path).lower().endswith(".gz")


def brief(value: object, limit: int = 40) -> str:
    """`repr`, cut to `limit` characters, so that a message stays one sentence whatever the file holds."""
    if isinstance(value, str):
        return repr(value) if len(value) <= limit else repr(value[:limit]) + "…"
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


def check_exists(path: PathLike) -> int:
    """The file's mode; DataError where there is nothing, or nothing that may be looked at."""
    name = display(path)
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"there is no file {name}{_nearby(Path(path))}; check the path") from None
    except ValueError:
        raise DataError(f"{brief(name)} cannot be the name of a file; check the path") from None
    except OSError as error:
        raise DataError(f"{brief(name, 200)} cannot be read: {error.strerror}; check the path and its rights") from None


def _nearby(path: Path) -> str:
    """A near name in the same folder, or which folder is missing."""
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {folder} either)"
    try:
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return ""  # the folder may be entered but not listed: the message does without the hint
    hint = did_you_mean(path.name, names)
    return hint if hint.startswith(" (did") or len(names) <= 12 else ""


@contextmanager
def open_bytes(path: PathLike) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file, or of standard input for '-', as a stream; failing reads are DataErrors."""
    name = display(path)
    try:
        if name == "standard input":
            yield _standard_input()
            return
        mode = check_exists(path)
        if stat.S_ISDIR(mode):
            raise DataError(f"{name} is a folder where a file is expected; name a file in it")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise DataError(f"{name} is a device where a file is expected; for standard input write -")
        with gzip.open(path, "rb") if is_gzip(path) else Path(path).open("rb") as stream:
            yield stream  # type: ignore[misc]  # typeshed: GzipFile is no BinaryIO, though it reads like one
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = "it ends too early" if isinstance(error, EOFError) else str(error).rstrip(".")
        raise DataError(f"{name} is not a whole gzip file: {reason}; fetch or pack it again") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}; check the file and its rights") from None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("standard input is closed; name a file instead of -")
    return sys.stdin.buffer


def read_bytes(path: PathLike) -> bytes:
    """All bytes of a file, unpacked; DataError where there are none, or where a small file unpacks to a huge one."""
    name = display(path)
    with open_bytes(path) as stream:
        if not is_gzip(path):
            data = stream.read()
        else:
            limit = max(UNPACKED_FLOOR, UNPACKED_RATIO * Path(path).stat().st_size)
            buffer = bytearray()
            while chunk := stream.read(_CHUNK):
                buffer += chunk
                if len(buffer) > limit:
                    raise DataError(
                        f"{name} unpacks to more than {limit:,} bytes; if that is meant, unpack it with gunzip first"
                    )
            data = bytes(buffer)
    if not data:
        raise DataError(f"{name} is empty; it must hold at least one record")
    return data


def check_encoding(encoding: str, errors: str = "strict") -> None:
    """DataError unless Python knows the encoding and `errors` is one of ERRORS."""
    if errors not in ERRORS:
        raise DataError(f"errors={errors!r} is not a way to treat bad bytes{did_you_mean(errors, ERRORS)}")
    try:
        b"\n\n\n\n".decode(encoding, "ignore")
    except (LookupError, ValueError):  # ValueError: a NUL in the name, or the codec named "undefined"
        raise DataError(f"{brief(encoding)} is not a text encoding{did_you_mean(encoding, ENCODINGS)}") from None


def read_raw_text(path: PathLike, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """A whole text file with its line ends as they are, without a leading byte-order mark."""
    check_encoding(encoding, errors)
    name, data = display(path), read_bytes(path)
    text = decoded(data, name, encoding=encoding, errors=errors)
    if not text:
        raise DataError(f"{name} is empty; it must hold at least one record")
    return text


def decoded(data: bytes, name: str, *, encoding: str, errors: str, first: int = 1, before: int = 0) -> str:
    """Bytes of the file `name`, from line `first` and after so many bytes `before`, as text, without a leading
    byte-order mark."""
    if not before and data[:2] == b"\x1f\x8b":
        raise DataError(f"{name} is packed with gzip; give it a name ending in .gz, or unpack it with gunzip")
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        _refuse_bytes(name, data, error, first, before)
    except UnicodeError as error:
        raise DataError(f"{name} is not {encoding}: {error}; name its encoding with --encoding") from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + first
        hint = "if it is UTF-16 say --encoding utf-16, else remove the byte"
        raise DataError(f"{name}, line {line}: there is a NUL byte, which text cannot hold; {hint}")
    return text if before else text.removeprefix("\ufeff")


def _refuse_bytes(name: str, data: bytes, error: UnicodeDecodeError, first: int, before: int) -> NoReturn:
    start = error.start
    line = data.count(b"\n", 0, start) + first
    column = start - (data.rfind(b"\n", 0, start) + 1) + 1
    guess = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    raise DataError(
        f"{name}, line {line}, byte {column} of the line (offset {before + start} in the file): "
        f"{data[start : start + 1].hex(' ')} (hex) "
        f"is not valid {error.encoding}; "
        f"name the file's encoding (--encoding {guess}) or let such bytes be replaced (--errors replace)"
    ) from None


def read_text(path: PathLike, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """A whole text file; `.gz` is unpacked, '-' is standard input, line ends become newlines (as Python's open does).

    Raises DataError for a file that is missing, empty, unreadable, damaged, holds a NUL, or is not in `encoding`.
    """
    return with_newlines(read_raw_text(path, encoding=encoding, errors=errors))


def with_newlines(text: str) -> str:
    """Every line end as a newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
