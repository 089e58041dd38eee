"""A cell's plan as the words that the engine reads (engine.cpp), with its compiled loops."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.compiler.cpp import as_cpp, loops, printable
from elman.compiler.ir import Program
from elman.compiler.plan import plan
from elman.compiler.stages import KINDS, SIZES, Place, Plan, Product, Steps
from elman.compiler.verify import verify, verify_cell
from elman.engine import build

Words = npt.NDArray[np.int64]
MOST, MOST_PLACES, MOST_STAGES = 32, 512, 64
"""Maps, states, parameters, terms of a product; places; stages of a step: as in plan.h."""


class Call(ctypes.Structure):
    """What a call of the engine is given: `Call` in plan.h."""

    _fields_ = [
        (name, ctypes.c_void_p if name[0] == "p" else ctypes.c_long)
        for name in (
            "steps", "batch", "threads", "reverse", "chunks", "p_offsets", "p_bounds", "p_x", "p_first", "p_sequence",
            "p_final", "p_record", "p_saved", "p_weight", "p_weight_row", "p_bias", "p_parameter", "p_packed",
            "is_packed", "seed", "p_rows", "time", "all_steps", "all_rows", "going", "p_grad_sequence", "p_grad_final",
            "p_grad_first", "p_grad_x", "p_grad_weight", "p_grad_weight_row", "p_grad_bias", "p_grad_parameter",
            "p_accumulated", "is_first", "is_last",
        )
    ]  # fmt: skip
    NAMES = tuple(name for name, *_ in _fields_)
    ZEROS = (0,) * len(NAMES)


class Engine:
    """The driver for one instruction set and number type."""

    def __init__(self, code: ctypes.CDLL) -> None:
        word, address = ctypes.c_long, ctypes.c_void_p
        self.code = code
        self.lanes: int = code.elman_lanes()
        self.plan = code.elman_plan
        self.plan.argtypes, self.plan.restype = [address], address
        self.forward, self.backward, self.share = code.elman_forward, code.elman_backward, code.elman_share
        for function in (self.forward, self.backward):
            function.argtypes, function.restype = [address, address], ctypes.c_int
        self.share.argtypes, self.share.restype = [address, address], word
        self.lend = code.elman_lend
        self.lend.argtypes, self.lend.restype = [address] * 3, None
        self.room = code.elman_room
        self.room.argtypes, self.room.restype = [address, word, word, address], None
        self.gather, self.scatter = code.elman_gather, code.elman_scatter
        for function in (self.gather, self.scatter):
            function.argtypes, function.restype = [address] * 4 + [word] * 3, None


@functools.cache
def engine(isa: str, real: str) -> Engine | None:
    """The driver; None, after a warning, where it cannot be had."""
    code = build.load("engine", (build.FOLDER / "engine.cpp").read_text(encoding="utf-8"), isa, real)
    return None if code is None else Engine(code)


@functools.cache
def cell_code(program: Program, isa: str, real: str) -> ctypes.CDLL | None:
    """The printed loops of a cell, compiled; None, after a warning, where they cannot be had."""
    return build.load(program.name, as_cpp(program), isa, real)


def why_not(program: Program) -> str:
    """Why the engine cannot run a cell; empty where it can."""
    if not printable(program):
        return f"the cell {program.name!r} is too long to be compiled"
    directions = [s for fused in (False, True) for p in [plan(program, fused)] for s in (p.forward, p.backward)]
    products = [p for s in directions for of in (s.projections, *(stage.products for stage in s.stages)) for p in of]
    terms = [term for product in products for term in product.terms]
    counts = [len(program.states), len(program.affine_maps), *(len(p.terms) for p in products)]
    counts += [sum(node.op == "parameter" for node in program.nodes), *(len(t.blocks) for t in terms)]
    parts = sum(len(node.args) for node in program.affine_maps)
    large = max(counts) > MOST or parts > 4 * MOST
    large = large or any(len(s.places) > MOST_PLACES or len(s.stages) > MOST_STAGES for s in directions)
    return f"the cell {program.name!r} has too many maps, parameters or stages" if large else ""


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan in the engine, for some sizes: `address` is the engine's."""

    engine: Engine
    plan: Plan
    address: int
    words: Words
    sizes: tuple[int, int, int]

    def room(self, rows: int, threads: int) -> list[int]:
        """Numbers of: packed weights, records of each size, packed gradients."""
        return _room(self, rows, threads)


@functools.lru_cache(maxsize=256)
def _room(of: Planned, rows: int, threads: int) -> list[int]:
    found = (ctypes.c_long * 5)()
    of.engine.room(of.address, rows, threads, found)
    return list(found)


@functools.lru_cache(maxsize=1024)
def planned(program: Program, sizes: tuple[int, int, int], fused: bool, isa: str, real: str) -> Planned | None:
    """The plan of a cell for sizes I, H, O. fused: products with the input are taken with those of the states.

    None, after a warning, where there is no compiler. Raises ProgramError for what is no cell.
    """
    (verify if any(node.op == "mask" for node in program.nodes) else verify_cell)(program)
    driver, code = engine(isa, real), cell_code(program, isa, real)
    if driver is None or code is None:
        return None
    both = plan(program, fused)
    words = np.array(_words(both, code, sizes), np.int64)
    return Planned(driver, both, driver.plan(words.ctypes.data), words, sizes)


def parts(program: Program) -> list[tuple[int, int]]:
    """Every block of the weights: (map, vector), in the engine's order."""
    return [(m, k) for m, node in enumerate(program.affine_maps) for k in range(len(node.args))]


def _words(both: Plan, code: ctypes.CDLL, sizes: tuple[int, int, int]) -> list[int]:
    program = both.program
    number = {part: k for k, part in enumerate(parts(program))}
    maps, states = program.affine_maps, list(program.state_sizes().values())
    parameters = [node.size for node in program.nodes if node.op == "parameter"]
    words = [*sizes, *_listed(map(SIZES.index, states)), *(both.slots[size] for size in SIZES), both.saved]
    words += [int(both.reduces), *_listed(SIZES.index(n.size) for n in maps), *_listed(map(SIZES.index, parameters))]
    words.append(len(number))
    for m, k in number:
        words += [SIZES.index(maps[m].size), SIZES.index(program.nodes[maps[m].args[k]].size)]
    for direction, steps in (("forward", both.forward), ("backward", both.backward)):
        words += _steps(direction, steps, code, number)
    return words


def _listed(items: object) -> list[int]:
    found = list(items)  # type: ignore[call-overload]
    return [len(found), *found]


def _steps(direction: str, steps: Steps, code: ctypes.CDLL, number: dict[tuple[int, int], int]) -> list[int]:
    at = {place: k for k, place in enumerate(steps.places)}
    address = {
        name: ctypes.cast(getattr(code, name), ctypes.c_void_p).value or 0 for name, _, _ in loops(direction, steps)
    }
    words = [len(steps.places)]
    for place in steps.places:
        words += [KINDS.index(place.kind), 3 if place.size == "1" else SIZES.index(place.size), place.index]
    words.append(len(steps.stages))
    for k, stage in enumerate(steps.stages):
        words += [address.get(f"{direction}_{k}_{size}", 0) for size in ("1", *SIZES)]
        words.append(len(stage.products))
        for product in stage.products:
            words += _product(product, at, number)
    words.append(len(steps.projections))
    for product in steps.projections:
        words += _product(product, at, number)
    words.append(len(steps.grad_weights))
    for job in steps.grad_weights:
        words += [at[job.source], *_listed(at[g] for g in job.grads), *_listed(number[b] for b in job.blocks)]
    for sums in (steps.bias_sums, steps.parameter_sums):
        words.append(len(sums))
        for pair in sums:
            words += pair
    return words


def _product(product: Product, at: dict[Place, int], number: dict[tuple[int, int], int]) -> list[int]:
    words = [*_listed(at[p] for p in product.outputs), *_listed(product.maps), *_listed(map(int, product.ready))]
    words.append(len(product.terms))
    for term in product.terms:
        words += _listed(at[p] for p in term.sources)
        words += _listed(-1 if block is None else number[block] for block in term.blocks)
    return words
