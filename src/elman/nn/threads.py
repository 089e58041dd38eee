"""Which threads the kernels run on: torch's own where these spin between operations, else the engine's pool.

After each of its operations torch's OpenMP threads spin for some milliseconds, so that threads of a pool would find the
processors taken: training with both was slower than on torch alone (`benchmarks/speed/end_to_end.py`). Where they sleep
(OMP_WAIT_POLICY=PASSIVE), the pool's threads, which wake on a processor that is free, are the better ones.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

import torch

from elman.engine.plans import Engine

_FUNCTIONS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


@cache
def lend(engine: Engine) -> None:
    """Let the kernels of an engine run on torch's threads, where they are to. Once for each engine."""
    if (found := _functions()) is not None:
        engine.lend(*found)


def _spin() -> bool:
    """Whether torch's threads spin after an operation, as GNU's OpenMP library reads its variables."""
    policy, count = os.environ.get("OMP_WAIT_POLICY", ""), os.environ.get("GOMP_SPINCOUNT", "")
    there: bool = torch.backends.openmp.is_available()  # type: ignore[no-untyped-call]
    return there and (count or policy.strip().upper()) not in ("0", "PASSIVE")


def _functions() -> list[int | None] | None:
    """The addresses of what torch's OpenMP library starts and numbers its threads by; None where its threads sleep or
    it has others."""
    if not _spin():
        return None
    for place in (None, torch._C.__file__):  # as the loader looks names up: in what all may see, then in torch's own
        library = ctypes.CDLL(place)
        if all(hasattr(library, name) for name in _FUNCTIONS):
            return [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    return None
