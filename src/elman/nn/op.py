"""The one operation: a cell's program over a sequence. Chooses the back end, and can say which and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from elman.compiler.ir import Program
from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import ragged
from elman.nn.fused import Fused, FusedRun, TorchWeights, fused_for
from elman.nn.reference import Scan, scan, transformed

BACKENDS = ("auto", "torch", "reference")


@dataclass(frozen=True)
class Choice:
    """A back end and why it is the one."""

    backend: str
    reason: str


def choose(
    program: Program, backend: str = "auto", *, state_sizes: Sequence[int] = (), every_state: bool = False
) -> Choice:
    """The back end that runs `program` now, on states of `state_sizes` units; OptionError if the one asked for cannot.

    Inside vmap, jvp and other function transforms the reference runs, whatever was asked for.
    """
    return _choose(program, fused_for(program), backend, state_sizes, every_state)


def _choose(
    program: Program, fused: Fused | None, backend: str, state_sizes: Sequence[int], every_state: bool
) -> Choice:
    if backend not in BACKENDS:
        raise OptionError(f"unknown back end {backend!r}{did_you_mean(str(backend), BACKENDS)}")
    if backend == "reference":
        return Choice("reference", "asked for")
    why = ""
    if fused is None:
        why = f"torch has no fused operation for the equations of {program.name}; the program runs step by step"
    elif fused.projected and len(set(state_sizes)) == 1:
        why = "torch.lstm takes a projection only onto fewer units than hidden_size"
    elif every_state and len(program.states) > 1:
        why = f"torch.{fused.name} gives the output of every step, but not every state"
    if why and backend == "torch":
        raise OptionError(f"back end 'torch' cannot run cell {program.name!r} here: {why}; use backend='auto'")
    if why or fused is None:
        return Choice("reference", why)
    if transformed():
        return Choice("reference", f"torch.{fused.name} has no rule for vmap or forward-mode differentiation")
    return Choice("torch", f"the equations are those of torch.{fused.name}")


def run(
    program: Program,
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    *,
    fused: Fused | None,
    lengths: Sequence[int] | None = None,
    reverse: bool = False,
    backend: str = "auto",
    every_state: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """(sequences, final states) of a cell over x (T, B, I) from states (B, units).

    sequences: the output at every step (T, B, units), and with `every_state` the other states after it.
    fused: `fused_for(program)`, which a layer looks up once.
    lengths: steps of each sequence (B), any order, zeros allowed; beyond them outputs are zero and states stay.
    reverse: from the last step (of each sequence) to the first; outputs stay at their own places.
    Raises DataError where x or a state has another type or device than the weights; inside autocast they are converted,
    and it runs in the weights' type: a recurrent state adds up its rounding errors over time.
    """
    choice = _choose(program, fused, backend, [s.shape[-1] for s in states], every_state)
    kind = x.device.type
    dense = partial(_dense, choice, program, fused, weights, every_state)
    turn = partial(_run, dense, lengths=lengths, reverse=reverse, count=len(states) if every_state else 1)
    like = next(iter(weights.flat if isinstance(weights, TorchWeights) else weights.values()))
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return turn(x.to(like.dtype), [s.to(like.dtype) for s in states])
    check_alike(like, x, states)
    return turn(x, states)


def check_alike(like: Tensor, x: Tensor, states: Sequence[Tensor]) -> None:
    """DataError where the input or a state has another type or device than the weight `like`."""
    for what, tensor in (("input", x), *(("state", s) for s in states)):
        if tensor.dtype != like.dtype or tensor.device != like.device:
            own, came = (f"{str(t.dtype).removeprefix('torch.')} on {t.device}" for t in (like, tensor))
            raise DataError(
                f"the {what} is {came}, the layer's weights are {own}; "
                f"convert the {what} or the layer with .to(dtype) or .to(device)"
            )


def _run(
    dense: ragged.Dense,
    x: Tensor,
    states: Sequence[Tensor],
    *,
    lengths: Sequence[int] | None,
    reverse: bool,
    count: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """`dense` over whole or ragged sequences, in one direction."""
    if x.shape[0] and (lengths is None or all(n == x.shape[0] for n in lengths)):
        sequences, final = dense(x.flip(0) if reverse else x, states)
        return [s.flip(0) if reverse else s for s in sequences], final
    ends = [0] * x.shape[1] if lengths is None else lengths
    sequences, final = ragged.run(dense, ragged.reverse(x, ends) if reverse else x, states, ends, count)
    return [ragged.reverse(s, ends) if reverse else s for s in sequences], final


def _dense(
    choice: Choice,
    program: Program,
    fused: Fused | None,
    weights: Mapping[str, Tensor],
    every_state: bool,
    x: Tensor,
    states: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """A batch whose sequences all have T >= 1 steps."""
    plain = torch.compiler.is_compiling() or transformed()  # torch's own operations alone, no autograd.Function
    if choice.backend == "torch":
        assert fused is not None
        flat = weights.flat if isinstance(weights, TorchWeights) else fused.to_torch(weights, x.shape[-1])
        needs_graph = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *states, *flat))
        # On the CPU torch makes its RNN and GRU of operations that can be differentiated twice already.
        twice = x.device.type == "cpu" and fused.name != "lstm"
        if plain or not needs_graph or twice:
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


def explain(layer: nn.Module, x: Tensor | None = None, *, every_state: bool = False) -> str:
    """Which back end runs each layer of `layer` (a Recurrent or a drop-in) and why not a faster one, a line each.

    x: an input, to be described too. every_state: as the call will have it.
    """
    stack = getattr(layer, "stack", None)
    if not isinstance(layer, nn.Module) or stack is None:
        raise OptionError(f"explain takes an elman layer (Recurrent, RNN, LSTM, GRU), not {type(layer).__name__}")
    lines = []
    for number, program, direction, backend, sizes in stack():
        choice = choose(program, backend, state_sizes=sizes, every_state=every_state)
        lines.append(f"layer {number} ({direction}), cell {program.name}: {choice.backend} ({choice.reason})")
    if x is not None:
        lines.append(f"input: {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')} on {x.device}")
    return "\n".join(lines)
