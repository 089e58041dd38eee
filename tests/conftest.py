"""What every test shares: one thread, a fixed seed, hypothesis' manners, and the way to the real data."""

from __future__ import annotations

import os
import random
import sys
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
