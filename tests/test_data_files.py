"""Reading files as text: encodings, gzip, standard input, and one sentence for every way a file can fail."""

from __future__ import annotations

import gzip
import io
import os
import sys
from pathlib import Path

import pytest

from elman.data import files, read_text
from elman.errors import DataError


def refused(path: Path | str, *words: str, **options: str) -> str:
    """The message of the DataError, one sentence that holds all of `words`."""
    with pytest.raises(DataError) as caught:
        read_text(path, **options)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message
    return message


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_text_and_its_line_ends(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a.txt", "één\r\ntwo\rthree\n".encode())) == "één\ntwo\nthree\n"
    # only line ends end lines: what str.splitlines would also cut must survive
    assert read_text(write(tmp_path / "b.txt", "a\u2028b\x0bc\x85d".encode())) == "a\u2028b\x0bc\x85d"


def test_a_byte_order_mark_is_dropped_at_the_start_only(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a.txt", "\ufeffa\ufeffb".encode())) == "a\ufeffb"
    assert read_text(write(tmp_path / "b.txt", "ab".encode("utf-16")), encoding="utf-16") == "ab"


def test_gzip_by_name(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a.txt.gz", gzip.compress(b"hello"))) == "hello"
    assert read_text(write(tmp_path / "a.TXT.GZ", gzip.compress(b"one") + gzip.compress(b" two"))) == "one two"


def test_standard_input_is_read_in_the_encoding_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "é".encode())
    assert read_text("-") == "é"
    pipe(monkeypatch, b"\xe9")
    assert read_text("-", encoding="latin-1") == "é"
    pipe(monkeypatch, b"ok\n\xe9")
    refused("-", "standard input, line 2, byte 1")
    pipe(monkeypatch, b"")
    refused("-", "standard input is empty")
    monkeypatch.setattr(sys, "stdin", None)
    refused("-", "standard input is closed")


def test_missing(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", b"x")
    refused(tmp_path / "trian.csv", "there is no file", "trian.csv", "did you mean 'train.csv'?")
    refused(tmp_path / "nowhere" / "x.txt", "there is no file", f"no folder {tmp_path / 'nowhere'}")
    refused(tmp_path / "train.csv" / "x.txt", "there is no file", "x.txt")
    refused("a\0b", "cannot be the name of a file")
    refused(str(tmp_path / ("x" * 5000)), "cannot be read", "name too long")


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder where a file is expected")
    refused("/dev/null", "is a device")


@pytest.mark.skipif(os.geteuid() == 0, reason="the root user may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"x")
    path.chmod(0)
    refused(path, "a.txt cannot be read: Permission denied", "rights")


def test_a_failing_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", lambda *_: Broken())
    refused(write_plain(tmp_path / "a.txt"), "a.txt cannot be read: Input/output error")


def write_plain(path: Path) -> Path:
    with open(path, "wb") as stream:  # noqa: PTH123  # Path.open is replaced in that test
        stream.write(b"x")
    return path


@pytest.mark.parametrize("data", [b"", "\ufeff".encode()])
def test_empty(tmp_path: Path, data: bytes) -> None:
    refused(write(tmp_path / "a.txt", data), "a.txt is empty")
    refused(write(tmp_path / "a.txt.gz", gzip.compress(data)), "a.txt.gz is empty")


def test_bytes_that_are_not_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\ntwo\nna\xefve caf\xe9\n")
    refused(
        path,
        "a.txt, line 3, byte 3 of the line (offset 10",
        "ef (hex)",
        "not valid utf-8",
        "--encoding",
        "--errors replace",
    )
    assert read_text(path, errors="replace") == "one\ntwo\nna\ufffdve caf\ufffd\n"
    assert read_text(path, encoding="latin-1") == "one\ntwo\nnaïve café\n"
    refused(path, "not valid ascii", "line 3, byte 3", encoding="ascii")
    refused(write(tmp_path / "b.txt", "hello".encode("utf-16")), "--encoding utf-16")
    refused(write(tmp_path / "c.txt", b"x" * 1000 + b"\xff"), "line 1, byte 1001")


def test_unknown_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"x")
    refused(path, "'utf-9' is not a text encoding", "did you mean 'utf-8'?", encoding="utf-9")
    refused(path, "'hex' is not a text encoding", encoding="hex")
    refused(path, "is not a text encoding", encoding="undefined")
    refused(path, "is not a text encoding", encoding="a\0b")
    refused(path, "'replcae'", "did you mean 'replace'?", errors="replcae")
    refused(path, "surrogateescape", errors="surrogateescape")


def test_a_nul_byte(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.txt", b"one\ntwo\0\n"), "a.txt, line 2", "NUL")
    refused(write(tmp_path / "b.txt", "hello".encode("utf-16-le")), "NUL", "--encoding utf-16")


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(1000))
    refused(write(tmp_path / "a.gz", whole[:-20]), "a.gz is not a whole gzip file", "ends too early")
    refused(write(tmp_path / "b.gz", b"plain text"), "b.gz is not a whole gzip file", "Not a gzipped file")
    broken = bytearray(gzip.compress(b"some text " * 100))
    broken[14] ^= 0xFF
    refused(write(tmp_path / "c.gz", bytes(broken)), "c.gz is not a whole gzip file")
    wrong_sum = bytearray(whole)
    wrong_sum[-6] ^= 0xFF
    refused(write(tmp_path / "d.gz", bytes(wrong_sum)), "d.gz is not a whole gzip file", "CRC")
    refused(write(tmp_path / "e.gz", b""), "e.gz is empty")
    refused(write(tmp_path / "f.txt", whole), "packed with gzip", "gunzip")


def test_a_small_file_that_unpacks_to_a_huge_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "UNPACKED_FLOOR", 1 << 20)
    path = write(tmp_path / "bomb.txt.gz", gzip.compress(b"0" * (4 << 20)))
    refused(path, "bomb.txt.gz unpacks to more than", "gunzip")
    assert len(read_text(write(tmp_path / "fine.txt.gz", gzip.compress(b"0" * (1 << 20))))) == 1 << 20


def test_messages_stay_short(tmp_path: Path) -> None:
    assert files.brief("x" * 10_000) == "'" + "x" * 40 + "'…"
    assert files.brief("x" * 40) == "'" + "x" * 40 + "'"
    assert len(files.brief([1] * 10_000)) == 41
