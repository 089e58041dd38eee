"""The short way of a usual call: whole sequences, nothing computed again, no noise, nothing shown but the output.

A step of one sequence takes the kernels 3 µs; to ask and prepare all that `native.run_forward` may need takes many
times as long. What follows from shapes is made ready once, in each thread; a call looks at what may have changed.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.engine.plans import Call
from elman.nn import rows
from elman.nn.kernel import PLAIN, Kernel, Slow
from elman.nn.pool import POOL
from elman.nn.weights import addresses

_HEAD = len(Call.NAMES)
_THREADS, _X, _RECORD, _SAVED, _GRAD_X, _ACCUMULATED = map(
    Call.NAMES.index, ("threads", "p_x", "p_record", "p_saved", "p_grad_x", "p_accumulated")
)
_NO_MEMORY = "there is no memory left for the kernels' own arrays"


class _Words(threading.local):
    """A thread's row of words: `Call`, then the tables that it points to, in the order of `tables`."""

    def __init__(self, fields: Mapping[str, int], tables: Mapping[str, Sequence[int]]) -> None:
        ends = [*accumulate(map(len, tables.values()), initial=_HEAD)]
        self.row: Any = (ctypes.c_long * ends[-1])()
        self.at = ctypes.addressof(self.row)
        self.places = dict(zip(tables, ends))
        pointers = {name: self.at + 8 * place for name, place in self.places.items()}
        pointers["p_grad_weight_row"] = pointers["p_weight_row"]
        self.record = pointers["p_record"]
        head = map({**fields, **pointers}.get, Call.NAMES, Call.ZEROS)
        self.row[:] = [*head, *(word for table in tables.values() for word in table)]
        self.seen: dict[str, list[int]] = {}

    def point(self, name: str, tensors: Sequence[Tensor], places: Sequence[tuple[int, int]], size: int) -> None:
        """Fill the tables from `name` on with places in tensors, if these have moved."""
        at = [t.data_ptr() for t in tensors]
        if at != self.seen.get(name):
            found, begin = addresses(at, places, size), self.places[name]
            self.row[begin : begin + len(found)] = found
            self.seen[name] = at


@lru_cache(maxsize=64)
def _zeros(count: int) -> Any:
    """States before the first step, as the kernels read them."""
    return np.zeros(count)


class Quick:
    """A cell's kernels over T steps of B sequences from states (*lead, B, units), each of `lead` 1, that are given or
    are zeros."""

    shown = 1  # sequences that the caller gets

    def __init__(
        self,
        kernel: Kernel,
        slow: Slow,
        dtype: torch.dtype,
        shape: tuple[int, int],
        lead: tuple[int, ...],
        *,
        given: bool,
        reverse: bool,
    ) -> None:
        planned, units, size = kernel.planned, kernel.units, dtype.itemsize
        of, batch, self.reverse = rows.dense(*shape), shape[1], reverse
        self.kernel, self.slow, self.dtype, self.size, self.rows = kernel, slow, dtype, size, of
        self.engine, self.address = planned.engine, planned.address
        self.x_shape, self.output_shape = (*shape, planned.sizes[0]), (*shape, units[0])
        self.state_shapes = [(*lead, batch, n) for n in units]
        self.given = len(units) if given else 0
        self.shapes, self.places = [*self.state_shapes[: self.given], *kernel.layout.shapes], kernel.layout.places
        self.zeros = _zeros(1 << (batch * max(units)).bit_length())
        self.first = [self.zeros.ctypes.data] * len(units)
        # The block that training keeps: records of each size, kept numbers, the states that are not shown.
        room = [*planned.room(of.total, 1)[1:4], planned.plan.saved * of.total, *(of.total * n for n in units[1:])]
        self.block, self.cuts = sum(room), [size * at for at in accumulate(room[:-1], initial=0)]
        *self.states, self.scratch = [size * at for at in accumulate((batch * n for n in units), initial=0)]
        self.of_input = planned.plan.backward.of_input
        self.sums = cache(lambda threads: planned.room(of.total, threads)[4])  # packed gradients and sums
        self._make_words()

    def _make_words(self) -> None:
        """What a call of the engine is told that is always the same, and room for what is not."""
        rows, layout, count = self.rows, self.kernel.layout, len(self.kernel.units)
        (segment,) = rows.segments
        fields = {
            "steps": rows.steps, "batch": rows.batch, "all_steps": rows.steps, "all_rows": rows.total,
            "reverse": int(self.reverse), "chunks": len(segment.bounds) - 1, "p_offsets": rows.offsets_at,
            "p_bounds": segment.bounds_at, "is_first": 1, "is_last": 1,
        }  # fmt: skip
        tables = {"p_first": count, "p_sequence": count, "p_final": count, "p_record": 3}
        self.pack_forward = struct.Struct(f"{sum(tables.values())}q").pack_into
        tables |= {"p_grad_sequence": count, "p_grad_final": count, "p_grad_first": count}
        self.pack_backward = struct.Struct(f"{sum(tables.values())}q").pack_into
        for what in ("", "grad_"):
            tables |= {f"p_{what}weight": len(layout.parts), f"p_{what}bias": len(layout.biases)}
            tables[f"p_{what}parameter"] = len(layout.parameters)
        self.words = _Words(fields, {name: [0] * n for name, n in tables.items()} | {"p_weight_row": layout.rows})

    def fits(self, x: Tensor, given: Sequence[Tensor]) -> bool:
        """Whether these are arrays as were prepared for; `given`: the states, where they are given, and the weights."""
        dtype = self.dtype
        if x.shape != self.x_shape or not x.is_cpu or len(given) != len(self.shapes):
            return False
        for t, shape in zip(given, self.shapes):
            if type(t) not in PLAIN or t.shape != shape or t.dtype is not dtype:
                return False
            if not t.is_cpu or not t.is_contiguous():
                return False
        return True

    def forward(self, ctx: Any, x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The output and the final states. ctx: of autograd, None for no backward pass."""
        inputs, output, words = x.contiguous(), x.new_empty(*self.output_shape), self.words
        final = [x.new_empty(*shape) for shape in self.state_shapes]
        record, kept = 0, [0] * len(self.cuts)
        if ctx is not None:
            block = POOL.take(self.block, x)
            record, kept = words.record, _cut(block, self.cuts)
            ctx.job, ctx.given, ctx.boundaries = self, 1 + len(given), []
            ctx.save_for_backward(x, *given, block, output)
            ctx.set_materialize_grads(False)
        first = [s.data_ptr() for s in given[: self.given]] or self.first
        tables = [*first, output.data_ptr(), *kept[4:], *[s.data_ptr() for s in final], *kept[:3]]
        words.point("p_weight", given[self.given :], self.places, self.size)
        row = words.row
        self.pack_forward(row, 8 * _HEAD, *tables)
        row[_THREADS], row[_X], row[_RECORD], row[_SAVED] = torch.get_num_threads(), inputs.data_ptr(), record, kept[3]
        if self.engine.forward(self.address, words.at):
            raise MemoryError(_NO_MEMORY)
        return (output, *final)

    def backward(
        self,
        x: Tensor,
        given: Sequence[Tensor],
        kept: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        *,
        wanted: Sequence[bool],
        keep_graph: bool,
    ) -> list[Tensor | None]:
        """As `native.run_backward`; kept: the block and the output."""
        inputs, words, count = x.contiguous(), self.words, self.given
        threads = torch.get_num_threads()
        block = kept[0].clone() if keep_graph else kept[0]  # the kernels turn records into gradients
        of_output, *of_final = [g if g is None else g.contiguous() for g in grads]
        grad_x = (x.new_empty if self.of_input else x.new_zeros)(*self.x_shape) if wanted[0] else None
        new = x.new_zeros if self.kernel.layout.sparse else x.new_empty
        grad_given = [new(*shape) for shape in self.shapes]
        sums = self.sums(threads)
        room = POOL.take(sums + self.scratch // self.size, x)
        record, first = _cut(block, self.cuts), [s.data_ptr() for s in given[:count]] or self.first
        tables = [*first, kept[1].data_ptr(), *record[4:], *first, *record[:3]]
        tables += [_at(of_output), *[0] * (len(first) - 1), *map(_at, of_final)]
        spare = room.data_ptr() + self.size * sums  # for the gradients of states that nobody gave
        tables += [g.data_ptr() for g in grad_given[:count]] or [spare + at for at in self.states]
        words.point("p_weight", given[count:], self.places, self.size)
        words.point("p_grad_weight", grad_given[count:], self.places, self.size)
        row = words.row
        self.pack_backward(row, 8 * _HEAD, *tables)
        row[_THREADS], row[_X], row[_RECORD], row[_SAVED] = threads, inputs.data_ptr(), words.record, record[3]
        row[_GRAD_X], row[_ACCUMULATED] = _at(grad_x) if self.of_input else 0, room.data_ptr()
        if self.engine.backward(self.address, words.at):
            raise MemoryError(_NO_MEMORY)
        if not keep_graph:
            POOL.give(block)
        POOL.give(room)
        return [g if want else None for g, want in zip((grad_x, *grad_given), wanted)]


def _at(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _cut(block: Tensor, cuts: Sequence[int]) -> list[int]:
    at = block.data_ptr()
    return [at + cut for cut in cuts]
