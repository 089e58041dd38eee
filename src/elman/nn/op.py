"""The one operation: a cell's program over a sequence. Chooses the back end, and can say which and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from elman.compiler.ir import Program
from elman.errors import OptionError, did_you_mean
from elman.nn import ragged
from elman.nn.fused import FusedRun, TorchWeights, fused_for
from elman.nn.reference import Scan, scan

BACKENDS = ("auto", "torch", "reference")


@dataclass(frozen=True)
class Choice:
    """A back end and why it is the one."""

    backend: str
    reason: str


def choose(
    program: Program, backend: str = "auto", *, state_sizes: Sequence[int] = (), every_state: bool = False
) -> Choice:
    """The back end that runs `program` now, on states of `state_sizes` units. OptionError when the one asked for cannot."""
    if backend not in BACKENDS:
        raise OptionError(f"unknown back end {backend!r}{did_you_mean(backend, BACKENDS)}")
    fused = fused_for(program)
    if backend == "reference":
        return Choice("reference", "asked for")
    if fused is None:
        why = f"torch has no fused operation for the equations of {program.name}; the program runs step by step"
        if backend == "torch":
            raise OptionError(f"back end 'torch' cannot run cell {program.name!r}: {why}; use backend='auto'")
        return Choice("reference", why)
    if fused.projected and len(set(state_sizes)) == 1:
        return Choice("reference", "torch.lstm takes a projection only onto fewer units than hidden_size")
    if every_state and len(program.states) > 1:
        return Choice("reference", f"torch.{fused.name} gives the output of every step, but not every state")
    if _transformed():
        return Choice("reference", f"torch.{fused.name} has no rule for vmap or forward-mode differentiation")
    return Choice("torch", f"the equations are those of torch.{fused.name}")


def _transformed() -> bool:
    """True inside vmap, jvp and other function transforms, which fused operations do not support."""
    if torch.compiler.is_compiling():
        return False
    forward_ad: int = torch.autograd.forward_ad._current_level
    return forward_ad >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


def run(
    program: Program,
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    *,
    lengths: Sequence[int] | None = None,
    reverse: bool = False,
    backend: str = "auto",
    every_state: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """(sequences, final states) of a cell over x (T, B, I) from states (B, units).

    sequences: the output at every step (T, B, units), and with `every_state` the other states after it.
    lengths: steps of each sequence (B), any order, zeros allowed; beyond them outputs are zero and states stay.
    reverse: from the last step (of each sequence) to the first; outputs stay at their own places.
    Inside autocast it runs in the weights' type: a recurrent state adds up its rounding errors over time.
    """
    choice = choose(program, backend, state_sizes=[s.shape[-1] for s in states], every_state=every_state)
    first = next(iter(weights.flat if isinstance(weights, TorchWeights) else weights.values()))
    with torch.autocast(x.device.type, enabled=False):
        x, states = x.to(first.dtype), [s.to(first.dtype) for s in states]
        if lengths is not None:
            x = ragged.reverse(x, lengths) if reverse else x
            sequences, final = ragged.run(
                lambda part, start: _dense(choice, program, weights, part, start, every_state), x, states, lengths
            )
            return [ragged.reverse(s, lengths) if reverse else s for s in sequences], final
        sequences, final = _dense(choice, program, weights, x.flip(0) if reverse else x, states, every_state)
        return [s.flip(0) if reverse else s for s in sequences], final


def _dense(
    choice: Choice,
    program: Program,
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    every_state: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """A batch whose sequences all have T >= 1 steps."""
    plain = _transformed() or torch.compiler.is_compiling()
    if choice.backend == "torch":
        fused = fused_for(program)
        assert fused is not None
        flat = weights.flat if isinstance(weights, TorchWeights) else fused.to_torch(weights, x.shape[-1])
        needs_graph = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *states, *flat))
        if plain or not needs_graph or fused.name != "lstm":
            output, *final = fused(flat, x, states)
        else:
            output, *final = FusedRun.apply(program, fused, len(states), x, *states, *flat)  # type: ignore[no-untyped-call]
        return [output], final
    if plain:
        sequences, _ = scan(program, weights, x, states)
    else:
        names = tuple(weights)
        sequences = Scan.apply(program, names, x, *states, *(weights[n] for n in names))  # type: ignore[no-untyped-call]
    return list(sequences) if every_state else [sequences[0]], [s[-1] for s in sequences]


def explain(layer: nn.Module, x: Tensor | None = None) -> str:
    """Which back end runs each layer of `layer` (a Recurrent or a drop-in) and why not a faster one, a line each."""
    stack = getattr(layer, "stack", None)
    if stack is None:
        raise OptionError(f"explain takes an elman layer (Recurrent, RNN, LSTM, GRU), not {type(layer).__name__}")
    lines = []
    for number, (program, direction, backend, sizes) in enumerate(stack()):
        choice = choose(program, backend, state_sizes=sizes)
        lines.append(f"layer {number} ({direction}), cell {program.name}: {choice.backend} ({choice.reason})")
    if x is not None:
        lines.append(f"input: {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')} on {x.device.type}")
    return "\n".join(lines)
