"""Large files in pieces are the same records as whole, wherever they are cut; sequences on disk are those in memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import pieces
from elman.data.batching import length_batches
from elman.data.pieces import is_large, read_pieces
from elman.data.readers import read_table
from elman.data.store import Store
from elman.errors import DataError

FILES = {
    "a.csv": 'text,label\n"one, two",a\n"two\nlines ""quoted""\n",b\n\nlast,c',
    "b.tsv": "text\tlabel\r\none\ta\r\n\r\ntwo\tb\r\n",
    "c.jsonl": '{"x": [1, 2], "y": "é"}\n\n{"y": "b", "x": []}\n{"x": [3], "y": "c"}\n',
    "d.txt": "\ufeffone\n\n\ntwo\r\nthree",
    "e.csv": "a,b\n" + "".join(f'{k},"{k * "x"}\n"\n' for k in range(30)),
    "f.conll": "a\tB\nb\tO\n\nc\tO\n",
}


def joined(tables: list[Any]) -> tuple[dict[str, list[Any]], list[int]]:
    """The columns and lines of several tables one after the other."""
    columns = {name: [v for table in tables for v in table.columns[name]] for name in tables[0].columns}
    return columns, [line for table in tables for line in table.lines]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 20, 64, 10_000])
@pytest.mark.parametrize("name", FILES)
def test_the_pieces_are_the_whole(name: str, piece: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    whole = read_table(path)
    tables = list(read_pieces(path, piece=piece))
    assert joined(tables) == (whole.columns, whole.lines)
    assert piece > 64 or name == "f.conll" or len(tables) > 1 or len(FILES[name]) <= piece


@pytest.mark.parametrize("piece", [1, 100, 2000, 10**6])
def test_the_pieces_of_parquet_are_the_whole(piece: int, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    columns = {"x": [[float(k), 0.5] for k in range(50)], "y": [f"label {k}" for k in range(50)]}
    polars.DataFrame(columns).write_parquet(tmp_path / "a.parquet", row_group_size=7)
    tables = list(read_pieces(tmp_path / "a.parquet", piece=piece))
    assert joined(tables) == (columns, list(range(1, 51)))
    assert (len(tables) > 1) == (piece < (tmp_path / "a.parquet").stat().st_size)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match="is not a whole Parquet file"):
        list(read_pieces(tmp_path / "b.parquet", piece=piece))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from('a",\n '), max_size=6), min_size=1, max_size=12), st.integers(1, 40))
def test_any_fields_of_a_csv(tmp_path_factory: pytest.TempPathFactory, fields: list[str], piece: int) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = ['"' + field.replace('"', '""') + '",z\n' for field in fields]
    path.write_text("text,end\n" + "".join(rows), newline="")
    assert joined(list(read_pieces(path, piece=piece)))[0]["text"] == fields


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"a,b\n1,2\n1,2\n1\n", "line 4: expected 2 fields"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n{"a": }\n', "line 3: not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n{"b": 2}\n', "line 3: the keys are not those of .*, line 1"),
        ("a.txt", b"one\ntwo\n\xff\n", "line 3, byte 1 of the line"),
        ("a.txt", b"one\ntwo\n\0\n", "line 3: there is a NUL byte"),
        ("a.txt", b"\n \n", "holds no records"),
        ("a.txt", b"\x1f\x8babc\n", "is packed with gzip"),
        ("a.csv", b'a,b\n1,"2\n', "double quote that is never closed"),
    ],
)
def test_errors_name_the_line_of_the_file(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_pieces(tmp_path / name, piece=8))


def test_a_record_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LONGEST", 100)
    (tmp_path / "a.csv").write_text('a,b\n1,"' + "x\n" * 200)
    with pytest.raises(DataError, match="a record of more than 100 bytes; is a quote never closed"):
        list(read_pieces(tmp_path / "a.csv", piece=16))


def test_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LARGE", 10)
    for name, size, large in (("a.csv", 10, True), ("a.csv", 9, False), ("a.csv.gz", 99, False), ("a.npz", 99, False)):
        (tmp_path / name).write_bytes(b"x" * size)
        assert is_large(tmp_path / name) is large
    assert not is_large(tmp_path / "none.csv")


# -- sequences on disk -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shard_bytes", [1, 100, 10**6])
def test_a_store_is_its_sequences(shard_bytes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in (3, 0, 1, 17, 5, 0, 2)]
    store = Store(tmp_path / "s", iter(sequences), shard_bytes)
    assert len(store) == 7
    assert store.lengths.tolist() == [3, 0, 1, 17, 5, 0, 2]
    assert store.shards[0] == 0
    assert store.shards[-1] == 7
    for found in (list(store), [store[i] for i in range(7)], store[:], [store[i - 7] for i in range(7)]):
        assert all(np.array_equal(a, b) for a, b in zip(found, sequences, strict=True))
    with pytest.raises(IndexError):
        store[7]


def test_a_store_of_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", [])
    assert len(store) == 0
    assert list(store) == []


def test_batches_stay_in_their_shards_and_hold_everything_once(tmp_path: Path) -> None:
    lengths = np.random.default_rng(1).integers(1, 30, 1000)
    store = Store(tmp_path / "s", (np.arange(n) for n in lengths), 2000)
    assert len(store.shards) > 20
    batches = length_batches(lengths, 8, seed=0, epoch=0, groups=store.shards)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    shards = [set(np.searchsorted(store.shards, batch, "right").tolist()) for batch in batches]
    assert all(len(own) == 1 for own in shards)
    order = [next(iter(own)) for own in shards]
    runs = 1 + sum(a != b for a, b in itertools.pairwise(order))
    assert runs == len(store.shards) - 1  # each shard is read once
    again = length_batches(lengths, 8, seed=0, epoch=0, groups=store.shards)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = length_batches(lengths, 8, seed=0, epoch=1, groups=store.shards)
    assert [b.tolist() for b in batches] != [b.tolist() for b in other]
