"""Pooling over time against a loop over sequences, and deep output layers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import DataError, OptionError
from elman.nn import Head, Pool, Recurrent
from elman.nn.head import ACTIVATIONS, POOLINGS, last_output

T, B, H = 5, 4, 3
LENGTHS = [3, 0, 5, 1]


def alone(pool: Pool, steps: Tensor) -> Tensor:
    """The pooling of one sequence (T, H), as it is defined."""
    if not len(steps):
        return torch.zeros(H, dtype=steps.dtype)
    if pool.kind == "attention":
        assert pool.attention is not None
        return (pool.attention(steps).softmax(0) * steps).sum(0)
    return {"mean": steps.mean(0), "sum": steps.sum(0), "max": steps.max(0).values}[pool.kind]


@pytest.mark.parametrize("kind", [kind for kind in POOLINGS if kind != "last"])
def test_a_pool_is_its_definition_on_each_sequence(kind: str) -> None:
    """Values and gradients; NaN beyond a length reaches neither."""
    pool = Pool(kind, H).double()
    output = torch.randn(T, B, H, dtype=torch.float64)
    for b, n in enumerate(LENGTHS):
        output[n:, b] = torch.nan
    output.requires_grad_()
    leaves = [output, *pool.parameters()]
    for lengths in (LENGTHS, torch.tensor(LENGTHS, dtype=torch.uint8)):
        pooled = pool(output, torch.zeros(B, H).double(), lengths)
        wanted = torch.stack([alone(pool, output[:n, b]) for b, n in enumerate(LENGTHS)])
        torch.testing.assert_close(pooled, wanted, rtol=1e-12, atol=1e-13)
        shares = torch.randn_like(wanted)
        gradients = [torch.autograd.grad((p * shares).sum(), leaves) for p in (pooled, wanted)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    whole = pool(output.nan_to_num(), torch.zeros(B, H).double())
    torch.testing.assert_close(whole, pool(output.nan_to_num(), torch.zeros(B, H).double(), [T] * B))


@pytest.mark.parametrize("kind", POOLINGS)
def test_no_steps_at_all(kind: str) -> None:
    for steps, lengths in ((0, None), (0, [0] * B), (T, [0] * B)):
        output = torch.randn(steps, B, H, requires_grad=True)
        pooled = Pool(kind, H)(output, torch.zeros(B, H), lengths)
        assert torch.equal(pooled, torch.zeros(B, H))
        if kind != "last" and steps:
            pooled.sum().backward()
            assert output.grad is not None
            assert output.grad.isfinite().all()
    assert Pool(kind, H)(torch.zeros(T, 0, H), torch.zeros(0, H)).shape == (0, H)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("cell", ["lstm", "jordan"])
def test_last_is_each_directions_own_last_state(cell: str, direction: Any) -> None:
    layer = Recurrent(cell, 2, H, 2, direction=direction)
    x = torch.randn(T, B, 2)
    output, state = layer(x, lengths=LENGTHS)
    pooled = Pool("last", layer.output_size)(output, last_output(layer, state), LENGTHS)
    for b, n in enumerate(LENGTHS):
        ends = {"forward": output[n - 1, b, :H], "backward": output[0, b, -H:]} if n else {}
        parts = ("forward", "backward") if direction == "both" else (direction,)
        wanted = torch.cat([ends.get(part, torch.zeros(H)) for part in parts])
        assert torch.equal(pooled[b], wanted)


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        Pool("meen", H)
    output, last = torch.zeros(T, B, H), torch.zeros(B, H)
    for bad, said in (([1], "shape (4,), not (1,)"), ([6] * B, "a length of 6"), ([0.5] * B, "whole numbers")):
        with pytest.raises(DataError, match=re.escape(said)):
            Pool("mean", H)(output, last, bad)
    with pytest.raises(DataError, match="outputs of shape"):
        Pool("mean", H)(output[0], last)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_head_works_at_every_step_and_after_a_pool(activation: str) -> None:
    head = Head(H, 2, (7, 5), activation=activation, output_activation="sigmoid", dropout=0.5).eval()
    x = torch.randn(T, B, H)
    assert head(x).shape == (T, B, 2)
    torch.testing.assert_close(head(x)[1, 2], head(x[1, 2]))
    assert [m.out_features for m in head if isinstance(m, torch.nn.Linear)] == [7, 5, 2]
    assert ((head(x) > 0) & (head(x) < 1)).all()
    g = ACTIVATIONS[activation]()
    one, two, three = (m for m in head if isinstance(m, torch.nn.Linear))
    torch.testing.assert_close(head(x), three(g(two(g(one(x))))).sigmoid())
    assert not torch.equal(head.train()(x), head(x))


def test_a_head_without_further_layers_is_linear() -> None:
    head = Head(H, 2)
    assert {name: p.shape for name, p in head.named_parameters()} == {"1.weight": (2, H), "1.bias": (2,)}


def test_heads_that_cannot_be_are_refused() -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"activation": "relu6"}, "did you mean 'relu'"),
        ({"output_activation": "softmax"}, "unknown activation 'softmax'"),
        ({"dropout": 1.5}, "dropout must be a number in [0, 1), not 1.5"),
        ({"hidden_sizes": (3, 0)}, "sizes must be whole numbers, 1 or more, not (3, 3, 0, 2)"),
        ({"output_size": 0}, "sizes must be whole numbers"),
        ({"output_size": 2.5}, "sizes must be whole numbers"),
        ({"input_size": "3"}, "sizes must be whole numbers"),
        ({"dropout": "much"}, "dropout must be a number in [0, 1), not 'much'"),
    ]
    for options, said in bad:
        with pytest.raises(OptionError, match=re.escape(said)):
            Head(**{"input_size": H, "output_size": 2, **options})
