"""Every program under examples/ runs as a user would run it, within its time, and says something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SECONDS = 120  # each takes a few; the rest is for a busy machine


def run(path: Path, folder: Path) -> str:
    """What the example prints; it is started in an empty folder, so that it cannot lean on files of the checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, str(path)], cwd=folder, env=environment, capture_output=True, timeout=SECONDS, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "path", [p for p in EXAMPLES if p.stem not in ("my_cell", "answer_questions")], ids=lambda p: p.stem
)
def test_runs(path: Path, tmp_path: Path) -> None:
    assert run(path, tmp_path).strip()


def test_questions_are_answered_better_than_without_the_story(tmp_path: Path) -> None:
    """Beside the most frequent answer of all, and of each kind of question, judged by kind and together."""
    text = run(ROOT / "examples" / "answer_questions.py", tmp_path)
    kinds = re.findall(r"^(\w+|how many) +(\d+)% right; always '.+': (\d+)%$", text, re.MULTILINE)
    assert [kind for kind, *_ in kinds] == ["how many", "what", "where", "whether", "who"]
    # in so few seconds it does not surely learn to say yes or no, which takes a name and a room together
    assert all(int(right) > int(known) for kind, right, known in kinds if kind != "whether"), text
    (together,) = re.findall(r"together +(\d+)% right; by the question alone (\d+)%, always '.+' (\d+)%", text)
    right, question, always = map(int, together)
    assert right > question + 20, text
    assert question > always + 20, text


def test_my_cell_learns(tmp_path: Path) -> None:
    """It ends far below always guessing the mean: only a state can do that, for the mark is out of sight."""
    text = run(ROOT / "examples" / "my_cell.py", tmp_path)
    losses = [float(n) for n in re.findall(r"mean squared error ([\d.]+)", text)]
    mean = float(re.findall(r"guessing the mean: ([\d.]+)", text)[0])
    assert len(losses) == 6
    assert losses[-1] < 0.15 * mean, text
    assert "h' = u ∘ n + (1 − u) ∘ h" in text
