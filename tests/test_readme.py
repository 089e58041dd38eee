"""The README keeps its word: its Python runs, its table of cells is current, its pages and commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from elman.cells.table import table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_table_of_cells_is_the_one_that_the_programs_print() -> None:
    assert table(128, 128, markdown=True).strip() in README, (
        "run: .venv/bin/python -c 'from elman.cells.table import table; print(table(128, 128, markdown=True))'"
    )


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert len(found) >= 4
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, "README.md", "exec"), names)  # one after the other, as a reader would type them
    assert "output" in names


def test_the_page_on_streaming_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cells"))
    page = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/streaming.md", "exec"), names)
    assert names["logits"].shape == (2,)
    assert names["likely"] in names["stream"].tokens
    assert set(names["found"]) <= set(names["tagger"].labels)


def test_every_command_is_one_that_elman_has(capsys: pytest.CaptureFixture[str]) -> None:
    from elman.cli import main

    verbs = set(re.findall(r"^elman ([a-z]+)", "\n".join(blocks("sh")), re.MULTILINE))
    assert {"train", "evaluate", "predict", "generate", "info", "cells"} <= verbs
    for verb in verbs:
        assert main([verb, "--help"]) == 0, verb
    capsys.readouterr()


def test_options_of_the_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from elman.cli import main

    lines = re.findall(r"^elman train .*$", "\n".join(blocks("sh")).replace("\\\n", " "), re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        assert main(["train", line.split()[2], "--help"]) == 0
        offered = capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", line):
            assert flag in offered, line
