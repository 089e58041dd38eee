"""What the tests of the engine share: cells of odd kinds, problems, the slow twin, and how far apart results may be."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cell_kit import EXTRA
from elman.cells import CATALOGUE, cell, mean, sigmoid, softplus, tanh
from elman.compiler.build import Builder
from elman.compiler.ir import Node, Program, resolve
from elman.compiler.verify import verify_cell
from elman.engine import build, plans
from elman.nn import op
from elman.nn.reference import scan

REAL = {torch.float32: "float", torch.float64: "double"}
ROUNDINGS = 1000
"""Roundings of the type, of an array's largest number, that two ways of computing it may be apart. The longest sums of
the tests have about 600 terms (a weight's gradient over all rows), and a sum of n terms in any order is within n/2
roundings of the true one; a step passes an error on about as it came, for weights that neither damp nor blow up. What
is observed is under 50. A wrong or lost term, lane or row is off by 1e-2 and more: 1e13 roundings of float64."""


@cell
def map_of_map(x: Any, h: Any, W: Any) -> Any:
    """A map of a bare map, and the state is a bare map."""
    h = W.a(W.b(x, h), x)
    return h


@cell
def swapping(x: Any, h: Any, c: Any, d: Any, W: Any) -> Any:
    """Two states change places, one stays."""
    return tanh(W.h(x, h, c, d)), d, c


@cell
def lagging(x: Any, h: Any, s: Any, k: Any, W: Any) -> Any:
    """New states that need no product, and others whose products read the old ones."""
    h_new = tanh(W.h(x, h, s, k))
    return h_new, 0.5 * s + 0.5 * h, k


@cell
def nine_maps(x: Any, h: Any, W: Any) -> Any:
    """More maps of the same vectors than one product takes."""
    a, b, c = W.a(x, h), W.b(x, h), W.c(x, h, bias=False)
    d, e, f = sigmoid(W.d(x, h)), sigmoid(W.e(x, h)), W.f(x, h)
    g, i, j = W.g(x, h), W.i(x, h, bias=False), sigmoid(W.j(x, h))
    return tanh(a * d + b * e - c * j + f) + tanh(g * i)


@cell
def map_of_the_new(x: Any, h: Any, c: Any, W: Any) -> Any:
    """A map of a state as this step leaves it, and a map without x beside one with it."""
    h_new = tanh(W.h(x, h)) - c
    c = W.c(h_new, bias=False) * sigmoid(W.d(h))
    return h_new, c


@cell
def sums_of_units(x: Any, h: Any, c: Any, W: Any) -> Any:
    """Means straight into the new state: their gradient is a sum of what the caller gives."""
    h = tanh(W.h(x, h)) + mean(c) * mean(x) + mean(W.k(h))
    c = softplus(c) + mean(h)
    return h, c


@cell
def twice(x: Any, h: Any, W: Any) -> Any:
    """The same vectors twice in a map, and a constant one."""
    h = tanh(W.i(x, x, h, h)) + W.k(0 * x + 1, W.p - W.p + 2, bias=False)
    return h


@cell
def no_map(x: Any, h: Any, W: Any) -> Any:
    """Per-unit parameters alone."""
    h = tanh(W.u * h + W.v * mean(x) + W.w)
    return h


@cell
def shifted_input(x: Any, h: Any, W: Any) -> Any:
    """The input outside maps, of its own size: its gradient is a product's, passed on as it is."""
    e = x + W.p
    h = tanh(W.h(e * x, h)) + W.k(e)
    return h


@cell
def autonomous(x: Any, h: Any, W: Any) -> Any:
    """The input takes no part: its gradient is zero."""
    h = tanh(W.h(h))
    return h


def constant_vector() -> Program:
    """h = tanh(W.h(x, h) + W.k(1/2)): a map of a number, which only a program from a file can hold."""
    made = Builder()
    x, h = made.leaf("input", "x", "I"), made.leaf("state", "h", "H")
    k = made.add(Node("affine", (made.constant(0.5, "H"),), "H", "k"))
    z = made.add(Node("affine", (x, h), "H", "h"))
    return verify_cell(made.program("constant_vector", (("h", made.apply("tanh", made.apply("add", k, z))),)))


ODD: dict[str, Program] = {
    c.name: c.program
    for c in (
        *EXTRA.values(), map_of_map, swapping, lagging, nine_maps, map_of_the_new, sums_of_units, twice, no_map,
        shifted_input, autonomous,
    )
} | {"constant_vector": constant_vector()}  # fmt: skip
EVERY: dict[str, Program] = {**{name: c.program for name, c in CATALOGUE.items()}, **ODD}


@dataclass(frozen=True)
class Case:
    """A call: sizes and how it is called. final_only: the loss is of the final states alone."""

    steps: int
    batch: int
    units: tuple[int, int, int]
    lengths: tuple[int, ...] | None = None
    reverse: bool = False
    every_state: bool = False
    final_only: bool = False

    @property
    def how(self) -> dict[str, Any]:
        return {"lengths": self.lengths and list(self.lengths), "reverse": self.reverse}


# For two threads, as `share_out` in team.h shares work out: by rows, by units, and by units where lengths differ
BY_ROWS = Case(8, 33, (64, 64, 64))
BY_UNITS = Case(9, 15, (130, 130, 67))
RAGGED = Case(12, 15, (130, 130, 67), lengths=(12, 3, 12, 0, 5, 9, 12, 1, 12, 11, 12, 7, 12, 12, 12), reverse=True)

Run = Callable[[dict[str, Tensor], Tensor, list[Tensor]], tuple[Sequence[Tensor], Sequence[Tensor]]]
Problem = tuple[Tensor, list[Tensor], dict[str, Tensor]]


def problem(program: Program, case: Case, seed: int = 0) -> Problem:
    """Random input, first states and weights in float64, all of which float32 holds."""
    generator, sizes = torch.Generator().manual_seed(seed), resolve(*case.units)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).double()

    shapes = program.parameter_shapes(*case.units)
    weights = {n: (0.8 * draw(*s) / s[-1] ** 0.5).float().double() for n, s in shapes.items()}
    states = [draw(case.batch, sizes[size]) for size in program.state_sizes().values()]
    if program.name == "slstm":
        states[2] = states[2].abs() + 1  # its normaliser
    return draw(case.steps, case.batch, case.units[0]), states, weights


def slow(program: Program, case: Case) -> Run:
    """The interpreter with autograd, each sequence alone."""

    def run(weights: dict[str, Tensor], x: Tensor, states: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        def walk(x: Tensor, states: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            sequences, _ = scan(program, weights, x.flip(0) if case.reverse else x, states)
            return [s.flip(0) if case.reverse else s for s in sequences], [s[-1] for s in sequences]

        if case.lengths is None:
            return walk(x, states)
        rows: list[tuple[list[Tensor], list[Tensor]]] = []
        for b, n in enumerate(case.lengths):
            own = [s[b : b + 1] for s in states]
            sequences, final = walk(x[:n, b : b + 1], own) if n else ([s.new_zeros(0, *s.shape) for s in own], own)
            rows.append(([torch.nn.functional.pad(s, (0, 0, 0, 0, 0, case.steps - n)) for s in sequences], final))
        sequences, finals = zip(*rows)
        return [torch.cat(s, 1) for s in zip(*sequences)], [torch.cat(f) for f in zip(*finals)]

    return run


def fast(program: Program, case: Case, backend: str = "native") -> Run:
    """A back end."""
    return lambda weights, x, states: op.run(
        program, weights, x, states, fused=None, backend=backend, every_state=case.every_state, **case.how
    )


def outcome(run: Run, program: Program, case: Case, given: Problem, dtype: torch.dtype) -> dict[str, Tensor]:
    """Outputs, final states and every gradient of a random weighting of them, by name."""
    x, *rest = (t.to(dtype).requires_grad_() for t in (given[0], *given[1], *given[2].values()))
    states, weights = rest[: len(given[1])], dict(zip(given[2], rest[len(given[1]) :]))
    sequences, final = run(weights, x, states)
    found = {} if case.final_only else {f"sequence {n}": s for n, s in zip(program.states, sequences)}
    found = dict(list(found.items())[: None if case.every_state else 1])
    found |= {f"final {name}": s for name, s in zip(program.states, final)}
    generator = torch.Generator().manual_seed(5)
    shares = [torch.randn(s.shape, generator=generator).to(dtype) for s in found.values()]
    loss = sum(((s * w).sum() for s, w in zip(found.values(), shares)), torch.zeros((), dtype=dtype))
    grads = torch.autograd.grad(loss, [x, *rest], allow_unused=True, materialize_grads=True)
    names = ["x", *program.states, *weights]
    return {name: s.detach() for name, s in found.items()} | {f"grad {n}": g for n, g in zip(names, grads)}


def differences(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """What is further apart than ROUNDINGS, in roundings of the type of `found`."""
    bad = {}
    assert list(found) == list(wanted)
    for name, ours in found.items():
        theirs = wanted[name]
        assert ours.shape == theirs.shape, name
        if theirs.numel():
            largest = max(float(theirs.abs().max()), 1e-2)
            error = float((ours.double() - theirs).abs().max()) / largest / torch.finfo(ours.dtype).eps
            if not error <= ROUNDINGS:  # NaN too
                bad[name] = error
    return bad


def check(program: Program, case: Case, *dtypes: torch.dtype) -> None:
    """Asserts that the native back end's outcome is the slow twin's in float64."""
    given = problem(program, case)
    wanted = outcome(slow(program, case), program, case, given, torch.float64)
    for dtype in dtypes or (torch.float32, torch.float64):
        found = outcome(fast(program, case), program, case, given, dtype)
        assert not differences(found, wanted), (program.name, case, dtype)


@contextmanager
def sharing(dtype: torch.dtype) -> Iterator[list[tuple[int, bool]]]:
    """Notes of every forward call in the block how the engine shares it out: (threads, whether by rows)."""
    engine, seen = plans.engine(build.chosen_isa(), REAL[dtype]), []  # type: Any, list[tuple[int, bool]]
    forward = engine.forward

    def noted(plan: int, call: int) -> int:
        word = engine.share(plan, call) // 256
        seen.append((word // 2, bool(word % 2)))
        result: int = forward(plan, call)
        return result

    engine.forward = noted
    try:
        yield seen
    finally:
        engine.forward = forward
