"""Losses over ragged sequences against plain loops, every reduction; padding that holds anything; gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import DataError, OptionError
from elman.nn import loss as module
from elman.nn.loss import binary_cross_entropy, cross_entropy

T, B, V = 5, 4, 3
LENGTHS = [5, 0, 2, 3]


def sample() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(T, B, V, dtype=torch.float64, generator=generator) * 3
    return logits, torch.randint(0, V, (T, B), generator=generator)


def by_loop(each: Any, lengths: list[int] | None, shares: Any, reduction: str) -> float:
    """each(t, b) the loss of a step, shares(t, b) how much it counts."""
    ends = lengths or [T] * B
    sums = [sum(each(t, b) for t in range(end)) for b, end in enumerate(ends)]
    if reduction == "sum":
        return sum(sums)
    if reduction == "sequence":
        return sum(sums) / B
    return sum(sums) / sum(shares(t, b) for b, end in enumerate(ends) for t in range(end))


@pytest.mark.parametrize("reduction", ["step", "sequence", "sum"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_that_of_a_loop(reduction: Any, lengths: list[int] | None, weighted: bool) -> None:
    logits, targets = sample()
    weight = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64) if weighted else None

    def share(t: int, b: int) -> float:
        return 1.0 if weight is None else weight[targets[t, b]].item()

    def each(t: int, b: int) -> float:
        row = logits[t, b].tolist()
        return share(t, b) * (math.log(sum(math.exp(x) for x in row)) - row[targets[t, b]])

    found = cross_entropy(logits, targets, lengths, weight=weight, reduction=reduction)
    assert found.item() == pytest.approx(by_loop(each, lengths, share, reduction), rel=1e-12)


@pytest.mark.parametrize("reduction", ["step", "sequence", "sum"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("several", [False, True])
def test_binary_cross_entropy_is_that_of_a_loop(reduction: Any, lengths: list[int] | None, several: bool) -> None:
    logits, _ = sample()
    targets = torch.rand(T, B, V, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def one(x: float, y: float) -> float:
        p = 1 / (1 + math.exp(-x))
        return -y * math.log(p) - (1 - y) * math.log(1 - p)

    def each(t: int, b: int) -> float:
        return sum(one(logits[t, b, k].item(), targets[t, b, k].item()) for k in range(V if several else 1))

    x, y = (logits, targets) if several else (logits[..., 0], targets[..., 0])
    found = binary_cross_entropy(x, y, lengths, reduction=reduction)
    assert found.item() == pytest.approx(by_loop(each, lengths, lambda t, b: 1.0, reduction), rel=1e-12)


def test_a_batch_is_its_sequences() -> None:
    logits, targets = sample()
    alone = [cross_entropy(logits[:n, [b]], targets[:n, [b]], reduction="sum") for b, n in enumerate(LENGTHS)]
    together = cross_entropy(logits, targets, torch.tensor(LENGTHS, dtype=torch.int32), reduction="sum")
    assert together.item() == pytest.approx(sum(alone).item(), rel=1e-12)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, 1e300])
def test_padding_may_hold_anything(junk: float) -> None:
    """Neither the loss nor the gradient sees it."""
    logits, targets = sample()
    outside = torch.arange(T)[:, None] >= torch.tensor(LENGTHS)
    clean, dirty = logits.clone().requires_grad_(), logits.masked_fill(outside[..., None], junk).requires_grad_()
    weight = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
    one = cross_entropy(clean, targets, LENGTHS, weight=weight)
    two = cross_entropy(dirty, targets.masked_fill(outside, -100), LENGTHS, weight=weight)
    assert torch.equal(one, two)
    for loss, x in ((one, clean), (two, dirty)):
        loss.backward()
        assert x.grad is not None
        assert not x.grad[outside].any()
    assert torch.equal(clean.grad, dirty.grad)
    first = binary_cross_entropy(clean, torch.sigmoid(logits), LENGTHS)
    labels = torch.sigmoid(logits).masked_fill(outside[..., None], math.nan)
    second = binary_cross_entropy(dirty, labels, LENGTHS)
    assert torch.equal(first, second)
    (gradient,) = torch.autograd.grad(second, dirty)
    assert torch.isfinite(gradient).all()
    assert not gradient[outside].any()


@pytest.mark.parametrize("reduction", ["step", "sequence", "sum"])
def test_gradients(reduction: Any) -> None:
    logits, targets = sample()
    weight = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
    x = logits.requires_grad_()
    labels = torch.rand(T, B, V, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(x, targets, LENGTHS, weight=weight, reduction=reduction), (x,)
    )
    assert torch.autograd.gradcheck(lambda x: binary_cross_entropy(x, labels, LENGTHS, reduction=reduction), (x,))


@pytest.mark.parametrize("reduction", ["step", "sequence", "sum"])
@pytest.mark.parametrize(("steps", "batch"), [(3, 2), (0, 2), (3, 0)])
def test_without_any_step_the_loss_is_zero(reduction: Any, steps: int, batch: int) -> None:
    x = torch.randn(steps, batch, V, requires_grad=True)
    targets = torch.zeros(steps, batch, dtype=torch.long)
    for loss in (
        cross_entropy(x, targets, [0] * batch, reduction=reduction),
        binary_cross_entropy(x, torch.zeros(steps, batch, V), [0] * batch, reduction=reduction),
    ):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, x)
        assert not gradient.any()


def test_whole_numbers_as_binary_targets() -> None:
    x = torch.randn(T, B)
    labels = torch.randint(0, 2, (T, B))
    assert torch.equal(binary_cross_entropy(x, labels), binary_cross_entropy(x, labels.bool()))


def test_clear_errors() -> None:
    logits, targets = sample()
    with pytest.raises(OptionError, match="unknown reduction 'steps' \\(did you mean 'step'"):
        cross_entropy(logits, targets, reduction="steps")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"shape \(5, 4, 3\) and the targets \(4, 5\)"):
        cross_entropy(logits, targets.T)
    with pytest.raises(DataError, match="a loss over sequences"):
        cross_entropy(logits[0], targets[0])
    with pytest.raises(DataError, match="a loss over sequences"):
        binary_cross_entropy(logits, targets)
    with pytest.raises(DataError, match="a length of 6"):
        cross_entropy(logits, targets, [6, 1, 1, 1])
    with pytest.raises(DataError, match="one entry for each sequence"):
        cross_entropy(logits, targets, [1, 1])


# -- the output layer's own ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("rows", "most"), [(7, module.MOST_LOGITS), (7, 10), (1, 1), (0, 10)])
def test_linear_cross_entropy_some_rows_at_a_time(
    smoothing: float, rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LOGITS", most)
    x, weight, bias = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((rows, 3), (5, 3), (5,)))
    targets = torch.randint(0, 5, (rows,))
    found = module.linear_cross_entropy(x, weight, bias, targets, smoothing=smoothing)
    logits = torch.nn.functional.linear(x, weight, bias)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    assert torch.allclose(found, expected)
    grads = torch.autograd.grad(3 * found, (x, weight, bias))
    for grad, other in zip(grads, torch.autograd.grad(3 * expected, (x, weight, bias))):
        assert torch.allclose(grad, other)
    with torch.no_grad():
        assert torch.equal(module.linear_cross_entropy(x, weight, bias, targets, smoothing=smoothing), found)


def test_linear_cross_entropy_of_wrong_shapes() -> None:
    with pytest.raises(DataError, match=r"the steps have the shape \(2, 3, 4\) and the targets \(2, 3\), not \(N, H\)"):
        module.linear_cross_entropy(torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(5), torch.zeros(2, 3).long())
