"""The course keeps its word: every page and picture is what its script says, prints and draws today."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import matplotlib.image
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "docs" / "learn"
SCRIPTS = sorted(COURSE.glob("[0-9][0-9]_*.py"))
NUMBER = re.compile(r"[-+−]?\d[\d,]*\.?\d*(?:e[-+]\d+)?")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("learn", ROOT / "tools" / "learn.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value(number: str) -> float:
    return float(number.replace("−", "-").replace(",", ""))


def unit(number: str) -> float:
    """What one more in the last digit is worth."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)


def alike(page: str, fresh: str) -> bool:
    """The same prose and code; what is printed too, but for what another processor's rounding may change:
    numbers within 5 %, or two in the last digit."""
    one, other = (re.split(r"(^```text\n.*?^```$)", text, flags=re.DOTALL | re.MULTILINE) for text in (page, fresh))
    if one[::2] != other[::2] or len(one) != len(other):
        return False
    for printed, again in zip(one[1::2], other[1::2]):
        spaces = [re.sub(r"\s+", " ", NUMBER.sub("0", text)) for text in (printed, again)]
        if spaces[0] != spaces[1]:
            return False
        for a, b in zip(NUMBER.findall(printed), NUMBER.findall(again)):
            if abs(value(a) - value(b)) > max(0.05 * abs(value(a)), 2 * unit(a)):
                return False
    return True


def test_a_change_is_seen() -> None:
    page = "Prose, 3.\n\n```python\nx = 1.5\n```\n\n```text\nloss 1.234e-05, 12 steps\n```\n"
    assert alike(page, page)
    assert alike(page, page.replace("1.234e-05", "1.236e-05"))
    for before, after in (
        ("Prose", "Prosa"),
        ("3", "4"),
        ("1.5", "1.51"),
        ("1.234", "1.534"),
        ("12", "19"),
        ("loss", "gain"),
    ):
        assert not alike(page, page.replace(before, after)), before


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_page_is_what_its_script_says_and_prints(
    script: Path, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script runs, its claims hold, and its page and pictures are the committed ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with warnings.catch_warnings(action="error"):
        fresh = tool.page(script)
    page = script.with_suffix(".md").read_text(encoding="utf-8")
    assert "assert" in fresh
    assert alike(page, fresh), f"run: python tools/learn.py {script.stem}"
    drawn = {path.name for path in Path("pictures").glob("*.png")} if Path("pictures").is_dir() else set()
    assert drawn == set(re.findall(r"\]\(pictures/([\w-]+\.png)\)", page))
    for name in drawn:
        committed, again = (matplotlib.image.imread(folder / "pictures" / name) for folder in (COURSE, tmp_path))
        assert (COURSE / "pictures" / name).stat().st_size < 60_000
        assert committed.shape == again.shape
        other = np.abs(committed - again).max(-1) > 0.3
        assert other.mean() < 0.002, f"{name} is drawn otherwise: run: python tools/learn.py {script.stem}"


def test_the_course_is_linked_and_leads_on() -> None:
    index = (COURSE / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d\d_\w+)\.md\)", index) == [script.stem for script in SCRIPTS]
    for page in COURSE.glob("*.md"):
        links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if ":" not in link]
        assert [link for link in links if not (COURSE / link.split("#")[0]).exists()] == [], page.name
    pictures = {path.name for path in (COURSE / "pictures").iterdir()}
    assert pictures == {
        name for page in COURSE.glob("*.md") for name in re.findall(r"pictures/([\w-]+\.png)", page.read_text("utf-8"))
    }
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert "learn/README.md" in page.read_text(encoding="utf-8")
