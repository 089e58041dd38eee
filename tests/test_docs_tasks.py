"""The pages of the tasks keep their word: their Python runs, their commands and options are those of today."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from elman.models.options import OPTIONS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {task: f"{task}.md" for task in OPTIONS}


def page(task: str) -> str:
    return (ROOT / "docs" / PAGES[task]).read_text(encoding="utf-8")


def blocks(task: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(task), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("option_tables", ROOT / "tools" / "option_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", PAGES)
def test_the_table_of_options_is_that_of_the_estimator(task: str, tool: ModuleType) -> None:
    assert tool.PAGES == PAGES
    assert page(task) == tool.current(task, page(task)), "run: python tools/option_tables.py"


@pytest.mark.parametrize("task", PAGES)
def test_the_python_runs(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(task, "python")
    names: dict[str, object] = {}
    with warnings.catch_warnings(action="error"):
        exec(compile(block, PAGES[task], "exec"), names)
    assert list(tmp_path.glob("*.elman"))


@pytest.mark.parametrize("task", PAGES)
def test_what_the_comments_promise(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with a literal list in its comment gives that list."""
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(task, "python")
    promises = re.findall(r"^(model\.\w+\(.*\)) +# (\[.*\])$", block, re.MULTILINE)
    promises = [(call, given) for call, given in promises if "..." not in given]
    assert promises or task not in ("classify", "tag")
    names: dict[str, object] = {}
    exec(compile(block, PAGES[task], "exec"), names)
    for call, given in promises:
        assert eval(call, names) == eval(given), call


@pytest.mark.parametrize("task", PAGES)
def test_options_of_the_commands_exist(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    from elman.cli import main

    lines = re.findall(r"elman (\w+) (.*)$", "\n".join(blocks(task, "sh")), re.MULTILINE)
    assert {verb for verb, _ in lines} >= {"train", "predict"}
    for verb, rest in lines:
        words = [verb, rest.split()[0]] if verb == "train" else [verb]
        assert main([*words, "--help"]) == 0
        offered = capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in offered, (verb, flag)
    for words in (["train", task], ["evaluate"], ["predict"], ["generate"]):
        assert main([*words, "--help"]) == 0
    offered = capsys.readouterr().out
    for flag in re.findall(r"`(--[a-z-]+)", page(task)):
        assert flag in offered, flag


def test_the_python_of_the_page_on_layers_runs() -> None:
    text = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) >= 5
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block, "layers.md", "exec"), names)  # one after the other, as a reader would type them
    assert names["scores"].shape == (4, 5)
    assert names["shares"][0]["weight_i"].shape == (7, 5, 8)


def test_every_page_is_linked_from_the_index() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert pages - set(re.findall(r"\]\(([a-z-]+\.md)\)", index)) == set()
