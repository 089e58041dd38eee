"""The native back end: a cell's compiled kernels over whole sequences, as one differentiable operation."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.compiler.ir import Program
from elman.engine.plans import Call
from elman.nn import reference
from elman.nn.fused import Fused, TorchWeights
from elman.nn.kernel import Job, job_for
from elman.nn.pool import POOL
from elman.nn.quick import Quick
from elman.nn.rows import Segment


class NativeRun(torch.autograd.Function):
    """The kernels; the reference where gradients are to be differentiated again."""

    @staticmethod
    def forward(ctx: Any, job: Job | Quick, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        return _forward(ctx, job, x, given)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        job: Job | Quick = ctx.job
        saved = ctx.saved_tensors
        (x, *given), kept = saved[: ctx.given], saved[ctx.given :]
        found: list[Tensor | None]
        came = [g for g in grads if g is not None]
        if not came:
            return (None,) * (1 + int(ctx.given))
        batched = any(map(torch._C._functorch.is_legacy_batchedtensor, came))
        if torch.is_grad_enabled() or reference.transformed() or batched:
            with torch.enable_grad():
                outputs = _by_reference(job, x, given)
            found = reference.gradients(outputs, (x, *given), grads, create_graph=torch.is_grad_enabled())
        else:
            how: dict[str, Any] = {"wanted": ctx.needs_input_grad[1:]}
            how["keep_graph"] = torch._C._autograd._get_current_graph_task_keep_graph()
            if isinstance(job, Quick):
                found = job.backward(x, given, kept, grads, **how)
            else:
                found = run_backward(job, x, given, kept, ctx.boundaries, grads, **how)
        return (None, *found)


def apply(job: Job | Quick, x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The operation, where a gradient may be asked for as a part of autograd's graph."""
    if torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in given)):
        outputs: tuple[Tensor, ...] = NativeRun.apply(job, x, *given)  # type: ignore[no-untyped-call]
        return outputs
    return _forward(None, job, x, given)


def _forward(ctx: Any, job: Job | Quick, x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return job.forward(ctx, x, given) if isinstance(job, Quick) else run_forward(ctx, job, x, given)


def _by_reference(job: Job | Quick, x: Tensor, given: Sequence[Tensor]) -> list[Tensor]:
    """The operation's outputs by the reference."""
    names, count = job.kernel.names, len(given) - len(job.kernel.layout.shapes)
    tensors, states = given[count:], given[:count] or [x.new_zeros(x.shape[1], n) for n in job.kernel.units]
    weights: Any = TorchWeights(names, tensors) if isinstance(names, Fused) else dict(zip(names, tensors))
    sequences, final = job.slow(weights, x, [s.reshape(s.shape[-2:]) for s in states])
    if isinstance(job, Quick):
        final = [s.reshape(shape) for s, shape in zip(final, job.state_shapes)]
    return [*sequences[: job.shown], *final]


_HEAD = ctypes.sizeof(Call) // 8
_LOCAL = threading.local()


def _call(function: Any, job: Job, segment: Segment, fields: dict[str, int], tables: dict[str, Sequence[int]]) -> None:
    """One call of the engine. A thread has one row of words for all its calls: the fields of `Call`, then the tables
    that they point to."""
    count = _HEAD + sum(map(len, tables.values()))
    if len(getattr(_LOCAL, "words", ())) < count:
        _LOCAL.words = (ctypes.c_long * (count + 64))()
        _LOCAL.at = ctypes.addressof(_LOCAL.words)
    rows, at = job.rows, _LOCAL.at + 8 * _HEAD
    fields["steps"], fields["batch"] = segment.stop - segment.start, rows.batch
    fields["threads"], fields["reverse"], fields["time"] = torch.get_num_threads(), job.reverse, segment.start
    fields["all_steps"], fields["all_rows"] = rows.steps, rows.total
    fields["going"] = rows.going(segment, job.reverse)
    fields["chunks"], fields["p_bounds"] = len(segment.bounds) - 1, segment.bounds_at
    fields["p_offsets"] = rows.offsets_at + 8 * segment.start
    words: list[int] = []
    for name, table in tables.items():
        fields[name] = at + 8 * len(words)
        words += table
    if job.noise is not None:
        order = rows.order if rows.order is not None else np.arange(rows.batch)
        numbers = np.ascontiguousarray(order, np.uint32)
        fields["seed"], fields["p_rows"] = int(job.noise.seed), numbers.ctypes.data
    _LOCAL.words[:count] = [*map(fields.get, Call.NAMES, Call.ZEROS), *words]
    if function(job.kernel.planned.address, _LOCAL.at):
        raise MemoryError("there is no memory left for the kernels' own arrays")


def _whole(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Weights whose numbers follow each other."""
    return [t if t.is_contiguous() else t.contiguous() for t in tensors]


def _forward_segment(
    job: Job, segment: Segment, weights: dict[str, Sequence[int]], arrays: Sequence[Any], record: Sequence[int]
) -> None:  # fmt: skip
    """arrays: addresses of x, and of each state first, sequence (0: not kept) and final. record: those of the records
    of each size and of the kept numbers, or nothing."""
    x, first, sequences, final = arrays
    tables = {**weights, "p_first": first, "p_sequence": sequences, "p_final": final}
    fields = {"p_x": x}
    if record:
        tables["p_record"], fields["p_saved"] = record[:3], record[3]
    _call(job.kernel.planned.engine.forward, job, segment, fields, tables)


def run_forward(ctx: Any, job: Job, x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Sequences and final states. ctx: of autograd, None for no backward pass."""
    kernel, count, size = job.kernel, job.kernel.states, x.element_size()
    tensors = _whole(given[count:])
    weights = kernel.layout.pointers(tensors, size)
    inputs, first = job.gather(x.detach()), job.sort(given[:count])
    units = [s.shape[1] for s in first]
    keeps = ctx is not None and len(job.rows.segments) == 1
    total = job.rows.total
    shape = (total,) if job.rows.order is not None else (job.rows.steps, job.rows.batch)
    sequences = [x.new_empty(*shape, n) for n in units[: job.shown]]
    inner = [total * n for n in units[job.shown :]] if keeps else []
    room = [*kernel.planned.room(total, 1)[1:4], kernel.planned.plan.saved * total] if keeps else []
    blob = POOL.take(sum(room) + sum(inner), x) if keeps else None
    addresses = _cut(blob, [*room, *inner], size)
    record, kept = addresses[: len(room)], addresses[len(room) :]
    states = [first]
    for segment in job.walk():
        final = [torch.empty_like(s) for s in first]
        begin, x_row = job.rows.first(segment), inputs.shape[-1] * size
        shown = [s.data_ptr() + begin * n * size for s, n in zip(sequences, units)]
        places = shown + (kept or [0] * (count - job.shown))
        arrays = (inputs.data_ptr() + begin * x_row, _at(states[-1]), places, _at(final))
        _forward_segment(job, segment, weights, arrays, record)
        states.append(final)
    outputs = (*(job.scatter(s) for s in sequences), *job.unsort(states[-1]))
    if ctx is not None:
        ctx.job, ctx.given, ctx.boundaries = job, 1 + len(given), [] if keeps else states[:-1]
        # A sequence that is an output is saved as such, else it would keep itself alive.
        saved = sequences if job.rows.order is not None else outputs[: job.shown]
        ctx.save_for_backward(x, *given, *([blob, *saved] if keeps else []))
        ctx.set_materialize_grads(False)
    return outputs


def _at(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if t is None else t.data_ptr() for t in tensors]


def _cut(blob: Tensor | None, counts: Sequence[int], size: int) -> list[int]:
    """The addresses of arrays that lie one after the other in a block."""
    found, at = [], 0 if blob is None else blob.data_ptr()
    for count in counts:
        found.append(at)
        at += count * size
    return found


def _again(
    job: Job, segment: Segment, inputs: Tensor, weights: dict[str, Sequence[int]], first: Sequence[Tensor]
) -> tuple[Tensor, list[int]]:
    """A segment's records and sequences, computed again: the block, and the addresses of what lies in it."""
    planned, n, size = job.kernel.planned, job.rows.count(segment), inputs.element_size()
    counts = [*planned.room(n, 1)[1:4], planned.plan.saved * n, *(n * s.shape[1] for s in first)]
    blob = POOL.take(sum(counts), inputs)
    addresses = _cut(blob, counts, size)
    final = [torch.empty_like(s) for s in first]
    x = inputs.data_ptr() + job.rows.first(segment) * inputs.shape[-1] * size
    _forward_segment(job, segment, weights, (x, _at(first), addresses[4:], _at(final)), addresses[:4])
    return blob, addresses


def run_backward(
    job: Job,
    x: Tensor,
    given: Sequence[Tensor],
    saved: Sequence[Tensor],
    boundaries: Sequence[Sequence[Tensor]],
    grads: Sequence[Tensor | None],
    *,
    wanted: Sequence[bool],
    keep_graph: bool,
) -> list[Tensor | None]:
    """Gradients of x, of the first states and of the weights' tensors. saved: the block of records and inner sequences,
    and the sequences shown; or nothing, and `boundaries`, the states before each segment in the order of the walk.
    keep_graph: the block is needed again."""
    kernel, count, size, rows = job.kernel, job.kernel.states, x.element_size(), job.rows
    tensors = _whole(given[count:])
    weights = kernel.layout.pointers(tensors, size)
    inputs = job.gather(x.detach())
    states = boundaries or [job.sort(given[:count])]
    units = [s.shape[1] for s in states[0]]
    of_sequences = [None if g is None else job.gather(g) for g in grads[: job.shown]]
    flow: list[Tensor | None] = [g if g is None else job.sort([g])[0] for g in grads[job.shown :]]
    of_input = kernel.planned.plan.backward.of_input
    grad_x = None
    if wanted[0]:
        grad_x = torch.empty_like(inputs) if of_input else torch.zeros_like(inputs)
    at_grad_x = 0 if grad_x is None or not of_input else grad_x.data_ptr()
    grad_tensors = [t.new_zeros(t.shape) if kernel.layout.sparse else t.new_empty(t.shape) for t in tensors]
    accumulated = POOL.take(kernel.planned.room(rows.total, torch.get_num_threads())[4], x)
    gradients = kernel.layout.gradients(grad_tensors, size)
    walk = list(zip(job.walk(), states))[::-1]
    for number, (segment, first) in enumerate(walk):
        begin, n = rows.first(segment), rows.count(segment)
        if saved:
            room = [*kernel.planned.room(n, 1)[1:4], kernel.planned.plan.saved * n]
            # The kernels turn the record into gradients: a graph that is kept keeps its own.
            blob = saved[0].clone() if keep_graph else saved[0]
            addresses = _cut(blob, [*room, *(n * u for u in units[job.shown :])], size)
            sequences = [*_at(saved[1:]), *addresses[4:]]
        else:
            blob, addresses = _again(job, segment, inputs, weights, first)
            sequences = addresses[4:]
        grad_first = [torch.empty_like(s) for s in first]
        shifted = [0 if g is None else g.data_ptr() + begin * u * size for g, u in zip(of_sequences, units)]
        tables = {**weights, **gradients, "p_first": _at(first), "p_sequence": sequences, "p_final": _at(first)}
        tables |= {"p_grad_sequence": shifted + [0] * (count - job.shown), "p_record": addresses[:3]}
        tables |= {"p_grad_final": _at(flow), "p_grad_first": _at(grad_first)}
        fields = {
            "p_x": inputs.data_ptr() + begin * inputs.shape[-1] * size, "p_saved": addresses[3],
            "p_grad_x": at_grad_x and at_grad_x + begin * inputs.shape[-1] * size,
            "p_accumulated": accumulated.data_ptr(), "is_first": number == 0, "is_last": number + 1 == len(walk),
        }  # fmt: skip
        _call(kernel.planned.engine.backward, job, segment, fields, tables)
        flow = list(grad_first)
        if not saved or not keep_graph:
            POOL.give(blob)
    POOL.give(accumulated)
    found = [None if grad_x is None else job.scatter(grad_x), *job.unsort(grad_first), *grad_tensors]
    return [g if want else None for g, want in zip(found, wanted)]


def run(
    program: Program,
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    *,
    every_state: bool,
    **how: Any,
) -> tuple[list[Tensor], list[Tensor]]:
    """As `op.run`, for a batch with at least one step and sequence. how: what else `job_for` takes."""
    names: Fused | tuple[str, ...]
    if isinstance(weights, TorchWeights):
        names, tensors = weights.fused, weights.flat
    else:
        names, tensors = tuple(weights), list(weights.values())
    job = job_for(program, names, tensors, x, states, every_state=every_state, **how)
    outputs = apply(job, x, [*states, *tensors])
    return list(outputs[: job.shown]), list(outputs[job.shown :])
