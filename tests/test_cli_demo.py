"""`elman demo`: the text it learns from, what it prints, that it runs twice, that it is honest when it is beaten."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from elman.cli import demo, main
from elman.models.language.ngram import character_bits


def test_the_text_is_the_manual_with_whole_topics_at_the_end_held_out() -> None:
    topics: dict[str, str] = pytest.importorskip("pydoc_data.topics").topics
    train, valid = demo.manual()
    assert train + valid == "\n".join(topics[name] for name in sorted(topics))
    assert 0.1 <= len(valid) / len(train + valid) < 0.2
    assert any(valid.startswith(text) for text in topics.values())


def test_it_runs_twice_and_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(demo.NETWORK, "hidden_size", 24)
    text = "the quick brown fox jumps over the lazy dog; how now, brown cow?\n" * 100
    monkeypatch.setattr(demo, "manual", lambda: (text, text[:2000]))
    monkeypatch.setattr(demo, "_speed", lambda train: 40_000.0)
    for seconds, beaten in (("2", "better than"), ("0.01", "NOT better than")):
        assert main(["demo", "--seconds", seconds, "--threads", "1"]) == 0
        out, err = capsys.readouterr()
        verdict = re.search(r"order 3, Witten-Bell\)  ([\d.]+)\n.* s +([\d.]+)\n  (.*) the order-3 baseline", out)
        assert verdict is not None
        assert float(verdict[1]) == pytest.approx(character_bits(text, text[:2000], 3), abs=1e-3)
        if beaten == "NOT better than":  # a perfectly regular text: counting is hard to beat in no time
            assert verdict[3] == beaten
            assert "elman demo --seconds 0.02" in out
        assert (verdict[3] == "better than") == (float(verdict[2]) < float(verdict[1]))
        assert f"the text of Python's own manual, {len(text) + 2000:,} characters" in err
        for part in ("network ", "learning-curve.png", "samples, temperature", "elman generate demo/manual.elman"):
            assert part in out
    assert {p.name for p in Path("demo").iterdir()} == {"manual.elman", "manual.elman.run", "train.txt", "valid.txt"}
    assert main(["evaluate", "demo/manual.elman", "demo/valid.txt"]) == 0


def test_a_python_without_the_manual_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert main(["demo"]) == 2
    assert "this Python lacks the text of its manual" in capsys.readouterr().err
    Path("file").touch()
    monkeypatch.delitem(sys.modules, "pydoc_data.topics")
    assert main(["demo", "--out", "file"]) == 2
    assert "--out file is a file; name a folder" in capsys.readouterr().err
