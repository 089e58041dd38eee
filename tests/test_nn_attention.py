"""Attention against the formulas written out pair by pair, with lengths, large memories and damaged padding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import DataError, OptionError
from elman.nn import Attention
from elman.nn import attention as module

Q, M, A = 5, 4, 3


def made(kind: str) -> Attention:
    attention = Attention(kind, Q, M, A).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention


def slow(attention: Any, query: Tensor, values: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """One query (Q) to one memory (S, M)."""
    scores = []
    for part in values[:length]:
        key = attention.key.weight @ part
        if attention.kind == "dot":
            scores.append(query @ key)
        else:
            compared = torch.tanh(attention.query.weight @ query + key + attention.key.bias)
            scores.append(attention.score.weight[0] @ compared)
    if not scores:
        return values.new_zeros(M), values.new_zeros(len(values))
    shares = [math.e**score for score in scores]
    weights = torch.stack([share / sum(shares) for share in shares])
    return weights @ values[:length], torch.cat([weights, values.new_zeros(len(values) - length)])


@pytest.mark.parametrize("kind", module.KINDS)
@pytest.mark.parametrize(("steps", "parts", "lengths"), [(1, 1, [1, 0]), (3, 7, [7, 2]), (5, 2, None), (2, 3, [0, 0])])
@pytest.mark.parametrize("most", [module.MOST, 20])
def test_contexts_weights_and_gradients(
    kind: str, steps: int, parts: int, lengths: list[int] | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", most)  # 20: two steps at a time, computed again in the backward pass
    attention = made(kind)
    query, values = torch.randn(steps, 2, Q).double(), torch.randn(parts, 2, M).double()
    if lengths:
        for b, n in enumerate(lengths):
            values[n:, b] = math.nan  # what is beyond a length may hold anything
    query.requires_grad_()
    values.requires_grad_()
    context, weights = attention(query, attention.remember(values, lengths))
    assert context.shape == (steps, 2, M)
    assert weights.shape == (steps, 2, parts)
    scales = torch.randn(steps, 2, M).double()
    inputs = [query, values, *attention.parameters()]
    grads = torch.autograd.grad((context * scales).sum(), inputs)
    ends = lengths or [parts] * 2
    expected = context.new_zeros(())
    for t in range(steps):
        for b in range(2):
            one, shares = slow(attention, query[t, b], values[:, b], ends[b])
            assert torch.allclose(context[t, b], one, atol=1e-12)
            assert torch.allclose(weights[t, b], shares, atol=1e-12)
            expected = expected + (one * scales[t, b]).sum()
    if any(ends):
        others = torch.autograd.grad(expected, inputs, allow_unused=True, materialize_grads=True)
        for grad, other in zip(grads, others):
            assert torch.allclose(grad.nan_to_num(math.inf), other, atol=1e-10)


def test_weights_are_shares_of_what_is_there() -> None:
    attention = made("additive")
    _, weights = attention(torch.randn(4, 3, Q).double(), attention.remember(torch.randn(6, 3, M).double(), [6, 1, 4]))
    assert torch.allclose(weights.sum(-1), torch.ones(4, 3).double())
    assert torch.equal(weights[:, 1], torch.eye(6)[0].double().expand(4, -1))
    assert not weights[:, 2, 4:].any()


def test_what_cannot_be() -> None:
    with pytest.raises(OptionError, match=r"unknown attention 'aditive' .did you mean 'additive'"):
        Attention("aditive", Q, M)
    with pytest.raises(DataError, match=r"a memory has the shape \(S, B, 4\), not \(2, 3, 5\)"):
        made("dot").remember(torch.zeros(2, 3, 5).double())
    with pytest.raises(DataError, match="a length of 3 does not fit"):
        made("dot").remember(torch.zeros(2, 1, M).double(), [3])
