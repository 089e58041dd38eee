"""Real processes of the command line: killed and resumed, stopped by Ctrl-C, a failure seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from elman.cli import main
from elman.runtime import load

TEXT = "the quick brown fox jumps over the lazy dog, and back again\n" * 120
OPTIONS = [
    "--hidden-size", "12", "--epochs", "4", "--batch-size", "4", "--bptt", "40", "--dropout", "0.2", "--validate-every",
    "30", "--threads", "1",
]  # fmt: skip
ELMAN = [sys.executable, "-m", "elman"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A process of the command line in its own group, as a shell starts it."""
    command = [*ELMAN, "train", "language-model", "text.txt", "--out", "m", "--checkpoint-steps", "1", *OPTIONS, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Until a checkpoint at this step or later is there."""
    for _ in range(6000):
        if (run / "last.json").exists():
            name = json.loads((run / "last.json").read_text())["checkpoint"]
            if name is not None and int(name.removeprefix("checkpoint-").rstrip("b")) >= step:
                return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("no checkpoint within a minute")


def test_killed_and_resumed_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    process = start(tmp_path)
    wait_for_step(process, tmp_path / "m.run", 25)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "m").exists()

    process = start(tmp_path, "--resume")  # and stopped once more, by Ctrl-C
    wait_for_step(process, tmp_path / "m.run", 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.rstrip().splitlines()[-1].startswith("stopped; go on with: elman train language-model text.txt --out m ")
    assert err.rstrip().endswith(" --resume")
    assert "Traceback" not in err

    words = ["train", "language-model", str(tmp_path / "text.txt"), *OPTIONS, "--quiet", "--out"]
    assert main([*words, str(tmp_path / "m"), "--resume"]) == 0
    assert main([*words, str(tmp_path / "whole")]) == 0
    (broken, tensors), (whole, expected) = load(tmp_path / "m"), load(tmp_path / "whole")
    assert list(tensors) == list(expected)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name])
    for figure in ("best", "best_step", "last", "steps"):
        assert broken.training[figure] == whole.training[figure]


def test_a_failure_seen_from_outside(tmp_path: Path) -> None:
    run = subprocess.run(
        [*ELMAN, "train", "classify", "nope.csv"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "elman: there is no file nope.csv; check the path\n"
    assert os.listdir(tmp_path) == []  # noqa: PTH208
