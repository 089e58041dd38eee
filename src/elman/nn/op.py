"""The one operation: a cell's program over a sequence. Chooses the back end, and can say which and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from elman.compiler.ir import Program
from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import compiled, kernel, native, ragged
from elman.nn.fused import Fused, FusedRun, TorchWeights, fused_for
from elman.nn.noise import Noise
from elman.nn.quick import Quick
from elman.nn.reference import Scan, scan, transformed
from elman.nn.rows import CheckpointEvery

NATIVE = ("auto", "native")
BACKENDS = (*NATIVE, "torch", "reference")


@dataclass(frozen=True)
class Choice:
    """A back end and why it is the one."""

    backend: str
    reason: str


_NATIVE = Choice("native", "compiled from its equations")


def choose(
    program: Program, backend: str = "auto", *, state_sizes: Sequence[int] = (), every_state: bool = False,
    like: Tensor | None = None,
) -> Choice:  # fmt: skip
    """The back end that runs `program` now, on states of `state_sizes` units; OptionError if the one asked for cannot.

    like: a tensor of the weights' type and device. Inside vmap, jvp and other function transforms the reference runs,
    whatever was asked for.
    """
    return _choose(program, fused_for(program), backend, state_sizes, every_state, like)


def _choose(
    program: Program,
    fused: Fused | None,
    backend: str,
    state_sizes: Sequence[int],
    every_state: bool,
    like: Tensor | None,
) -> Choice:
    if backend not in BACKENDS:
        raise OptionError(f"unknown back end {backend!r}{did_you_mean(str(backend), BACKENDS)}")
    if backend == "reference":
        return Choice("reference", "asked for")
    no_kernels = ""
    if backend != "torch":
        no_kernels = kernel.refusal(program, like)
        if not no_kernels:
            return _NATIVE
        if backend == "native" and not kernel.passing(no_kernels):
            raise OptionError(f"back end 'native' cannot run cell {program.name!r} here: {no_kernels}")
    no_fused = _no_fused(program, fused, state_sizes, every_state)
    if no_fused and backend == "torch":
        raise OptionError(f"back end 'torch' cannot run cell {program.name!r} here: {no_fused}; use backend='auto'")
    if fused is None or no_fused:
        return Choice("reference", "; ".join(filter(None, (no_kernels, no_fused))))
    if transformed():
        return Choice("reference", f"torch.{fused.name} has no rule for vmap or forward-mode differentiation")
    same = f"the equations are those of torch.{fused.name}"
    return Choice("torch", "; ".join(filter(None, (same, no_kernels))))


def _no_fused(program: Program, fused: Fused | None, state_sizes: Sequence[int], every_state: bool) -> str:
    """Why torch has no operation for this; empty where it has."""
    if fused is None:
        return f"torch has no fused operation for the equations of {program.name}; the program runs step by step"
    if fused.projected and len(set(state_sizes)) == 1:
        return "torch.lstm takes a projection only onto fewer units than hidden_size"
    if every_state and len(program.states) > 1:
        return f"torch.{fused.name} gives the output of every step, but not every state"
    return ""


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
    noise: Noise | None = None,
    checkpoint_every: CheckpointEvery = None,
    cell: str = "",
    sizes: tuple[int, int, int] | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """(sequences, final states) of a cell over x (T, B, I) from states (B, units).

    sequences: the output at every step (T, B, units), and with `every_state` the other states after it.
    fused: `fused_for(program)`, which a layer looks up once.
    lengths: steps of each sequence (B), any order, zeros allowed; beyond them outputs are zero and states stay.
    reverse: from the last step (of each sequence) to the first; outputs stay at their own places.
    checkpoint_every: steps between states that the kernels keep for the backward pass (see `Recurrent`).
    cell: what `compiled.enrol` calls the cell, for torch.compile; with its `sizes` I, H, O, also for the short way.
    noise: for programs with masks; as for sequences that are walked from their first step on.
    Raises DataError where x or a state has another type or device than the weights; inside autocast they are converted,
    and it runs in the weights' type: a recurrent state adds up its rounding errors over time.
    """
    tensors = weights.flat if isinstance(weights, TorchWeights) else list(weights.values())
    usual = lengths is None and noise is None and checkpoint_every is None and not every_state and backend in NATIVE
    if usual and sizes and (short := quick(cell, sizes, x, states, tensors, reverse=reverse)) is not None:
        return [short[0]], list(short[1:])
    like = tensors[0]
    choice = _choose(program, fused, backend, [s.shape[-1] for s in states], every_state, like)
    kind = x.device.type
    walk: dict[str, Any] = {"lengths": lengths, "reverse": reverse, "noise": noise}
    fits = kernel.plain((x, *states, *tensors)) and x.numel() and (lengths is None or any(lengths))
    if cell and backend in NATIVE and torch.compiler.is_compiling() and _compiles(cell, like, x, lengths):
        turn: Callable[..., Any] = partial(compiled.run, cell, tensors, every_state=every_state, **walk)
    elif choice.backend == "native" and fits:
        slow = partial(_slow, program, walk)
        turn = partial(
            native.run, program, weights, slow=slow, every_state=every_state, checkpoint_every=checkpoint_every, **walk
        )
    else:
        if choice.backend == "native":  # nothing to compute, or nothing to read
            choice = Choice("reference", "")
        elif checkpoint_every is not None and not kernel.passing(kernel.refusal(program, like)):
            raise OptionError(
                f"checkpoint_every needs the native back end; here runs {choice.backend} ({choice.reason})"
            )
        dense = partial(_dense, choice, program, fused, weights, every_state)
        turn = partial(_run, dense, count=len(states) if every_state else 1, **walk)
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            found: tuple[list[Tensor], list[Tensor]] = turn(x.to(like.dtype), [s.to(like.dtype) for s in states])
    else:
        check_alike(like, x, states)
        found = turn(x, states)
    return found


def quick(
    cell: str,
    sizes: tuple[int, int, int],
    x: Any,
    states: Sequence[Tensor] | None,
    tensors: Sequence[Tensor],
    *,
    reverse: bool = False,
    batch_first: bool = False,
    lead: tuple[int, ...] = (),
) -> tuple[Tensor, ...] | None:
    """(output, *final states) of a usual call by the short way, which asks no more than it must; None for any other.

    cell: as `compiled.enrol` named it. sizes: I, H, O. x: what the caller gave. states: None for zeros, else
    (*lead, B, units) each, `lead` all 1. batch_first: of x and of the output.
    """
    if kernel.traced() or type(x) not in kernel.PLAIN or x.dim() != 3 or torch.is_autocast_enabled("cpu"):
        return None
    x = x.transpose(0, 1) if batch_first else x
    steps, batch, _ = x.shape
    made = _quick(cell, sizes, len(tensors), steps, batch, x.dtype, lead, states is not None, reverse)
    given = [*(states or ()), *tensors]
    if made is None or not made.fits(x, given):
        return None
    output, *final = native.apply(made, x, given)
    return (output.transpose(0, 1) if batch_first else output), *final


@lru_cache(maxsize=256)
def _quick(
    cell: str, sizes: tuple[int, int, int], tensors: int, steps: int, batch: int, dtype: torch.dtype,
    lead: tuple[int, ...], given: bool, reverse: bool,
) -> Quick | None:  # fmt: skip
    program, names = compiled.CELLS[cell]
    if not (steps and batch and dtype in kernel.REALS) or kernel.refusal_of(program, kernel.REALS[dtype]):
        return None
    slow = partial(_slow, program, {"lengths": None, "reverse": reverse, "noise": None})
    made = kernel.kernel_of(program, sizes, names, tensors, dtype)
    return Quick(made, slow, dtype, (steps, batch), lead, given=given, reverse=reverse)


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
    noise: Noise | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """`dense` over whole or ragged sequences, in one direction."""
    ends = [x.shape[0]] * x.shape[1] if lengths is None else lengths
    if reverse and noise is not None:
        noise = noise.reversed(ends)
    if x.shape[0] and all(n == x.shape[0] for n in ends):
        sequences, final = dense(x.flip(0) if reverse else x, states, noise)
        return [s.flip(0) if reverse else s for s in sequences], final
    sequences, final = ragged.run(dense, ragged.reverse(x, ends) if reverse else x, states, ends, count, noise)
    return [ragged.reverse(s, ends) if reverse else s for s in sequences], final


def _compiles(cell: str, like: Tensor, x: Tensor, lengths: Sequence[int] | None) -> bool:
    """Whether torch.compile can take the kernels as one operation."""
    real = kernel.REALS.get(like.dtype)
    able = real is not None and like.device.type == "cpu" and x.numel() != 0 and (lengths is None or any(lengths))
    return able and compiled.usable(cell, real or "")


def _slow(
    program: Program, walk: Mapping[str, Any], weights: Mapping[str, Tensor], x: Tensor, states: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Every state's sequence and the final states by the reference: what the kernels' derivatives come from where they
    have none of their own."""
    dense = partial(_dense, Choice("reference", ""), program, None, weights, True)
    return _run(dense, x, states, count=len(states), **walk)


def _dense(
    choice: Choice,
    program: Program,
    fused: Fused | None,
    weights: Mapping[str, Tensor],
    every_state: bool,
    x: Tensor,
    states: Sequence[Tensor],
    noise: Noise | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """A batch whose sequences all have T >= 1 steps."""
    # torch's own operations alone, no autograd.Function: a trace could not be checked nor saved with one
    plain = torch.compiler.is_compiling() or transformed() or torch._C._is_tracing()
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
        sequences, _ = scan(program, weights, x, states, noise=noise)
    else:
        names = tuple(weights)
        sequences = Scan.apply(program, names, noise, x, *states, *(weights[n] for n in names))  # type: ignore[no-untyped-call]
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
        like = next(layer.parameters(), None)
        choice = choose(program, backend, state_sizes=sizes, every_state=every_state, like=like)
        lines.append(f"layer {number} ({direction}), cell {program.name}: {choice.backend} ({choice.reason})")
    if x is not None:
        lines.append(f"input: {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')} on {x.device}")
    return "\n".join(lines)
