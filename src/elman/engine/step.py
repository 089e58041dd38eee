"""A cell with its weights and the state of one sequence, some steps at a time: compiled, or interpreted in numpy."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elman.compiler.interpret import Stacked, column_ranges, run
from elman.compiler.ir import Program, resolve
from elman.compiler.verify import verify_cell
from elman.engine import build
from elman.engine.plans import Call, Planned, engine, parts, planned, why_not
from elman.errors import DataError

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[np.floating]]
REAL = "float"
CHUNK = 512
"""Steps at once of a long sequence: the engine's own room is for so many."""
FEW = 4
"""From so many steps on, the products with the input are taken for all of them at once."""
LINE = 64
"""Bytes."""


class Bound(NamedTuple):
    """A step bound to arrays, which it keeps alive: the plan, and a call for either side of the state."""

    plan: Any
    calls: tuple[Any, Any]
    alive: Sequence[object]


class Step:
    """A compiled cell with its weights and the state of one sequence; for one thread at a time.

    Bind it to arrays once, then `call` takes their steps without allocating anything. threads: at most so many work
    on a step that is large enough; None: as many as the process may use.
    """

    def __init__(
        self, program: Program, weights: Weights, sizes: tuple[int, int, int], *, threads: int | None = 1
    ) -> None:
        self.program, self.sizes = program, sizes
        by_name = resolve(*sizes)
        self.threads = processors() if threads is None else threads
        self.state_sizes = [by_name[size] for size in program.state_sizes().values()]
        # A step reads one side and writes the other: a thread may still read what another would have overwritten.
        self._sides = tuple([_aligned(n) for n in self.state_sizes] for _ in range(2))
        self._side = 0
        self._weights = _Pointers(program, weights, by_name)
        self._packed: dict[object, Floats] = {}
        self._forward = _plan(program, sizes, True).engine.code["elman_forward"]  # one of its own: without argtypes

    @property
    def states(self) -> list[Floats]:
        """The state at hand: the arrays themselves, good until the next call."""
        return self._sides[self._side]

    def bind(self, x: Floats, out: Floats) -> Bound:
        """What `call` takes for these arrays: x (T, I), out (T, units), whose contents are lost."""
        _check(x, out, self.sizes[0], self.state_sizes[0])
        plan = _plan(self.program, self.sizes, len(x) < FEW)
        sides = [_pointers([s.ctypes.data for s in side]) for side in self._sides]
        sequence = _pointers([out.ctypes.data, *[0] * (len(self.state_sizes) - 1)])
        offsets = np.arange(len(x) + 1, dtype=np.int64)
        bounds = np.array([*range(0, len(x), CHUNK), len(x)], np.int64)
        calls = tuple(
            Call(
                steps=len(x), batch=1, all_steps=len(x), all_rows=len(x), threads=self.threads,
                chunks=len(bounds) - 1, p_offsets=offsets.ctypes.data, p_bounds=bounds.ctypes.data,
                p_x=x.ctypes.data, p_sequence=ctypes.addressof(sequence),
                p_first=ctypes.addressof(first), p_final=ctypes.addressof(final), **self._weights.addresses,
            )
            for first, final in (sides, sides[::-1])
        )  # fmt: skip
        bound = Bound(
            ctypes.c_void_p(plan.address),
            (ctypes.c_void_p(ctypes.addressof(calls[0])), ctypes.c_void_p(ctypes.addressof(calls[1]))),
            (x, out, sides, sequence, offsets, bounds, calls, plan, self._weights),
        )
        if len(x):
            self._pack(plan, calls, bound)
        return bound

    def _pack(self, plan: Planned, calls: Sequence[Call], bound: Bound) -> None:
        """The engine packs weights on a call's way; how depends on how it shares out the call."""
        share = plan.engine.share(plan.address, ctypes.addressof(calls[0]))
        by_rows = share >> 4 & 1
        key = (plan.plan.forward.projections != (), share, 0 if by_rows else min(calls[0].steps, 9))
        if known := key in self._packed:
            packed = self._packed[key]
        else:
            packed = self._packed[key] = _aligned(plan.room(1, 1)[0])
        for call in calls:
            call.p_packed, call.is_packed = packed.ctypes.data, int(known)
        if not known:  # once, into the side of the state that is not at hand
            self.call(bound)
            self._side = 1 - self._side
            for call in calls:
                call.is_packed = 1

    def call(self, bound: Bound) -> None:
        """The steps, from the state at hand."""
        side = self._side
        if self._forward(bound[0], bound[1][side]):
            raise MemoryError("there is no memory left for the kernels' own arrays")
        self._side = 1 - side


class Interpreted:
    """The same in numpy: slower, and allocates."""

    def __init__(self, program: Program, weights: Weights, sizes: tuple[int, int, int]) -> None:
        self.program, self.sizes = program, sizes
        self._by_name = resolve(*sizes)
        self._weights = Stacked(weights)
        self._input = next(node.name for node in program.nodes if node.op == "input")
        self.state_sizes = [self._by_name[size] for size in program.state_sizes().values()]
        self.states: list[Floats] = [np.zeros(n, np.float32) for n in self.state_sizes]

    def bind(self, x: Floats, out: Floats) -> tuple[Floats, Floats]:
        """As `Step.bind`."""
        _check(x, out, self.sizes[0], self.state_sizes[0])
        return x, out

    def call(self, bound: tuple[Floats, Floats]) -> None:
        """As `Step.call`."""
        for row, made in zip(*bound):
            states = dict(zip(self.program.states, self.states))
            new = run(self.program, {self._input: row, **states}, self._weights, self._by_name)
            for name, state in states.items():
                state[:] = new[name]
            made[:] = self.states[0]


def compiled(program: Program, weights: Weights, sizes: tuple[int, int, int], threads: int | None = 1) -> Step | None:
    """The step of `program`; None, after one warning that names the remedy, where it cannot be compiled.

    Raises ProgramError for what is no cell: only what the verifier knows becomes C++ and the name of a file.
    """
    verify_cell(program)
    if why := _why_not(program):
        return _warn_once(why)
    isa = build.chosen_isa()
    if engine(isa, REAL) is None or planned(program, sizes, True, isa, REAL) is None:
        return None
    return Step(program, weights, sizes, threads=threads)


def processors() -> int:
    """Threads that can run at once in this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _why_not(program: Program) -> str:
    return why_not(program)


@functools.cache
def _warn_once(why: str) -> None:
    warnings.warn(f"{why}; it runs in numpy, slower", RuntimeWarning, stacklevel=4)


def _plan(program: Program, sizes: tuple[int, int, int], fused: bool) -> Planned:
    found = planned(program, sizes, fused, build.chosen_isa(), REAL)
    if found is None:
        raise DataError(f"the cell {program.name!r} cannot be compiled on this machine; interpret it")
    return found


def _check(x: Floats, out: Floats, inputs: int, units: int) -> None:
    if (
        any(a.dtype != np.float32 or not a.flags.c_contiguous for a in (x, out))
        or x.shape != (len(out), inputs)
        or out.shape != (len(x), units)
    ):
        raise DataError(
            f"a step takes float32 arrays (T, {inputs}) and (T, {units}), "
            f"not {x.dtype} {x.shape} and {out.dtype} {out.shape}"
        )


class _Pointers:
    """Where the weights are, as a `Call` says it."""

    def __init__(self, program: Program, weights: Weights, sizes: Mapping[str, int]) -> None:
        arrays = {name: np.ascontiguousarray(weight, np.float32) for name, weight in weights.items()}
        maps = program.affine_maps
        starts = [[first for first, _ in column_ranges(program, node, sizes)] for node in maps]
        matrices = [arrays[f"weight_{maps[m].name}"] for m, _ in parts(program)]
        weight = [a.ctypes.data + a.itemsize * starts[m][k] for a, (m, k) in zip(matrices, parts(program))]
        rows = (ctypes.c_long * max(1, len(matrices)))(*(a.shape[1] for a in matrices))
        biases = [a for n in maps for a in (arrays[f"bias_{n.name}"].ctypes.data if n.bias else 0, 0)]
        parameters = [arrays[n.name].ctypes.data for n in program.nodes if n.op == "parameter"]
        self.alive = {
            "p_weight": _pointers(weight), "p_weight_row": rows,
            "p_bias": _pointers(biases), "p_parameter": _pointers(parameters),
        }  # fmt: skip
        self.arrays = arrays
        self.addresses = {name: ctypes.addressof(array) for name, array in self.alive.items()}


def _pointers(values: Sequence[int]) -> Any:
    return (ctypes.c_void_p * max(1, len(values)))(*values)


def _aligned(count: int) -> Floats:
    """`count` zeros that begin a cache line. (numpy asks for huge pages where they pay.)"""
    raw = np.zeros(count + LINE // 4, np.float32)
    first = (-raw.ctypes.data // 4) % (LINE // 4)
    return raw[first : first + count]
