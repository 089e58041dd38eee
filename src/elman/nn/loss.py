"""Losses over sequences of different lengths: steps beyond a sequence's length do not count, whatever they hold."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import ragged

Reduction = Literal["step", "sequence", "sum"]
REDUCTIONS = ("step", "sequence", "sum")


def cross_entropy(
    logits: Tensor, targets: Tensor, lengths: Any = None, *, weight: Tensor | None = None, reduction: Reduction = "step"
) -> Tensor:
    """Categorical cross-entropy, nats: logits (T, B, V), targets (T, B) -> a scalar.

    weight (V): how much each class counts. reduction: "step", the (weighted) mean over all true steps; "sequence",
    summed over a sequence's steps, then the mean over sequences; "sum", over everything. No steps at all: 0.
    """
    _check(logits, targets, logits.shape[:2] if logits.dim() == 3 else None, reduction)
    inside = None if lengths is None else _inside(logits, lengths)
    if inside is not None:
        # Masked before the softmax, as 0 times the gradient of a NaN would be NaN.
        logits, targets = logits.masked_fill(~inside, 0.0), targets.masked_fill(~inside[..., 0], 0)
    flat = targets.flatten()
    each = nn.functional.cross_entropy(logits.flatten(0, 1), flat, weight, reduction="none")
    shares = torch.ones_like(each) if weight is None else weight[flat]
    return _reduce(each.view(targets.shape), shares.view(targets.shape), inside, reduction)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, lengths: Any = None, *, reduction: Reduction = "step"
) -> Tensor:
    """Binary cross-entropy, nats, summed over the labels of a step: logits and targets (in [0, 1]) (T, B, K), or (T, B)
    for one label -> a scalar. reduction: as in `cross_entropy`."""
    _check(logits, targets, logits.shape if logits.dim() in (2, 3) else None, reduction)
    if logits.dim() == 2:
        logits, targets = logits[..., None], targets[..., None]
    inside = None if lengths is None else _inside(logits, lengths)
    if inside is not None:
        logits, targets = logits.masked_fill(~inside, 0.0), targets.masked_fill(~inside, 0)
    each = nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(-1)
    return _reduce(each, torch.ones_like(each), inside, reduction)


def sampled_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, shares: Tensor, samples: int
) -> Tensor:
    """Categorical cross-entropy over a part of many classes, nats, summed: x (N, H), weight (V, H), bias (V),
    targets (N) -> a scalar (Bengio & Senécal 2008; Jean et al. 2015).

    The classes are the targets and those of `samples` draws by `shares` (V), the classes' shares among all targets.
    A class stands for as many as it is rare among such draws, targets being N of them: its logit is lifted by
    -log(1 - (1 - share)^(samples + N)). The draws come from torch's default generator.
    """
    drawn = torch.multinomial(shares.cpu(), samples, replacement=True).to(targets.device)
    classes, places = torch.unique(torch.cat([targets, drawn]), return_inverse=True)
    found = -torch.expm1((samples + len(targets)) * torch.log1p(-shares[classes].double()))
    lift = -found.clamp(min=torch.finfo(torch.float32).tiny).log().to(x.dtype)
    # Rows of the matrix as an embedding: its backward adds them up faster than that of plain indexing.
    logits = torch.addmm(bias[classes] + lift, x, nn.functional.embedding(classes, weight).T)
    return nn.functional.cross_entropy(logits, places[: len(targets)], reduction="sum")


def _check(logits: Tensor, targets: Tensor, wanted: torch.Size | None, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise OptionError(f"unknown reduction {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
    if wanted is None or targets.shape != wanted:
        raise DataError(
            f"the logits have the shape {tuple(logits.shape)} and the targets {tuple(targets.shape)}; "
            "a loss over sequences takes (T, B, ...), both with the same T and B"
        )


def _inside(logits: Tensor, lengths: Any) -> Tensor:
    """Which steps are true ones: booleans (T, B, 1)."""
    steps, batch = logits.shape[:2]
    return ragged.inside(ragged.checked_lengths(lengths, steps, batch), logits)


def _reduce(each: Tensor, shares: Tensor, inside: Tensor | None, reduction: str) -> Tensor:
    """each, shares (T, B): the loss of every step and how much the step counts."""
    if inside is not None:
        each, shares = each.masked_fill(~inside[..., 0], 0.0), shares.masked_fill(~inside[..., 0], 0.0)
    if reduction == "step":
        return each.sum() / shares.sum().clamp(min=torch.finfo(each.dtype).tiny)
    return each.sum() / (max(1, each.shape[1]) if reduction == "sequence" else 1)


MOST_LOGITS = 1 << 22
"""Logits that `linear_cross_entropy` holds at once: 16 MiB."""


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, nats, of the logits x·Wᵀ + b of N steps, summed: x (N, H), weight (V, H), bias (V), targets (N) ->
    a scalar. smoothing: of the targets, this share is spread over all classes (Szegedy et al. 2016).

    The gradient is computed with the loss, some steps at a time, so that the N·V logits never exist all at once.
    """
    if x.dim() != 2 or targets.shape != x.shape[:1]:
        raise DataError(
            f"the steps have the shape {tuple(x.shape)} and the targets {tuple(targets.shape)}, not (N, H), (N)"
        )
    total: Tensor = _LinearCrossEntropy.apply(x, weight, bias, targets, smoothing)  # type: ignore[no-untyped-call]
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    """The operation, with gradients only where they are asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        learns = any(ctx.needs_input_grad)
        grads = [torch.zeros_like(t) for t in (x, weight, bias)] if learns else []
        total, classes = x.new_zeros(()), len(weight)
        rows = max(1, MOST_LOGITS // classes)
        for a in range(0, len(x), rows):
            some, right = x[a : a + rows], targets[a : a + rows, None]
            logits = torch.addmm(bias, some, weight.T)
            high = logits.logsumexp(1, keepdim=True)
            total += (high - (1 - smoothing) * logits.gather(1, right)).sum()
            if smoothing:
                total -= smoothing / classes * logits.sum()
            if learns:
                wrong = logits.sub_(high).exp_()  # the softmax less the targets' distribution
                wrong.scatter_add_(1, right, torch.full_like(right, smoothing - 1, dtype=x.dtype))
                if smoothing:
                    wrong -= smoothing / classes
                grads[0][a : a + rows] = wrong @ weight
                grads[1].addmm_(wrong.T, some)
                grads[2] += wrong.sum(0)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * saved for saved in ctx.saved_tensors), None, None)
