"""Parallel text: line n to line n, whatever stands in the lines; files of other lengths are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from elman.data.parallel import read_parallel
from elman.errors import DataError


def test_lines_stay_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_bytes("ein\tHund\r\n\nKatze\u2028da\x0cund".encode())
    (tmp_path / "a.en.gz").write_bytes(gzip.compress(b"a dog\nempty\ncat\n"))
    table = read_parallel(tmp_path / "a.de", tmp_path / "a.en.gz", names=("de", "en"))
    assert table.column("de") == ["ein\tHund", "", "Katze\u2028da\x0cund"]  # no end of a line but the line end
    assert table.column("en") == ["a dog", "empty", "cat"]
    assert table.place(2) == f"{tmp_path / 'a.de'} and {tmp_path / 'a.en.gz'}, line 3"


@pytest.mark.parametrize(("one", "two"), [("a\nb\n", "x\n"), ("a", "x\ny"), ("a\n\n", "x\n"), ("a\u2028b\n", "x\ny\n")])
def test_unequal_files_are_refused(one: str, two: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(one)
    (tmp_path / "b").write_text(two)
    with pytest.raises(DataError, match=r"a has \d lines and .*b has \d; line n of one must belong to line n of the"):
        read_parallel(tmp_path / "a", tmp_path / "b")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    with pytest.raises(DataError, match=r"there is no file .*b"):
        read_parallel(tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match="both files of a pair are standard input"):
        read_parallel("-", "-")


def test_multi30k(shared_data: Path) -> None:
    folder = shared_data / "multi30k"
    table = read_parallel(folder / "train.de.gz", folder / "train.en.gz")
    assert len(table) == 29_000
    assert "\t" in table.column("source")[7365]
    with pytest.raises(DataError, match=r"has 29,000 lines and .* has 1,014"):
        read_parallel(folder / "train.de.gz", folder / "val.en.gz")
