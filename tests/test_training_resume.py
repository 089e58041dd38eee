"""A run that is killed, at any moment, and resumed ends bit for bit as the one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HELPER = Path(__file__).with_name("training_crash.py")


def crash(what: str, kind: str, root: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(HELPER.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HELPER), what, kind, str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill leaves the same files there, and syncing to it costs nothing."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def log_numbers(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "units_per_second")} for line in lines]


def assert_same_run(whole: Path, other: Path) -> None:
    assert (other / "final.safetensors").read_bytes() == (whole / "final.safetensors").read_bytes()
    last = [folder / json.loads((folder / "last.json").read_text())["checkpoint"] for folder in (whole, other)]
    for part in ("model.safetensors", "optimizer.safetensors", "carry.safetensors"):
        assert (last[0] / part).read_bytes() == (last[1] / part).read_bytes()
    assert (
        json.loads((last[0] / "state.json").read_text())["random"]
        == json.loads((last[1] / "state.json").read_text())["random"]
    )
    assert log_numbers(whole) == log_numbers(other)
    steps = [line["step"] for line in log_numbers(other)]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("kind", ["letters", "points"])
def test_killed_at_20_random_moments(kind: str, root: Path) -> None:
    result = crash("random", kind, root)
    assert result["codes"] == [0, *[-9] * 20, 0]  # every kill hit a run that was still going
    assert len(set(result["found"])) >= 8, result["found"]  # and they hit it all along
    assert_same_run(root / "whole", root / "killed")


def test_killed_at_every_call_that_touches_the_disk(root: Path) -> None:
    result = crash("every", "letters", root)
    calls = result["calls"]
    assert result["codes"] == [0, 0, 0, *[-9, 0] * len(calls)]
    kinds = {call.split()[0] for call in calls}
    assert kinds == {"fsync", "replace", "mkdir", "unlink", "rmdir"}
    assert any(call.startswith("replace tmp-best") for call in calls)
    for number in range(1, len(calls) + 1):
        assert_same_run(root / "whole", root / f"call-{number}")
        left = {path.name for path in (root / f"call-{number}").iterdir()}
        assert left == {"best-12.safetensors", "checkpoint-12", "final.safetensors", "last.json", "log.jsonl"}
