"""Files written whole or not at all: beside the old one under a temporary name, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from elman.errors import ModelFileError

Chunk = bytes | bytearray | memoryview

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".elman-", ".part"
"""A process killed while it writes leaves one file of such a name behind; it is never read, and may be deleted."""
STRAY_SECONDS = 3600.0
"""Nobody waits so long between two writes: a temporary file that old is a killed process's, and is swept away."""


def write_atomically(path: str | os.PathLike[str], data: Chunk | Iterable[Chunk]) -> None:
    """Make `path` hold `data` (one buffer, or several one after the other), or leave what is there untouched.

    At every moment `path` holds the old content or the new, also when the process or the machine dies. A link is
    followed, and the permissions of a file that is replaced are kept. What a process killed while it wrote to `path`
    left beside it is deleted once it is an hour old. Raises ModelFileError where the folder is missing or cannot be
    written to, or the disk is full; another error raised by `data` itself passes through.
    """
    target = Path(path)
    try:
        target = Path(os.path.realpath(target))
        mode = _mode_to_keep(target)
        # Not `tempfile`: its files are private (0600), while a new model follows the user's umask like any other file.
        prefix = f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}-"
        temporary = target.parent / f"{prefix}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _fill(descriptor, (data,) if isinstance(data, Chunk) else data, mode)
            temporary.replace(target)
        except BaseException:  # also Ctrl-C: nothing half-written stays
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
        _sweep(target, prefix)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ModelFileError(f"cannot write {os.fspath(path)!r}: {_reason(error, target)}") from error


def _sweep(target: Path, prefix: str) -> None:
    """Delete what killed processes left of earlier writes to `target`; where that fails, it stays."""
    with contextlib.suppress(OSError):
        # Both times are the file system's, which on a network drive has a clock of its own.
        oldest = target.stat().st_mtime - STRAY_SECONDS
        for stray in target.parent.glob(f"{prefix}*{TEMPORARY_SUFFIX}"):
            status = stray.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
                stray.unlink(missing_ok=True)


def _mode_to_keep(target: Path) -> int | None:
    """The permissions of the file that will be replaced, None where there is none; refuses what is not a file."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(target, os.W_OK):  # renaming would replace it all the same, against the wish of who protected it
        raise OSError(errno.EROFS, "the file is write-protected")
    return stat.S_IMODE(mode)


def _fill(descriptor: int, chunks: Iterable[Chunk], mode: int | None) -> None:
    """Write every chunk, and force them to the disk before the name is given."""
    with os.fdopen(descriptor, "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Force the new name to the disk, where folders can be synced (not on Windows, nor on some network drives)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValueError, target: Path) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"there is no folder {str(target.parent)!r}; create it first"
    if isinstance(error, PermissionError):
        return f"no permission to write into the folder {str(target.parent)!r}; choose another place"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; free some space and try again"
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{why}; choose another name"
