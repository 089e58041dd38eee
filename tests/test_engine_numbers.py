"""The functions of vector.h over all magnitudes, in units of the last place; the processor's modes stay as they are.

For every instruction set of the machine and both number types.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from elman.cells import cell
from elman.engine import build
from engine_kit import BY_ROWS, BY_UNITS, EVERY, Case, fast, outcome, problem, sharing

Array = npt.NDArray[np.floating]
ISAS = build.isas()
TYPES: dict[str, tuple[Any, Any]] = {"float": (np.float32, np.float64), "double": (np.float64, np.longdouble)}
"""A type, and a wider one in which the truth is computed."""
TRUTH: dict[str, Callable[[Array], Array]] = {
    "exponential": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh_": np.tanh,
    "softplus": lambda x: np.logaddexp(x.dtype.type(0), x),
    "logarithm": np.log,
    "root": np.sqrt,
}
BOUND: dict[str, tuple[float, float]] = {
    "exponential": (2, 1.5), "sigmoid": (3, 2.5), "tanh_": (6, 3), "softplus": (3, 3), "logarithm": (1, 1),
    "root": (0.5, 0.5),
}  # fmt: skip
"""Units of the last place in float32 and float64: what was observed, rounded up. (glibc's logf has 0.82.)"""
FLUSHED = {"exponential": (-86.9, -708.04), "sigmoid": (-86, -708), "softplus": (-86.9, -708.04)}
"""Below these the result is 0 by design, in float32 and float64: the truth is less than 5e-38 and 4e-308."""
EXACT: dict[str, Callable[[Array], Array]] = {
    "absolute": np.abs, "sign": np.sign, "rectify": lambda x: np.maximum(x, 0),
}  # fmt: skip
PAIRS = {"least": np.minimum, "most": np.maximum}


@functools.cache
def probe(isa: str, real: str) -> ctypes.CDLL:
    text = ['#include "cell.h"']
    for name in (*TRUTH, *EXACT, *PAIRS):
        given = "load(x + i), load(z + i)" if name in PAIRS else "load(x + i)"
        text.append(
            f'extern "C" void p_{name}(const real* x, const real* z, real* y, long n) '
            f"{{ for (long i = 0; i < n; i += L) store(y + i, {name}({given})); }}"
        )
    code = build.load("probe", "\n".join(text), isa, real)
    assert code is not None
    return code


def compiled(name: str, isa: str, real: str, x: Array, z: Array | None = None) -> Array:
    """The function of x, whose size may be any."""
    whole, other = (np.concatenate([a, np.zeros(-len(a) % 16, a.dtype)]) for a in (x, x if z is None else z))
    found, function = np.empty_like(whole), getattr(probe(isa, real), f"p_{name}")
    function.argtypes, function.restype = [ctypes.c_void_p] * 3 + [ctypes.c_long], None
    function(whole.ctypes.data, other.ctypes.data, found.ctypes.data, len(whole))
    return found[: len(x)]


@functools.cache
def magnitudes(real: str) -> Array:
    """Every exponent (of denormal numbers too, infinity and NaN) with some mantissas and the outermost, both signs;
    and many from where the functions bend."""
    random, dtype = np.random.default_rng(3), TYPES[real][0]
    bits, mantissa, word = (8, 23, np.uint32) if real == "float" else (11, 52, np.uint64)
    exponents = np.arange(2**bits, dtype=word)[:, None] << word(mantissa)
    some = random.integers(0, 2**mantissa, (2**bits, 2 ** (18 - bits)), dtype=word)
    some[:, :3] = 0, 1, 2**mantissa - 1
    all_of_them = (exponents | some).view(dtype).ravel()
    reach = 100 if real == "float" else 800
    dense = [np.linspace(-top, top, 60_000) for top in (1, 10, reach)]
    return np.concatenate([all_of_them, -all_of_them, *(d.astype(dtype) for d in dense)])


def spread(name: str, real: str, found: Array) -> tuple[float, Array]:
    """(largest error in units of the last place, where the result was flushed to zero)."""
    x, wide = magnitudes(real), TYPES[real][1]
    with np.errstate(all="ignore"):
        true = TRUTH[name](x.astype(wide))
        rounded = true.astype(x.dtype)
    assert np.array_equal(np.isnan(found), np.isnan(rounded)), "NaN comes of NaN and of what has no value"
    wrong = (np.isinf(rounded) | np.isinf(found)) & (found != rounded)
    assert not wrong.any(), x[wrong][:5]
    flushed = (found == 0) & (true != 0)
    judged = np.isfinite(rounded) & ~flushed
    limits = np.finfo(x.dtype)
    ulp = np.maximum(np.ldexp(limits.eps, np.frexp(rounded[judged])[1] - 1), limits.smallest_subnormal)
    error = np.abs((found[judged].astype(wide) - true[judged]) / ulp.astype(wide))
    assert np.array_equal(np.signbit(found[judged]), np.signbit(rounded[judged])), "-0 too"
    return float(error.max()), x[flushed]


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", TRUTH)
def test_functions_over_all_magnitudes(name: str, isa: str, real: str) -> None:
    """Within, in units of the last place of float32 (float64): exp 2 (1.5), sigmoid 3 (2.5), tanh 6 (3), softplus 3
    (3), log 1 (1), sqrt 0.5 (0.5). NaN, infinities, signed zeros and denormal numbers are as in numpy, but that exp and
    sigmoid are 0 below -86.9 and -86 (-708.04 and -708), where the truth is about the smallest normal number."""
    which = list(TYPES).index(real)
    error, flushed = spread(name, real, compiled(name, isa, real, magnitudes(real)))
    assert error <= BOUND[name][which], error
    if name in FLUSHED:
        assert (flushed < FLUSHED[name][which]).all(), flushed.max()
        least = np.array([FLUSHED[name][which] * 1.0005, -np.inf], flushed.dtype)
        assert not compiled(name, isa, real, least).any()
    else:
        assert not flushed.size


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("isa", ISAS)
def test_an_error_would_be_seen(isa: str, real: str) -> None:
    """`spread` can fail: results nudged by a few units of the last place are out of bounds, a lost NaN raises."""
    found = compiled("exponential", isa, real, magnitudes(real))
    nudge = 1 - 8 * np.finfo(found.dtype).eps
    assert spread("exponential", real, np.where(np.isfinite(found), found * nudge, found))[0] > 4
    with pytest.raises(AssertionError, match="NaN"):
        spread("exponential", real, np.nan_to_num(found, posinf=np.inf))


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("isa", ISAS)
def test_comparisons_are_exact_and_pass_nan_on(isa: str, real: str) -> None:
    x = magnitudes(real)
    for name, true in EXACT.items():
        assert np.array_equal(compiled(name, isa, real, x), true(x), equal_nan=True), name
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2, np.finfo(x.dtype).smallest_subnormal], x.dtype)
    a, b = (grid.ravel() for grid in np.meshgrid(odd, odd))
    for name, of_two in PAIRS.items():
        assert np.array_equal(compiled(name, isa, real, a, b), of_two(a, b), equal_nan=True), name


def modes() -> tuple[int, float, float, float]:
    """The rounding mode, a denormal product, denormal input, and a sum that rounding up or down would change."""
    tiny, eps = np.float32([1e-30, 1e-40]), np.float32(2**-24)
    product, kept = tiny[:1] * np.float32(1e-10), tiny[1:] * np.float32(1)
    return ctypes.CDLL(None).fegetround(), float(product[0]), float(kept[0]), float(np.float32(1) + eps)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_processors_modes_stay_as_they_are(threads: int) -> None:
    """No call turns denormal numbers off or another rounding on, in the calling thread."""
    torch.set_num_threads(threads)
    before = modes()
    assert before[1:] == (float(np.float32(1e-40)), float(np.float32(1e-40)), 1.0)
    for case in (Case(2, 3, (3, 5, 5)), BY_ROWS, BY_UNITS):
        for dtype in (torch.float32, torch.float64):
            program = EVERY["gru"]
            outcome(fast(program, case), program, case, problem(program, case), dtype)
            assert modes() == before


def test_denormal_numbers_stay_what_they_are_in_every_thread() -> None:
    @cell
    def halving(x: Any, h: Any, W: Any) -> Any:
        return 0.5 * h + W.h(x, h)  # zero weights: the map is there so that it is worth two threads

    torch.set_num_threads(2)
    for case, by_rows in ((BY_ROWS, True), (BY_UNITS, False)):
        x, states, weights = problem(halving.program, case)
        weights = {name: torch.zeros_like(weight).float() for name, weight in weights.items()}
        first = [torch.full_like(s, 1e-40, dtype=torch.float32) for s in states]
        with sharing(torch.float32) as seen:
            sequences, _ = fast(halving.program, case)(weights, x.float(), first)
        assert seen == [(2, by_rows)]
        wanted = np.float32(1e-40) * np.float32(0.5)
        assert wanted > 0
        assert (sequences[0][0].numpy() == wanted).all()
