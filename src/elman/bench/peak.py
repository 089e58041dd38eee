"""The most that the processor can do: float32 multiply-adds a second in registers, measured on one or several cores."""

from __future__ import annotations

import ctypes
import functools
import time
from concurrent.futures import ThreadPoolExecutor

from elman.engine import build

ROUNDS = 2_000_000
"""5 to 15 ms on a core of 100 to 300 GFLOP/s: threads start within a hundredth of that."""
# The sums are independent, and more than the latency of a multiply-add times those begun in a cycle (4 x 2), so that no
# unit waits; all fit in registers.
KERNEL = """
#if defined(__AVX512F__)
enum { LANES = 16, SUMS = 24 };
#elif defined(__AVX__)
enum { LANES = 8, SUMS = 12 };
#elif defined(__aarch64__)
enum { LANES = 4, SUMS = 24 };
#else
enum { LANES = 4, SUMS = 12 };
#endif
typedef float V __attribute__((vector_size(4 * LANES)));
extern "C" long flops_of_a_round() { return 2L * SUMS * LANES; }
extern "C" float multiply_add(long rounds, float factor, float summand) {
    V sums[SUMS], x = factor - V{}, y = summand - V{};
    for (int i = 0; i < SUMS; i++) sums[i] = (float)i - V{};
    for (long round = 0; round < rounds; round++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * x + y;
    V all{};
    for (int i = 0; i < SUMS; i++) all += sums[i];
    return all[0] + all[LANES - 1];
}
"""


WARM_UP = 5


class Peak:
    """Calling it keeps `threads` threads multiplying and adding; `flops` is the work of a call.

    rate: operations a second of the fastest call so far. On a shared machine one of the threads often waits for its
    core: a call that did not is what the processor can do, and the median of a few is not.
    """

    def __init__(self, threads: int, kernel: ctypes.CDLL) -> None:
        self._count, self._kernel = threads, kernel
        self._threads = ThreadPoolExecutor(threads)
        self.flops: int = threads * ROUNDS * kernel.flops_of_a_round()
        self.rate = 0.0
        for _ in range(WARM_UP):
            self()

    def __call__(self) -> None:
        """The threads run beside each other: ctypes gives the interpreter's lock away meanwhile."""
        start = time.perf_counter()
        for _ in self._threads.map(self._run, range(self._count)):
            pass
        self.rate = max(self.rate, self.flops / (time.perf_counter() - start))

    def _run(self, _: int) -> None:
        self._kernel.multiply_add(ROUNDS, 0.5, 0.5)  # the sums go to 1: neither infinite nor denormal


@functools.cache
def peak(threads: int) -> Peak | None:
    """The processor's peak on `threads` threads, to be called; None, after one warning, without a C++ compiler."""
    kernel = _kernel()
    return None if kernel is None else Peak(threads, kernel)


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    kernel = build.load("fma_peak", KERNEL, build.isas()[0], "float")
    if kernel is None:
        return None
    kernel.multiply_add.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_float]
    kernel.multiply_add.restype = ctypes.c_float
    kernel.flops_of_a_round.restype = ctypes.c_long
    return kernel
