"""Drawing a token: the exact truncated distributions by chi-square, the edges of temperature, what is never drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.errors import OptionError
from elman.models.language.sampling import check, draw

SHARES = [0.32, 0.05, 0.24, 0.02, 0.21, 0.16]
LOGITS = torch.tensor(SHARES, dtype=torch.float64).log() + 3.0
DRAWS = 3000
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}  # chi-square beyond which chance is 1 in 1,000


def exact(temperature: float, top_k: int | None, top_p: float | None, never: Sequence[int]) -> list[float]:
    """The distribution that is meant, in plain Python."""
    shares = [0.0 if i in never else p ** (1 / temperature) for i, p in enumerate(SHARES)]
    shares = [p / sum(shares) for p in shares]
    order = sorted(range(len(shares)), key=lambda i: -shares[i])
    kept, before = [], 0.0
    for rank, i in enumerate(order):
        if (top_k is None or rank < top_k) and (top_p is None or before < top_p):
            kept.append(i)
        before += shares[i]
    total = sum(shares[i] for i in kept)
    return [shares[i] / total if i in kept else 0.0 for i in range(len(shares))]


def counts(logits: Tensor, seed: int = 0, **how: Any) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    found = [draw(logits, generator, **how) for _ in range(DRAWS)]
    return np.bincount(found, minlength=len(logits)).tolist()


def chi_square(found: list[int], shares: list[float]) -> float:
    return sum((n - DRAWS * p) ** 2 / (DRAWS * p) for n, p in zip(found, shares) if p)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "never", "kept"),
    [
        (1.0, None, None, (), 6),
        (0.5, None, None, (), 6),
        (2.0, None, None, (1,), 5),
        (1.0, 3, None, (), 3),
        (1.0, 100, 1.0, (), 6),
        (1.0, None, 0.6, (), 3),
        (1.0, None, 0.5, (0,), 2),
        (0.7, 5, 0.8, (4,), 3),
        (1.0, 2, 0.9, (), 2),
    ],
)
def test_draws_follow_the_truncated_distribution(
    temperature: float, top_k: int | None, top_p: float | None, never: tuple[int, ...], kept: int
) -> None:
    shares = exact(temperature, top_k, top_p, never)
    assert sum(p > 0 for p in shares) == kept
    found = counts(LOGITS, temperature=temperature, top_k=top_k, top_p=top_p, never=never)
    assert all(n == 0 for n, p in zip(found, shares) if not p)
    assert chi_square(found, shares) < CRITICAL[kept - 1]


def test_the_measure_would_notice_a_wrong_distribution() -> None:
    found = counts(LOGITS)
    assert chi_square(found, exact(1.25, None, None, ())) > CRITICAL[5]


def test_temperature_zero_takes_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw(LOGITS, generator, 0) == 0
    assert draw(LOGITS, generator, 0.0, never=[0]) == 2
    assert {draw(LOGITS, generator, 1e-300) for _ in range(20)} == {0}
    assert {draw(LOGITS, generator, 5e-324) for _ in range(20)} == {0}
    assert {draw(LOGITS, generator, 1.0, top_k=1) for _ in range(20)} == {0}
    assert {draw(LOGITS, generator, 1.0, top_p=1e-12) for _ in range(20)} == {0}


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("temperature", [1e-30, 1.0, 1e30])
def test_extreme_logits_and_temperatures_draw_a_token(scale: float, temperature: float) -> None:
    logits = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float32) * scale
    assert draw(logits, torch.Generator().manual_seed(0), temperature, never=[1]) in (0, 2)


def test_a_high_temperature_makes_all_alike() -> None:
    found = counts(LOGITS, temperature=1e6, never=(3,))
    assert chi_square(found, [0.2, 0.2, 0.2, 0.0, 0.2, 0.2]) < CRITICAL[4]


def test_equal_logits_keep_the_first_ones() -> None:
    """Ties are cut in the order of the tokens, on every machine alike."""
    generator = torch.Generator().manual_seed(0)
    assert {draw(torch.zeros(50), generator, 1.0, top_k=2) for _ in range(40)} == {0, 1}


def test_the_logits_are_left_as_they_are_and_the_seed_decides() -> None:
    logits = LOGITS.clone()
    assert counts(logits, 5, never=(0, 1))[:50] == counts(logits, 5, never=(0, 1))[:50]
    assert torch.equal(logits, LOGITS)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ((-0.1, None, None), "--temperature must be a number, 0 or more, not -0.1"),
        ((math.nan, None, None), "--temperature"),
        ((math.inf, None, None), "--temperature"),
        ((1.0, 0, None), "--top-k must be a whole number, 1 or more, not 0"),
        ((1.0, True, None), "--top-k"),
        ((1.0, None, 0.0), "--top-p must be above 0 and at most 1, not 0.0"),
        ((1.0, None, 1.5), "--top-p"),
        ((1.0, None, math.nan), "--top-p"),
    ],
)
def test_what_cannot_be_drawn_with(how: tuple[float, int | None, float | None], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check(*how)
    with pytest.raises(OptionError, match=message):
        draw(LOGITS, torch.Generator(), *how)
