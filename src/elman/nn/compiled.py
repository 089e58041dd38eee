"""The kernels as operations that torch.compile leaves whole, with their shapes and first derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from elman.compiler.ir import Program, to_json
from elman.compiler.stages import SIZES
from elman.errors import OptionError
from elman.nn import kernel, native
from elman.nn.fused import Fused
from elman.nn.noise import Noise

CELLS: dict[str, tuple[Program, Fused | tuple[str, ...]]] = {}
"""What the operations' `cell` stands for: a graph holds words and tensors alone."""

_HOW = "str cell, Tensor? seed, bool reverse, bool every_state, int[]? lengths"
_LIBRARY: Any = torch.library.Library("elman", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(f"run(Tensor x, Tensor[] given, bool training, {_HOW}) -> Tensor[]")
_LIBRARY.define(
    "run_backward(Tensor x, Tensor[] given, Tensor[] kept, Tensor?[] grads, bool[] wanted, " + _HOW + ") -> Tensor[]"
)


def enrol(program: Program, names: Fused | tuple[str, ...]) -> str:
    """A name for a cell and for what its weights' tensors are."""
    what = names.name if isinstance(names, Fused) else ",".join(names)
    key = f"{program.name}:{sha256(to_json(program) + what.encode()).hexdigest()[:24]}"  # the same in every process
    CELLS[key] = (program, names)
    return key


def usable(cell: str, real: str) -> bool:
    """Whether there are kernels for a cell: asked while a graph is made, a constant in it."""
    return not kernel.refusal_of(CELLS[cell][0], real)


usable._dynamo_marked_constant = True  # type: ignore[attr-defined]  # assume_constant_result would load all of Dynamo


def run(
    cell: str,
    tensors: Sequence[Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    *,
    reverse: bool,
    every_state: bool,
    lengths: Sequence[int] | None,
    noise: Noise | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """As `native.run`, while a graph is made."""
    given = [*states, *tensors]
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *given))
    seed = None if noise is None else noise.seed
    found = torch.ops.elman.run(x, given, training, cell, seed, reverse, every_state, lengths)
    count = len(states)
    shown = count if every_state else 1
    return list(found[:shown]), list(found[shown : shown + count])


def _job(x: Tensor, given: Sequence[Tensor], how: Sequence[Any]) -> kernel.Job:
    cell, seed, reverse, every_state, lengths = how
    program, names = CELLS[cell]
    count = len(program.states)
    noise = None
    if seed is not None:
        rows = torch.arange(x.shape[1])
        noise = Noise(seed, rows, torch.zeros_like(rows))
    return kernel.job_for(
        program, names, given[count:], x, given[:count], lengths=lengths, reverse=reverse, every_state=every_state,
        noise=noise, slow=_refuse,
    )  # fmt: skip


def _refuse(*_: Any) -> Any:
    raise OptionError("a compiled layer has first derivatives only; differentiate the layer itself")


class _Kept:
    """Stands where autograd's context stands: what a call keeps for its backward pass."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def set_materialize_grads(self, _: bool) -> None:
        pass


def _run(x: Tensor, given: Sequence[Tensor], training: bool, *how: Any) -> list[Tensor]:
    job, kept = _job(x, given, how), _Kept()
    outputs = native.run_forward(kept if training else None, job, x.detach(), [t.detach() for t in given])
    if not training:
        return [*outputs, x.new_empty(0)]
    block, *packed = kept.tensors[1 + len(given) :]
    block = block[: kernel.block_size(job.kernel, job.rows.total, job.shown)]
    _clear(job, block)
    return [*outputs, block, *(packed if job.rows.order is not None else [])]


def _clear(job: kernel.Job, block: Tensor) -> None:
    """Zeros between the records: an operation's results are the same at every call."""
    planned, at = job.kernel.planned, 0
    room = planned.room(job.rows.total, 1)[1:4]
    for size, units, count in zip(SIZES, planned.sizes, room):
        if count:
            blocks = -(-units // planned.engine.lanes)
            used = job.rows.total * planned.plan.slots[size] * planned.engine.lanes
            block[at : at + count].view(blocks, -1)[:, used:] = 0
        at += count


def _run_shapes(x: Tensor, given: Sequence[Tensor], training: bool, *how: Any) -> list[Tensor]:
    cell, _, _, every_state, lengths = how
    program, names = CELLS[cell]
    steps, batch = x.shape[0], x.shape[1]
    states = given[: len(program.states)]
    shown = states if every_state else states[:1]
    found = [*(x.new_empty(steps, batch, s.shape[1]) for s in shown), *(s.new_empty(s.shape) for s in states)]
    if not training:
        return [*found, x.new_empty(0)]
    ragged = lengths is not None and any(n != steps for n in lengths)
    total = sum(lengths) if lengths is not None else steps * batch
    own = kernel.kernel_for(program, names, given[len(states) :], x, states)
    packed = [x.new_empty(total, s.shape[1]) for s in shown] if ragged else []
    return [*found, x.new_empty(kernel.block_size(own, total, len(shown))), *packed]


def _run_backward(
    x: Tensor, given: Sequence[Tensor], kept: Sequence[Tensor], grads: Any, wanted: Sequence[bool], *how: Any
) -> list[Tensor]:
    found = native.run_backward(
        _job(x, given, how), x, given, kept, [], grads, wanted=wanted, keep_graph=True
    )  # fmt: skip
    return [x.new_empty(0) if g is None else g for g in found]


def _backward_shapes(
    x: Tensor, given: Sequence[Tensor], kept: Any, grads: Any, wanted: Sequence[bool], *how: Any
) -> list[Tensor]:
    return [t.new_empty(t.shape) if want else x.new_empty(0) for t, want in zip((x, *given), wanted)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    x, given, _, cell, seed, *how = inputs
    every_state = how[1]
    states = len(CELLS[cell][0].states)
    ctx.shown = states if every_state else 1
    ctx.outputs = ctx.shown + states
    block, *packed = output[ctx.outputs :]
    ctx.save_for_backward(x, *given, block, *(packed or output[: ctx.shown]), *([] if seed is None else [seed]))
    ctx.count, ctx.how, ctx.seeded = 1 + len(given), (cell, *how), seed is not None
    ctx.wanted = [t.requires_grad for t in (x, *given)]


def _differentiate(ctx: Any, grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    seed = saved.pop() if ctx.seeded else None
    x, *given = saved[: ctx.count]
    cell, *how = ctx.how
    found = torch.ops.elman.run_backward(
        x, given, saved[ctx.count :], list(grads[: ctx.outputs]), ctx.wanted, cell, seed, *how
    )
    found = [g if want else None for g, want in zip(found, ctx.wanted)]
    return (found[0], found[1:], None, None, None, None, None, None)


_LIBRARY.impl("run", _run, "CPU")
_LIBRARY.impl("run_backward", _run_backward, "CPU")
torch.library.register_fake("elman::run", _run_shapes, lib=_LIBRARY)
torch.library.register_fake("elman::run_backward", _backward_shapes, lib=_LIBRARY)
torch.library.register_autograd("elman::run", _differentiate, setup_context=_keep, lib=_LIBRARY)
