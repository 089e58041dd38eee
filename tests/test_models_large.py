"""Files larger than memory: read in pieces they teach what they teach whole; the memory stays bounded."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.cli import main
from elman.data import make, pieces, read_table
from elman.data.store import Store
from elman.errors import DataError
from elman.models import SequenceClassifier, SequenceRegressor, large
from elman.models.large import moments

OPTIONS: dict[str, Any] = {"hidden_size": 6, "epochs": 3, "lr": 1e-2, "batch_size": 16, "bidirectional": False}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is large, and is read some records at a time."""
    monkeypatch.setattr(pieces, "LARGE", 1)
    monkeypatch.setattr(pieces.read_pieces, "__kwdefaults__", {**pieces.read_pieces.__kwdefaults__, "piece": 700})


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = (dict(zip(columns, row)) for row in zip(*columns.values()))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def series(count: int) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    found = [rng.normal(7, 3, (int(n), 2)).round(3).tolist() for n in rng.integers(1, 9, count)]
    return {"series": found, "target": [float(np.sum(one)) for one in found]}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("ngrams", [0, 3])
def test_texts_teach_what_they_teach_whole(ngrams: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", make("parity", 200, (1, 8), 0).columns)
    options = {**OPTIONS, "ngrams": ngrams}
    whole = SequenceClassifier(**options).fit(read_table(path))  # one shard: the order of the batches is the same
    cut = SequenceClassifier(**options).fit(path)
    texts = make("parity", 20, (1, 20), 1).column("text")
    assert (whole.predict_proba(texts) == cut.predict_proba(texts)).all()
    assert whole.summary_.best == cut.summary_.best


@pytest.mark.usefixtures("small_pieces")
def test_series_teach_what_they_teach_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", series(150))
    whole = SequenceRegressor(**OPTIONS).fit(read_table(path))
    cut = SequenceRegressor(**OPTIONS).fit(path, folder=tmp_path / "a.run")
    np.testing.assert_allclose(cut.predict(series(9)["series"]), whole.predict(series(9)["series"]), rtol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.run"]  # what lay on disk is gone


@pytest.mark.usefixtures("small_pieces")
def test_many_shards_hold_out_few_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elman.data import store

    monkeypatch.setattr(store.Store.__init__, "__defaults__", (500,))
    monkeypatch.setattr(large, "MOST_HELD", 7)
    path = write(tmp_path / "a.jsonl", make("parity", 200, (1, 8), 0).columns)
    once = SequenceClassifier(**OPTIONS).fit(path)
    first = SequenceClassifier(**{**OPTIONS, "epochs": 1}).fit(path, folder=tmp_path / "a.run")
    assert first.summary_.epochs == 1
    again = SequenceClassifier(**OPTIONS).fit(path, folder=tmp_path / "a.run", resume=True)
    assert (again.predict_proba(["0110", "1"]) == once.predict_proba(["0110", "1"])).all()


@pytest.mark.usefixtures("small_pieces")
def test_errors_name_the_record(tmp_path: Path) -> None:
    columns = series(60)
    columns["target"][40] = "much"
    with pytest.raises(DataError, match=r"a.jsonl, number 41: the number is 'much'"):
        SequenceRegressor(**OPTIONS).fit(write(tmp_path / "a.jsonl", columns))
    columns = series(60)
    columns["series"][50] = [[1.0, 2.0, 3.0]]
    with pytest.raises(DataError, match="channels"):
        SequenceRegressor(**OPTIONS).fit(write(tmp_path / "a.jsonl", columns))


@pytest.mark.usefixtures("small_pieces")
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", make("parity", 80, (1, 8), 0).columns)
    words = "train classify a.jsonl --epochs 1 --hidden-size 4 --test a.jsonl"
    assert main(words.split()) == 0
    assert "bytes, read in pieces" in capsys.readouterr().out


@pytest.mark.parametrize("chunk", [1, 10, 10**6])
def test_moments(chunk: int) -> None:
    rng = np.random.default_rng(2)
    rows = [rng.normal(1000, 2, (n, 3)) for n in (5, 0, 1, 40, 7)]
    mean, deviation = moments(rows, chunk)
    every = np.concatenate(rows)
    np.testing.assert_allclose(mean, every.mean(0), rtol=1e-13)
    np.testing.assert_allclose(deviation, every.std(0), rtol=1e-10)


def test_the_memory_stays_bounded(tmp_path: Path) -> None:
    """Going through 4 MB takes memory for a piece and a shard of 64 KiB, and some copies of each."""
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + ("word " * 40 + "\ta\n") * 20_000)
    tracemalloc.start()
    try:
        tables = pieces.read_pieces(path, piece=1 << 16)
        rows = (np.full(40, len(text), np.int32) for table in tables for text in table.column("text"))
        store = Store(tmp_path / "store", rows, 1 << 16)
        total = sum(int(row[0]) for row in store)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 20_000 * 200
    assert path.stat().st_size > 4_000_000
    assert most < 1.5 * (1 << 20)
