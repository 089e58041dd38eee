"""Recording: a network's recurrent layers run step by step, every value of every step written down with its graph.

A layer computes each of its parts (one layer in one direction) through `Recurrent.run`. While a module is recorded that
is the interpreter, in float64 where the device has it, so that everything around the layers (embeddings, heads,
attention, losses) stays as it is, and one backward pass gives the gradient of the loss at every value of every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from elman.compiler.interpret import Stacked, evaluate, run
from elman.compiler.ir import Program
from elman.errors import DataError
from elman.nn import Recurrent
from elman.nn.recurrent import Part
from elman.nn.reference import input_name

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Trace:
    """One layer in one direction over a batch: T steps in the order of the data, N units of all states together."""

    part: Part
    layer: int
    x: list[Tensor] = field(default_factory=list)
    """(B, I) at each step."""
    before: list[list[Tensor]] = field(default_factory=list)
    """The states before each step, (B, units) each."""
    values: list[list[Tensor]] = field(default_factory=list)
    """Every node of the program at each step, (B, units) each."""
    running: list[Tensor] = field(default_factory=list)
    """Which sequences have this step (B)."""
    chain: list[int] = field(default_factory=list)
    """The steps in the order of the recursion."""
    given: list[tuple[int, int, Tensor]] = field(default_factory=list)
    """What leaves: (number of a state, first step, its sequence (T, B, units)), or (number, -1, final (B, units))."""

    def new_states(self, t: int) -> list[Tensor]:
        """The states that step t computes."""
        return [self.values[t][position] for _, position in self.part.program.outputs]

    def stacked(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x (T, R, I), all states before each step as one vector (T, R, N), running (T, R)) of these sequences."""
        x = torch.stack([x[rows] for x in self.x]).detach()
        before = torch.stack([torch.cat(states, -1)[rows] for states in self.before]).detach()
        return x, before, torch.stack([running[rows] for running in self.running])

    def step(self) -> Step:
        """(x (..., I), all states as one vector (..., N)) -> the same of the new states."""
        part, names = self.part, self.part.program.states
        sizes, units, weights = part.sizes, part.state_sizes, Stacked(_detached(part.weights))

        def step(x: Tensor, states: Tensor) -> Tensor:
            given = {input_name(part.program): x, **dict(zip(names, torch.split(states, units, -1)))}
            new = run(part.program, given, weights, sizes)
            return torch.cat([new[n].expand(*states.shape[:-1], size) for n, size in zip(names, units)], -1)

        return step


@dataclass
class Recording:
    """A `Recurrent` while its module ran once."""

    name: str
    layer: Recurrent
    dtype: torch.dtype
    x: list[Tensor] = field(default_factory=list)
    """What came in at each call."""
    traces: list[Trace] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        for number, layer in enumerate(self.layer.each_layer()):
            for part in layer.parts():
                weights = {n: w.detach().to(self.dtype).requires_grad_() for n, w in part.weights.items()}
                self.traces.append(Trace(replace(part, weights=weights), number))

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Before the layer's call: its input in our type, with a gradient."""
        x, args = (args[0], args[1:]) if args else (kwargs.pop("x"), args)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return None  # the layer says what is wrong
        self.came = x.dtype
        x = x.to(self.dtype) if x.requires_grad else x.detach().to(self.dtype).requires_grad_()
        self.x.append(x)
        return (x, *args), kwargs

    def leave(self, module: nn.Module, args: Any, result: Any) -> Any:
        """After it: what goes out, in the type that came in."""
        return _to(result, self.came)

    def run(
        self, program: Program, weights: Any, x: Tensor, states: Sequence[Tensor], *, lengths: Any, reverse: bool,
        every_state: bool, **_: Any,
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """As `elman.nn.op.run`, one step after the other, all of it written down."""
        trace = self.traces[self.calls % len(self.traces)]
        self.calls += 1
        part, (steps, batch) = trace.part, x.shape[:2]
        if not steps:
            raise DataError("the recurrent layer was given a sequence without steps: there is nothing to diagnose")
        if trace.running and len(trace.running[0]) != batch:
            raise DataError(
                f"the layer {self.name!r} is called with {len(trace.running[0])} sequences, and then with {batch}; "
                "a diagnosis can follow one batch alone"
            )
        ends = torch.tensor([steps] * batch if lengths is None else list(lengths), device=x.device)
        names, sizes, first = program.states, part.sizes, len(trace.x)
        current, every = [s.to(self.dtype) for s in states], [list(x.unbind(0)) for _ in program.states]
        order = list(reversed(range(steps)) if reverse else range(steps))
        own = _Fresh(part.weights, batch)
        found: dict[int, tuple[Any, ...]] = {}
        for t in order:
            running = t < ends
            x_t = x[t] if lengths is None else x[t].masked_fill(~running[:, None], 0)
            values = evaluate(program, {input_name(program): x_t, **dict(zip(names, current))}, own, sizes)
            values = [v if v.dim() > 1 else v.expand(batch, -1) for v in values]
            found[t] = x_t, current, values, running
            current = [values[position] for _, position in program.outputs]
            if lengths is not None:
                current = [torch.where(running[:, None], new, old) for new, old in zip(current, found[t][1])]
            for sequence, state in zip(every, current):
                sequence[t] = state if lengths is None else state.masked_fill(~running[:, None], 0)
        for t in range(steps):
            x_t, before, values, running = found[t]
            trace.x.append(x_t)
            trace.before.append(before)
            trace.values.append(values)
            trace.running.append(running)
        trace.chain += [first + t for t in order]
        sequences = [torch.stack(s) for s in (every if every_state else every[:1])]
        final = [s.view_as(s) for s in current]
        trace.given += [(number, first, s) for number, s in enumerate(sequences)]
        trace.given += [(number, -1, s) for number, s in enumerate(final)]
        return sequences, final


class _Fresh(Stacked):
    """Per-unit parameters are a tensor of their own at every step, so that each step's gradient is one as well."""

    def __init__(self, weights: Mapping[str, Tensor], batch: int) -> None:
        super().__init__(weights)
        self.batch = batch

    def parameter(self, name: str) -> Tensor:
        weight: Tensor = super().parameter(name)
        matrix_or_bias = name.startswith(("weight_", "bias_"))
        return weight if matrix_or_bias else weight.expand(self.batch, -1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module is in evaluation mode, and afterwards each of its modules as it was."""
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, mode in modes:
            one.training = mode


@contextmanager
def recording(module: nn.Module, *, exact: bool = True) -> Iterator[list[Recording]]:
    """While it is open, a call of `module` is written down, one Recording for each `Recurrent` inside. exact: in
    float64, where the device has it."""
    with ExitStack() as stack:
        found = []
        for name, layer in module.named_modules():
            if isinstance(layer, Recurrent):
                like = next(layer.parameters())
                own = Recording(name, layer, torch.float64 if exact and like.device.type != "mps" else like.dtype)
                stack.callback(layer.__dict__.pop, "run")
                layer.run = own.run  # in the instance: the class keeps its own
                stack.callback(layer.register_forward_pre_hook(own.enter, with_kwargs=True).remove)
                stack.callback(layer.register_forward_hook(own.leave).remove)
                found.append(own)
        yield found


def gradients(of: Tensor, at: Sequence[Tensor]) -> list[Tensor]:
    """d of / d each tensor, zeros where it does not hang on it."""
    wanted = [t for t in at if t.requires_grad]
    found = iter(torch.autograd.grad(of, wanted, allow_unused=True, materialize_grads=True) if wanted else ())
    return [next(found) if t.requires_grad else torch.zeros_like(t) for t in at]


def _to(result: Any, dtype: torch.dtype) -> Any:
    if isinstance(result, Tensor):
        return result.to(dtype)
    return tuple(_to(one, dtype) for one in result)


def _detached(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in weights.items()}
