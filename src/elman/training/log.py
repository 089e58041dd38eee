"""The log of a run: JSON Lines, only ever appended to, cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from elman.errors import DataError, TrainingError

MAX_LINE = 1 << 20


class Log:
    """Lines go to `path` (None: nowhere) after its first `keep` bytes; what was there behind them is cut off.

    `short` tells how many bytes were missing, where the file is shorter than that.
    """

    def __init__(self, path: Path | None, keep: int = 0) -> None:
        self._file: BinaryIO | None = None
        self.short = 0
        if path is None:
            return
        try:
            self._file = path.open("ab")
            size = self._file.tell()
            self.short = max(0, keep - size)
            self._file.truncate(min(keep, size))
        except OSError as error:
            raise TrainingError(f"the log {path} cannot be written: {error.strerror}") from None

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; figures that are NaN or infinite become null."""
        if self._file is not None:
            try:
                self._file.write(msgspec.json.encode(line) + b"\n")
                self._file.flush()
            except OSError as error:
                raise TrainingError(f"the log {self._file.name} cannot be written: {error.strerror}") from None

    def sync(self) -> int:
        """Put the lines on the disk; the size of the log in bytes."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log. A last line without its end (a run that was killed) is left out.

    Raises DataError where the file cannot be read or a line is not one of a log.
    """
    lines: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            for number, text in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
                if not text.endswith(b"\n") and len(text) < MAX_LINE:
                    break
                lines.append(_line(text, path, number))
    except OSError as error:
        raise DataError(f"the log {path} cannot be read: {error.strerror}") from None
    return lines


def _line(text: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        line = {}
    step = line.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not math.isfinite(step):
        raise DataError(f"{path}, line {number}: not a line of a training log (JSON with a whole number 'step')")
    return line
