"""What a call of the kernels needs beside its arrays: the cell's kernels for some sizes, the rows, the walk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.compiler.ir import Program, resolve
from elman.compiler.stages import SIZES
from elman.engine import build
from elman.engine.plans import Planned, planned, why_not
from elman.errors import DataError
from elman.nn import reference, rows, threads
from elman.nn.fused import Fused, TorchWeights
from elman.nn.noise import Noise
from elman.nn.rows import CheckpointEvery, Rows, Segment
from elman.nn.weights import Layout, own_layout, torch_layout

REALS = {torch.float32: "float", torch.float64: "double"}
SMALL_INPUT = 8
"""Units of an input whose products are taken step by step, with those of the states."""
Slow = Callable[..., tuple[list[Tensor], list[Tensor]]]
_PASSING = "the kernels have no rule for vmap, forward-mode differentiation and tracing"
PLAIN = (Tensor, torch.nn.Parameter)


def plain(tensors: Iterable[Tensor]) -> bool:
    """Whether the kernels can read these tensors' memory."""
    return all(type(t) in PLAIN for t in tensors)


def passing(why: str) -> bool:
    """True for a refusal that depends on how the layer is called now, and not on what it is."""
    return why == _PASSING


def traced() -> bool:
    """Whether more than numbers is asked of torch's operations now, so that the kernels cannot stand in for them."""
    if torch.compiler.is_compiling() or reference.transformed() or torch._C._is_tracing():
        return True
    return torch._C._len_torch_dispatch_stack() > 0  # FakeTensorMode, make_fx: there may be no numbers


def refusal(program: Program, like: Tensor | None) -> str:
    """Why the kernels cannot run a cell with weights like `like`; empty where they can."""
    if traced():
        return _PASSING
    if like is None:
        return _refusal(program, build.chosen_isa(), "float")
    real = REALS.get(like.dtype)
    if real is None:
        return f"the kernels compute in float32 and float64, not in {str(like.dtype).removeprefix('torch.')}"
    if like.device.type != "cpu":
        return f"the kernels are for the processor, and the weights are on {like.device}"
    return _refusal(program, build.chosen_isa(), real)


def refusal_of(program: Program, real: str) -> str:
    """The same for a number type of the kernels ("float", "double")."""
    return _refusal(program, build.chosen_isa(), real)


@lru_cache(maxsize=1024)
def _refusal(program: Program, isa: str, real: str) -> str:
    why = why_not(program)
    if not why and planned(program, (1, 1, 1), False, isa, real) is None:
        why = "the kernels could not be compiled"
    return why


@dataclass(frozen=True, eq=False)
class Kernel:
    """A cell's kernels for some sizes, and where its weights lie in a row of tensors."""

    program: Program
    planned: Planned
    layout: Layout
    names: Fused | tuple[str, ...]
    """What the tensors are: torch's, or the cell's by these names."""
    states: int
    units: tuple[int, ...]
    """Of each state."""


@lru_cache(maxsize=1024)
def _kernel(
    program: Program, sizes: tuple[int, int, int], names: Fused | tuple[str, ...], tensors: int, isa: str, real: str
) -> Kernel:  # fmt: skip
    if isinstance(names, Fused):
        layout = torch_layout(program, sizes, names, tensors)
    else:
        layout = own_layout(program, sizes, names)
    plan = planned(program, sizes, sizes[0] <= SMALL_INPUT, isa, real)
    assert plan is not None  # `refusal` has looked
    threads.lend(plan.engine)
    units = tuple(resolve(*sizes)[size] for size in program.state_sizes().values())
    return Kernel(program, plan, layout, names, len(program.states), units)


def kernel_of(
    program: Program, sizes: tuple[int, int, int], names: Fused | tuple[str, ...], tensors: int, dtype: torch.dtype
) -> Kernel:
    """The kernels for sizes I, H, O and so many tensors of weights; what `refusal` has looked at."""
    return _kernel(program, sizes, names, tensors, build.chosen_isa(), REALS[dtype])


@dataclass(eq=False)
class Job:
    """What one call does, apart from its arrays."""

    kernel: Kernel
    rows: Rows
    reverse: bool
    every_state: bool
    noise: Noise | None
    slow: Slow

    @property
    def shown(self) -> int:
        """How many sequences the caller gets."""
        return self.kernel.states if self.every_state else 1

    def walk(self) -> Sequence[Segment]:
        """The segments in the order of the recursion."""
        return self.rows.segments[::-1] if self.reverse else self.rows.segments

    def gather(self, x: Tensor) -> Tensor:
        """x (T, B, units) as rows without padding."""
        x = x.contiguous()
        if self.rows.order is None:
            return x
        out = x.new_empty(self.rows.total, x.shape[2])
        self._move(self.kernel.planned.engine.gather, x, out, x.shape)
        return out

    def scatter(self, found: Tensor) -> Tensor:
        """The way back: (T, B, units) with zeros beyond."""
        if self.rows.order is None:
            return found
        out = found.new_empty(self.rows.padded, self.rows.batch, found.shape[1])
        self._move(self.kernel.planned.engine.scatter, found, out, out.shape)
        return out

    def _move(self, function: Any, a: Tensor, b: Tensor, shape: Sequence[int]) -> None:
        order = self.rows.order
        assert order is not None
        function(a.data_ptr(), b.data_ptr(), self.rows.offsets_at, order.ctypes.data, *shape)

    def sort(self, states: Sequence[Tensor]) -> list[Tensor]:
        """States as the rows are sorted."""
        if self.rows.order is None:
            return [s.contiguous() for s in states]
        index = torch.from_numpy(self.rows.order)
        return [s.index_select(0, index) for s in states]

    def unsort(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The way back."""
        if self.rows.order is None:
            return list(states)
        index = torch.from_numpy(np.argsort(self.rows.order))
        return [s.index_select(0, index) for s in states]


def _check(kernel: Kernel, x: Tensor, states: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """DataError for arrays that the kernels would read beyond."""
    wanted = [*((x.shape[1], n) for n in kernel.units), *kernel.layout.shapes]
    for number, (tensor, shape) in enumerate(zip((*states, *tensors), wanted)):
        if tensor.shape != shape or tensor.dtype != x.dtype or tensor.device != x.device:
            what = f"state {number}" if number < kernel.states else f"weight {number - kernel.states}"
            raise DataError(
                f"{what} of the cell {kernel.program.name!r} is {tuple(tensor.shape)}, {tensor.dtype} on "
                f"{tensor.device}; expected {shape}, {x.dtype} on {x.device}"
            )


def job_for(
    program: Program,
    names: Fused | tuple[str, ...],
    tensors: Sequence[Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    *,
    lengths: Sequence[int] | None,
    reverse: bool,
    every_state: bool,
    noise: Noise | None,
    slow: Slow,
    checkpoint_every: CheckpointEvery = None,
) -> Job:
    """What a call does; DataError for arrays that do not fit."""
    kernel = kernel_for(program, names, tensors, x, states)
    _check(kernel, x, states, tensors)
    steps, batch = x.shape[0], x.shape[1]
    if lengths is None or all(n == steps for n in lengths):
        of = rows.dense(steps, batch, checkpoint_every)
    else:
        of = rows.ragged(steps, lengths, checkpoint_every)
    return Job(kernel, of, reverse, every_state, noise, slow)


def kernel_for(
    program: Program, names: Fused | tuple[str, ...], tensors: Sequence[Tensor], x: Tensor, states: Sequence[Tensor]
) -> Kernel:
    """The kernels for the sizes of these arrays."""
    hidden, output = None, None
    for size, state in zip(program.state_sizes().values(), states):
        hidden, output = (state.shape[-1], output) if size == "H" else (hidden, state.shape[-1])
    if hidden is None:
        weights = TorchWeights(names, tensors) if isinstance(names, Fused) else dict(zip(names, tensors))
        hidden = reference.sizes_of(program, weights, x, states).get("H", output)
    sizes = (int(x.shape[-1]), int(hidden or 1), int(output or hidden or 1))
    return kernel_of(program, sizes, names, len(tensors), x.dtype)


def block_size(kernel: Kernel, total: int, shown: int) -> int:
    """Numbers of the block that a training call keeps: records, kept numbers, the sequences that are not shown."""
    lanes, plan = kernel.planned.engine.lanes, kernel.planned.plan
    units = dict(zip(SIZES, kernel.planned.sizes))
    # as `stride_of` in plan.h; plain arithmetic, so that a size may be symbolic
    records = [-(-units[s] // lanes) * (total * n + 8) * lanes for s, n in plan.slots.items() if n]
    return sum(records) + plan.saved * total + total * sum(kernel.units[shown:])
