"""Gradient flow: the norm of the loss's gradient at every state, and each step's share in every weight's gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from elman.diagnosis.figures import Curve, Floats, Flow
from elman.diagnosis.trace import Recording, Trace, gradients


@dataclass(frozen=True)
class Backward:
    """The gradients of the loss in one layer and direction."""

    states: list[list[Tensor]]
    """Of each state at each step, (B, units)."""
    nodes: dict[int, list[Tensor]]
    """Of the value of each affine map and per-unit parameter at each step, (B, units)."""
    given: list[Tensor]
    """Of what leaves the layer, as `Trace.given`."""


def backward(
    loss: Tensor, recordings: Sequence[Recording], *, weights: bool = True
) -> tuple[list[list[Tensor]], list[list[Backward]]]:
    """(gradients of every call's input, of every trace) for each recording, by one backward pass. weights: with what
    the shares of the weights need."""
    traces = [trace for one in recordings for trace in one.traces]
    at: list[Tensor] = [x for one in recordings for x in one.x]
    for trace in traces:
        states = zip(*(trace.new_states(t) for t in range(len(trace.x))))
        at += [state for every in states for state in every]
        at += [values[position] for position in _learnt(trace, weights) for values in trace.values]
        at += [tensor for *_, tensor in trace.given]
    found = iter(gradients(loss, at))
    inputs = [list(islice(found, len(one.x))) for one in recordings]
    of_traces = iter([_taken(trace, found, weights) for trace in traces])
    return inputs, [list(islice(of_traces, len(one.traces))) for one in recordings]


def _taken(trace: Trace, found: Iterator[Tensor], weights: bool) -> Backward:
    steps = len(trace.x)
    states = [list(islice(found, steps)) for _ in trace.part.program.states]
    nodes = {position: list(islice(found, steps)) for position in _learnt(trace, weights)}
    return Backward(states, nodes, list(islice(found, len(trace.given))))


def _learnt(trace: Trace, weights: bool) -> list[int]:
    """The nodes that have weights."""
    if not weights:
        return []
    return [p for p, node in enumerate(trace.part.program.nodes) if node.op in ("affine", "parameter")]


def curve(norms: Tensor, running: Tensor) -> Curve:
    """The figures of norms (T, B) over the sequences that have the step."""
    values = np.where(running.cpu().numpy(), norms.detach().double().cpu().numpy(), np.nan)
    found = np.full((4, len(values)), np.nan)
    some = ~np.isnan(values).all(1)
    found[0, some] = np.nanmean(values[some], 1)
    found[1:, some] = np.nanquantile(values[some], (0.25, 0.5, 0.75), axis=1)
    return Curve(*found)


def flow(trace: Trace, of: Backward) -> Flow:
    """The figures of one layer and direction."""
    running = torch.stack(trace.running)  # (T, B)
    names = trace.part.program.states
    states = {name: curve(torch.stack(grads).norm(dim=-1), running) for name, grads in zip(names, of.states)}
    entering, place = _entering(trace, of), _places(trace)
    far = (place * entering).sum() / entering.sum()
    shares, sums = weight_shares(trace, of)
    norms = {name: float(total.norm()) for name, total in sums.items()}
    return Flow(states, curve(entering, running), float(far), shares, norms)


def _places(trace: Trace) -> Tensor:
    """(T, B) the place of each step in its sequence's recursion, from 1; 0 where there is none."""
    running = torch.stack(trace.running)
    place = torch.zeros(running.shape, dtype=torch.long, device=running.device)
    place[trace.chain] = running[trace.chain].cumsum(0)
    return place * running


def _entering(trace: Trace, of: Backward) -> Tensor:
    """(T, B) the norm of what comes from above; what comes through a final state comes at the last step."""
    at = [torch.stack(grads) for grads in of.states]
    total = [torch.zeros_like(grad) for grad in at]
    last, batch = _places(trace).argmax(0), torch.arange(len(trace.running[0]), device=at[0].device)
    for (state, first, _), grad in zip(trace.given, of.given):
        if first < 0:
            total[state][last, batch] += grad
        else:
            total[state][first : first + len(grad)] += grad
    return torch.stack([one.square().sum(-1) for one in total]).sum(0).sqrt()


def weight_shares(trace: Trace, of: Backward) -> tuple[dict[str, Floats], dict[str, Tensor]]:
    """‖[∂L/∂W]_t‖ (T,) and the sum of the shares, for each weight.

    A share is Δᵀ·V, Δ (B, rows) the gradient at the map and V (B, columns) its vectors. Its squared norm is the sum of
    ΔΔᵀ ∘ VVᵀ, so that no share need be made: T matrices of the size of W would not fit.
    """
    program = trace.part.program
    shares: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for position, grads in of.nodes.items():
        node, delta = program.nodes[position], torch.stack(grads)  # (T, B, rows)
        if node.op == "parameter":
            shares[node.name], sums[node.name] = delta.sum(1).norm(dim=-1), delta.sum((0, 1))
            continue
        vectors = torch.stack([torch.cat([values[a] for a in node.args], -1) for values in trace.values]).detach()
        squares = (delta @ delta.mT * (vectors @ vectors.mT)).sum((1, 2))
        shares[f"weight_{node.name}"] = squares.clamp(min=0).sqrt()
        sums[f"weight_{node.name}"] = delta.flatten(0, 1).T @ vectors.flatten(0, 1)
        if node.bias:
            shares[f"bias_{node.name}"], sums[f"bias_{node.name}"] = delta.sum(1).norm(dim=-1), delta.sum((0, 1))
    return {name: share.double().cpu().numpy() for name, share in shares.items()}, sums


def input_flow(recording: Recording, grads: Sequence[Tensor]) -> Curve:
    """‖∂L/∂x_t‖ at the input of a network."""
    time_major = [recording.layer.time_major(grad)[0] for grad in grads]
    return curve(torch.cat(time_major).norm(dim=-1), torch.stack(recording.traces[0].running))
