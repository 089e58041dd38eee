"""The loss of a linear chain: forward-backward as one scaled recursion, and its slow twin in logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROOM, LIMIT = 0.22, 0.35
"""Shares of the exponents of a type: what a stretch between two scalings may use up, and the spread of transitions."""


def losses(
    logits: Tensor, targets: Tensor, ends: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:  # fmt: skip
    """−log p(targets) of each sequence, nats (B,): logits (T, B, V) finite everywhere, targets (T, B), ends (B,) the
    lengths, transitions (V, V) from row to column, start (V,), end (V,). T is 1 or more."""
    every = _stretch(transitions, start, end)
    if every == 0:
        return _log_losses(logits, targets, ends, transitions, start, end)
    found: Tensor = _Scaled.apply(logits, targets, ends, transitions, start, end, every)  # type: ignore[no-untyped-call]
    return found


def _stretch(*weights: Tensor) -> int:
    """Steps between two scalings; 0: probabilities as such would not be safe, so logarithms are needed.

    However small a probability is beside the largest of its step, what follows it differs by no more than e^spread
    from what follows the largest. Between scalings, k steps, the sum falls to e^(-k·spread) or rises to V^k. What is
    lost by underflow, whatever the logits, is thus less than e^((k + 1)·spread)·tiny of the whole.
    """
    ends = torch.stack([end for weight in weights for end in weight.detach().aminmax()]).tolist()
    spread = max(high - low for low, high in zip(ends[::2], ends[1::2]))
    exponents = -math.log(torch.finfo(weights[0].dtype).tiny)
    if not spread <= LIMIT * exponents:
        return 0
    return max(1, min(16, int(ROOM * exponents / max(1e-9, spread + math.log(len(weights[0]))))))


class _Scaled(torch.autograd.Function):
    """Forward-backward (Baum et al. 1970) on probabilities, scaled as Rabiner 1989 does.

    The pass from the end is the same recursion on the turned sequence with the transposed transitions, so one batched
    product a step does both: state (2, B, V). Its backward needs no recursion: the gradient is what the model expects
    minus what was seen.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ends: Tensor, transitions: Tensor, start: Tensor, end: Tensor,
        every: int,
    ) -> Tensor:  # fmt: skip
        steps, batch, _ = logits.shape
        time = torch.arange(steps, device=logits.device)[:, None]
        inside = time < ends  # (T, B)
        turned = torch.where(inside, ends - 1 - time, time)  # (T, B)
        highest = logits.amax(2, keepdim=True)
        shares = (logits - highest).exp_()  # (T, B, V), at most 1
        both = torch.stack([shares, shares.gather(0, turned[..., None].expand_as(shares))], 1)  # (T, 2, B, V)
        top = transitions.max()
        step = (transitions - top).exp()
        steps_both = torch.stack([step, step.T])
        before, after = torch.empty_like(both), torch.empty_like(both)
        scales = logits.new_ones(steps, 2, batch, 1)
        before[0] = torch.stack([start - start.max(), end - end.max()]).exp()[:, None]
        _run(before.unbind(0), both.unbind(0), after.unbind(0), scales.unbind(0), steps_both, every)
        # Back to the order of time: alpha, all up to a step with its logits, and beta, what follows it without them.
        alpha, ahead = after[:, 0], after[:, 1].gather(0, turned[..., None].expand_as(shares))
        beta = before[:, 1].gather(0, turned[..., None].expand_as(shares))
        joint = alpha * beta
        total = joint.sum(2, keepdim=True)  # (T, B, 1): of every step the whole, up to the scales
        ctx.save_for_backward(alpha, ahead, joint, total, step, targets, ends)
        return _nats(logits, targets, ends, transitions, start, end, highest, scales[:, 0], alpha, top)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        alpha, ahead, joint, total, step, targets, ends = ctx.saved_tensors
        steps, batch, tags = alpha.shape
        inside = (torch.arange(steps, device=ends.device)[:, None] < ends)[..., None]
        weight = torch.where(inside, grad[:, None], 0)  # (T, B, 1)
        unary = joint * (weight / total)
        unary.scatter_add_(2, targets[..., None], -weight)  # (T, B, V)
        d_transitions = d_start = d_end = None
        if ctx.needs_input_grad[3]:
            follows = weight[1:]
            left = (alpha[:-1] * (follows / total[:-1])).flatten(0, 1)
            right = torch.where(inside[1:], ahead[1:], 0).flatten(0, 1)
            d_transitions = step * (left.T @ right)
            pairs = (targets[:-1] * tags + targets[1:]).flatten()
            d_transitions.view(-1).index_add_(0, pairs, -follows.flatten())
        if ctx.needs_input_grad[4]:
            d_start = unary[0].sum(0)
        if ctx.needs_input_grad[5]:
            last = (ends - 1).clamp(min=0)
            d_end = unary[last, torch.arange(batch, device=ends.device)].sum(0)
        return unary, None, None, d_transitions, d_start, d_end, None


def _run(before: Any, shares: Any, after: Any, scales: Any, step: Tensor, every: int) -> None:
    """Fill before[t] = after[t - 1]·step and after[t] = before[t]∘shares[t], scaled to a sum of 1 every so often."""
    for t in range(len(after)):
        if t:
            torch.bmm(after[t - 1], step, out=before[t])
        torch.mul(before[t], shares[t], out=after[t])
        if t % every == 0:
            torch.sum(after[t], -1, keepdim=True, out=scales[t])
            after[t].div_(scales[t])


def _nats(
    logits: Tensor, targets: Tensor, ends: Tensor, transitions: Tensor, start: Tensor, end: Tensor,
    highest: Tensor, scales: Tensor, alpha: Tensor, top: Tensor,
) -> Tensor:  # fmt: skip
    """log Z minus the score of the targets (B,), as a sum of small differences, step by step: the two are large and
    nearly the same where the model is right."""
    steps, batch, _ = logits.shape
    rows = torch.arange(batch, device=ends.device)
    last = (ends - 1).clamp(min=0)
    each = (highest - logits.gather(2, targets[..., None]) + scales.log())[..., 0]  # (T, B)
    each[1:] += top - transitions[targets[:-1], targets[1:]]
    inside = torch.arange(steps, device=ends.device)[:, None] < ends
    total = torch.where(inside, each, 0).sum(0)
    first = start.max() - start[targets[0]]
    done = (alpha[last, rows] * (end - end.max()).exp()).sum(1).log() + end.max() - end[targets[last, rows]]
    return torch.where(ends > 0, total + first + done, 0)


def _log_losses(
    logits: Tensor, targets: Tensor, ends: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:  # fmt: skip
    """The slow twin: the same by logarithms, differentiated by autograd; right for transitions of any size."""
    rows = torch.arange(len(ends), device=ends.device)
    last = (ends - 1).clamp(min=0)
    alphas = torch.stack(log_forward(logits, ends, transitions, start))
    log_z = (alphas[last, rows] + end).logsumexp(1)
    each = logits.gather(2, targets[..., None])[..., 0]
    each = torch.cat([each[:1] + start[targets[:1]], each[1:] + transitions[targets[:-1], targets[1:]]])
    inside = torch.arange(len(logits), device=ends.device)[:, None] < ends
    score = torch.where(inside, each, 0).sum(0) + end[targets[last, rows]]
    return torch.where(ends > 0, log_z - score, 0)


def log_forward(logits: Tensor, ends: Tensor, transitions: Tensor, start: Tensor) -> list[Tensor]:
    """log of the sum over all beginnings that end in a tag, for every step (B, V); past its end a sequence stays."""
    alphas = [start + logits[0]]
    for t in range(1, len(logits)):
        new = (alphas[-1][:, :, None] + transitions).logsumexp(1) + logits[t]
        alphas.append(torch.where((t < ends)[:, None], new, alphas[-1]))
    return alphas


def log_backward(logits: Tensor, ends: Tensor, transitions: Tensor, end: Tensor) -> list[Tensor]:
    """log of the sum over all that may follow a tag, its own logits left out, for every step (B, V)."""
    betas = [end.expand_as(logits[0])]
    for t in range(len(logits) - 1, 0, -1):
        new = (transitions + (logits[t] + betas[-1])[:, None, :]).logsumexp(2)
        betas.append(torch.where((t < ends)[:, None], new, end))
    return betas[::-1]
