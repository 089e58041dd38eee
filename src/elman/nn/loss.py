"""Losses over sequences of different lengths: steps beyond a sequence's length do not count."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from elman.errors import OptionError

Reduction = Literal["step", "sequence", "sum"]


def cross_entropy(
    logits: Tensor, targets: Tensor, lengths: Any = None, *, weight: Tensor | None = None, reduction: Reduction = "step"
) -> Tensor:
    """Categorical cross-entropy, nats: logits (T, B, V), targets (T, B) -> a scalar.

    weight (V): how much each class counts. reduction: "step", the (weighted) mean over all true steps; "sequence",
    summed over a sequence's steps, then the mean over sequences; "sum", over everything.
    """
    each = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), weight, reduction="none").view(targets.shape)
    shares = torch.ones_like(each) if weight is None else weight[targets]
    return _reduce(each, shares, lengths, reduction)


def binary_cross_entropy(logits: Tensor, targets: Tensor, lengths: Any = None, *, reduction: Reduction = "step") -> Tensor:
    """Binary cross-entropy, nats, summed over the labels of a step: logits and targets (in [0, 1]) (T, B, K), or (T, B)
    for one label -> a scalar. reduction: as in `cross_entropy`."""
    each = nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    each = each.sum(-1) if each.dim() == 3 else each
    return _reduce(each, torch.ones_like(each), lengths, reduction)


def _reduce(each: Tensor, shares: Tensor, lengths: Any, reduction: str) -> Tensor:
    """each, shares (T, B): the loss of every step and how much the step counts."""
    if reduction not in ("step", "sequence", "sum"):
        raise OptionError(f"unknown reduction {reduction!r} (known: step, sequence, sum)")
    if lengths is not None:
        ends = torch.as_tensor(lengths, device=each.device)
        inside = torch.arange(each.shape[0], device=each.device)[:, None] < ends
        each, shares = each.masked_fill(~inside, 0.0), shares.masked_fill(~inside, 0.0)
    if reduction == "step":
        return each.sum() / shares.sum().clamp(min=torch.finfo(each.dtype).tiny)
    return each.sum() / (each.shape[1] if reduction == "sequence" else 1)
