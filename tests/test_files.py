"""Writing a file whole or not at all: whatever fails, and whenever, the old file stays and nothing lies beside it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elman.errors import ModelFileError
from elman.runtime import files
from elman.runtime.files import write_atomically

OLD, NEW = b"the old content", b"the new content, a little longer"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model.elman"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_it_replaces_and_creates(target: Path) -> None:
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW
    write_atomically(target.with_name("other"), [b"a", memoryview(b"bc"), bytearray(b"d"), b""])
    assert target.with_name("other").read_bytes() == b"abcd"
    write_atomically(str(target), [])
    assert target.read_bytes() == b""
    assert names(target.parent) == ["model.elman", "other"]


def test_permissions(target: Path) -> None:
    target.chmod(0o640)
    write_atomically(target, NEW)
    assert target.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        write_atomically(target.with_name("fresh"), NEW)
    finally:
        os.umask(mask)
    assert target.with_name("fresh").stat().st_mode & 0o777 == 0o640


def test_a_link_is_followed(target: Path) -> None:
    link = target.with_name("link")
    link.symlink_to(target)
    write_atomically(link, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW


def interrupted(error: BaseException) -> Iterator[bytes]:
    yield NEW
    raise error


@pytest.mark.parametrize("error", [RuntimeError("no more data"), KeyboardInterrupt(), MemoryError()])
def test_data_that_end_in_an_error(target: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_atomically(target, interrupted(error))
    assert (target.read_bytes(), names(target.parent)) == (OLD, ["model.elman"])


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("os.fsync", errno.EIO, "Input/output error"),
        ("os.open", errno.EACCES, "no permission to write into the folder"),
        ("os.open", errno.EROFS, "Read-only file system"),
        ("os.fchmod", errno.EPERM, "no permission"),
        ("pathlib.Path.replace", errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_failing_disk(target: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, said: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(call, fail)
    with pytest.raises(ModelFileError, match=f"^cannot write .*model.elman': .*{said}"):
        write_atomically(target, NEW)
    monkeypatch.undo()
    assert (target.read_bytes(), names(target.parent)) == (OLD, ["model.elman"])


def test_everything_is_on_the_disk_before_the_name_is(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(descriptor)

    def replaced(self: Path, other: Path) -> Path:
        calls.append("rename")
        return replace(self, other)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_atomically(target, [NEW[:5], NEW[5:]])
    assert calls == [f"{len(NEW)} bytes", "rename", "folder"]


def test_places_that_cannot_be_written(target: Path) -> None:
    folder = target.parent
    for place, said in [
        (folder / "missing" / "model.elman", "there is no folder .*missing'; create it first"),
        (target / "model.elman", "there is no folder .*model.elman'; create it first"),
        (folder, "it is a folder"),
        ("/dev/null", "it is not a regular file"),
        (folder / ("long" * 100), "File name too long"),
        (f"{folder}/nul\0", "embedded null byte"),
    ]:
        with pytest.raises(ModelFileError, match=said):
            write_atomically(place, NEW)
    assert names(folder) == ["model.elman"]


def test_a_write_protected_file_stays(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.chmod(0o444)
    if os.access(target, os.W_OK):  # the administrator may write everything
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ModelFileError, match="write-protected"):
        write_atomically(target, NEW)
    assert (target.read_bytes(), names(target.parent)) == (OLD, ["model.elman"])


KILLED = """
import sys, time
from elman.runtime.files import write_atomically
def slowly():
    while True:
        yield b"x" * 100_000
        print("wrote", flush=True)
        time.sleep(0.01)
write_atomically(sys.argv[1], slowly())
"""


def test_a_killed_process_leaves_the_old_file(target: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "wrote\n"
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    left = [name for name in names(target.parent) if name != "model.elman"]
    assert len(left) == 1, "what a kill leaves behind is one file"
    assert left[0].startswith(files.TEMPORARY_PREFIX)
    assert left[0].endswith(files.TEMPORARY_SUFFIX)
    write_atomically(target, NEW)
    assert names(target.parent) == sorted([*left, "model.elman"]), "it may be another process's, at work right now"
    age(target.with_name(left[0]))
    write_atomically(target.with_name("other"), NEW)
    assert left[0] in names(target.parent), "only what was to become the file that is written"
    write_atomically(target, NEW)
    assert names(target.parent) == ["model.elman", "other"]


def age(path: Path) -> None:
    """As if it were written more than an hour ago."""
    then = path.stat().st_mtime - files.STRAY_SECONDS - 1
    os.utime(path, (then, then), follow_symlinks=False)


def stray_of(target: Path) -> str:
    """A name under which `target` is written."""
    seen = []

    def look() -> Iterator[bytes]:
        seen.extend(name for name in names(target.parent) if name != target.name)
        yield OLD

    write_atomically(target, look())
    return str(seen[0])


def test_only_files_that_are_strays_are_swept(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = stray_of(target)
    assert name not in names(target.parent)
    prefix, suffix = name.rpartition("-")[0], files.TEMPORARY_SUFFIX
    (target.parent / f"{prefix}-folder{suffix}").mkdir()
    (target.parent / f"{prefix}-link{suffix}").symlink_to(target)
    for other in (".elman-.part", ".elman-0123456789abcdef.part", f"{prefix}-1.part.txt", "model.elman.part", name):
        target.with_name(other).write_bytes(OLD)
    kept = [other for other in names(target.parent) if other != name]
    for other in names(target.parent):
        age(target.with_name(other))

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        write_atomically(target, NEW)
        assert target.read_bytes() == NEW, "what cannot be swept stays, and the new file is there all the same"
        assert name in names(target.parent)
    write_atomically(target, NEW)
    assert names(target.parent) == kept
