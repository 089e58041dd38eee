"""What every test shares: one thread, a fixed seed, hypothesis' manners, and the way to the real data."""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

# Set before torch is first imported: two pytest workers share two cores, and tests without torch need not load it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("elman", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "elman")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets (../shared/data beside the checkout) are not on this machine")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Every test starts from the same random numbers, whichever ran before it on the same worker."""
    random.seed(1990)
    np.random.seed(1990)  # scikit-learn draws from here by default
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
        torch.manual_seed(1990)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `run` runs; a file of tests may have a folder of its own, with files in it."""
    return tmp_path


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    """Runs one command line in the folder; stdout and stderr, which has one sentence where the exit code is 2."""
    from elman.cli import main

    monkeypatch.chdir(folder)
    capsys.readouterr()

    def call(*words: str | Path, code: int = 0, stdin: str | bytes = "") -> tuple[str, str]:
        raw = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        found = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert found == code, err
        if code == 2:
            assert err.startswith("elman: ")
            assert err.count("\n") == 1
        return out, err

    return call
