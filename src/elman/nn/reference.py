"""The reference back end: any cell over a sequence in torch's own operations, one step after the other.

`scan` is made of differentiable operations alone, so autograd, forward mode, vmap and torch.compile pass through it.
`Scan` computes the same with the cell's adjoint program for the backward pass: it keeps only what the adjoint asks for
and takes the weights' gradients as large products over all steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.compiler.adjoint import adjoint
from elman.compiler.interpret import Split, column_ranges, evaluate, torch_table
from elman.compiler.ir import Node, Program
from elman.nn.noise import Masks, Noise

Weights = Mapping[str, Tensor]

_TABLE = torch_table()  # looked up once: torch.compile warns of cached functions where it traces them


def transformed() -> bool:
    """True inside vmap, jvp and other function transforms, for which only torch's plain operations have rules."""
    if torch.compiler.is_compiling():
        return False
    forward_ad: int = torch.autograd.forward_ad._current_level
    return forward_ad >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> list[Tensor | None]:
    """Autograd's gradients of `outputs`, weighted by `grads`, with respect to `inputs`; None where one needs none."""
    wanted = [t for t in inputs if t.requires_grad]
    pairs = [(o, g) for o, g in zip(outputs, grads) if g is not None and o.requires_grad]
    if not wanted or not pairs:
        return [None] * len(inputs)
    found = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            wanted,
            [g for _, g in pairs],
            retain_graph=create_graph or retain_graph,
            create_graph=create_graph,
            allow_unused=True,
        )
    )
    return [next(found) if t.requires_grad else None for t in inputs]


def input_name(program: Program) -> str:
    """The name of the cell's one input, wherever a program from a file holds it."""
    return next(node.name for node in program.nodes if node.op == "input")


def sizes_of(program: Program, weights: Weights, x: Tensor, states: Sequence[Tensor]) -> dict[str, int]:
    """Numbers for I, H, O, read off the arrays."""
    sizes: dict[str, int] = {}
    for node in program.nodes:
        if node.op == "affine":
            sizes[node.size] = weights[f"weight_{node.name}"].shape[0]
        elif node.op == "parameter":
            sizes[node.size] = weights[node.name].shape[0]
    sizes |= {size: state.shape[-1] for size, state in zip(program.state_sizes().values(), states)}
    return sizes | {"I": x.shape[-1], "1": 1}


def _rows(vector: Tensor, batch: int) -> Tensor:
    """(B, units), also of a vector (units) that neither the input nor a state has touched."""
    return vector if vector.dim() > 1 else vector.expand(batch, -1)


@dataclass
class _Group:
    """Affine maps of the same computed vectors: one product a step serves them all."""

    units: list[int]
    """Of each map."""
    recurrent: Tensor | None
    """(units of the vectors, units of the maps)."""
    offset: Tensor | None
    """The biases (units of the maps), where the input takes no part."""
    from_input: Sequence[Tensor] | None
    """The input's part with the biases, (B, units of the maps) for each step."""


class _SequenceWeights(Split):
    """The weights of a scan: products with the input are taken for all steps at once, and maps of the same recurrent
    vectors share one product a step."""

    def __init__(self, program: Program, weights: Weights, sizes: Mapping[str, int], x: Tensor) -> None:
        super().__init__(program, weights, sizes)
        self.is_input = [node.op == "input" for node in program.nodes]
        members: dict[tuple[tuple[int, ...], bool], list[Node]] = {}
        for node in program.affine_maps:
            rest = tuple(a for a in node.args if not self.is_input[a])
            members.setdefault((rest, len(rest) < len(node.args)), []).append(node)
        self.groups = [self._group(nodes, x, recurs=bool(rest)) for (rest, _), nodes in members.items()]
        self.place = {
            node.name: (number, place)
            for number, nodes in enumerate(members.values())
            for place, node in enumerate(nodes)
        }
        self.batch, self.step = x.shape[1], 0
        self.done: dict[int, Sequence[Tensor]] = {}

    def _group(self, nodes: list[Node], x: Tensor, *, recurs: bool) -> _Group:
        inputs, rest, biases = [], [], []
        for node in nodes:
            weight = self.weights[f"weight_{node.name}"]
            parts = [(weight[:, a:b], self.is_input[arg]) for arg, (a, b) in zip(node.args, self.columns[node.name])]
            of_input = [part for part, is_input in parts if is_input]
            inputs += [sum(of_input[1:], of_input[0])] if of_input else []
            rest += [torch.cat([part for part, is_input in parts if not is_input], 1)] if recurs else []
            biases.append(self.weights[f"bias_{node.name}"] if node.bias else weight.new_zeros(weight.shape[0]))
        bias = torch.cat(biases) if any(node.bias for node in nodes) else None
        units = [b.shape[0] for b in biases]
        recurrent = torch.cat(rest).t() if recurs else None
        if not inputs:
            return _Group(units, recurrent, bias, None)
        # (T, B, units), unbound so that a step takes its part by a plain list index
        return _Group(units, recurrent, None, torch.nn.functional.linear(x, torch.cat(inputs), bias).unbind(0))

    def at(self, step: int) -> None:
        """The step whose products are asked for next."""
        self.step = step
        self.done = {}

    def affine(self, node: Node, vectors: list[Tensor]) -> Tensor:
        number, place = self.place[node.name]
        if number not in self.done:
            group = self.groups[number]
            now = group.offset if group.from_input is None else group.from_input[self.step]
            if group.recurrent is not None:
                rest = [_rows(v, self.batch) for v, a in zip(vectors, node.args) if not self.is_input[a]]
                vector = torch.cat(rest, -1) if len(rest) > 1 else rest[0]
                now = vector @ group.recurrent if now is None else torch.addmm(now, vector, group.recurrent)
            assert now is not None  # a map has vectors: the input, computed ones or both
            self.done[number] = torch.split(now, group.units, -1)
        return self.done[number][place]


def scan(
    program: Program,
    weights: Weights,
    x: Tensor,
    states: Sequence[Tensor],
    keep: Sequence[int] = (),
    noise: Noise | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """All new states, and the values of the nodes `keep`, at every step: each (T, B, units).

    x (T, B, I) with T >= 1; states (B, units) each. noise: for programs with masks.
    """
    sizes = sizes_of(program, weights, x, states)
    step_weights = _SequenceWeights(program, weights, sizes, x)
    own_input, names, batch = input_name(program), program.states, x.shape[1]
    current, masks = list(states), Masks(program, noise, sizes, x)
    sequences: list[list[Tensor]] = [[] for _ in names]
    kept: list[list[Tensor]] = [[] for _ in keep]
    for t, x_t in enumerate(x.unbind(0)):
        step_weights.at(t)
        given = {own_input: x_t, **dict(zip(names, current)), **masks.at(t)}
        values = evaluate(program, given, step_weights, sizes, _TABLE)
        current = [_rows(values[position], batch) for _, position in program.outputs]
        for sequence, value in zip(sequences, current):
            sequence.append(value)
        for store, position in zip(kept, keep):
            store.append(_rows(values[position], batch))
    return [torch.stack(s) for s in sequences], [torch.stack(k) for k in kept]


class Scan(torch.autograd.Function):
    """`scan` with the adjoint program as its backward pass; the double backward goes through `scan` itself."""

    @staticmethod
    def forward(
        ctx: Any, program: Program, names: tuple[str, ...], noise: Noise | None, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(program.states)
        states, weights = tensors[:count], dict(zip(names, tensors[count:]))
        back = adjoint(program, products_of_input=False)
        sequences, kept = scan(program, weights, x, states, back.saved, noise)
        ctx.program, ctx.names, ctx.noise = program, names, noise
        ctx.save_for_backward(x, *tensors, *sequences, *kept)
        ctx.set_materialize_grads(False)
        return tuple(sequences)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        program, names, noise = ctx.program, ctx.names, ctx.noise
        count = len(program.states)
        x, *rest = ctx.saved_tensors
        tensors, rest = rest[: count + len(names)], rest[count + len(names) :]
        sequences, kept = rest[:count], rest[count:]
        states, weights = tensors[:count], dict(zip(names, tensors[count:]))
        if all(g is None for g in grads):
            return (None,) * (4 + len(tensors))
        if torch.is_grad_enabled():  # create_graph=True: the gradients as functions of everything
            again, _ = scan(program, weights, x, states, noise=noise)
            return (None, None, None, *gradients(again, (x, *tensors), grads, create_graph=True))
        full = [g if g is not None else torch.zeros_like(s) for g, s in zip(grads, sequences)]
        grad_x, grad_states, grad_weights = backward(program, weights, x, states, sequences, kept, full, noise)
        return (None, None, None, grad_x, *grad_states, *(grad_weights[n] for n in names))


def backward(
    program: Program,
    weights: Weights,
    x: Tensor,
    states: Sequence[Tensor],
    sequences: Sequence[Tensor],
    kept: Sequence[Tensor],
    grads: Sequence[Tensor],
    noise: Noise | None = None,
) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Backpropagation through time by the adjoint program: gradients of x, of the first states, of the weights by name.

    sequences: all new states, kept: the saved values, grads: the gradient with respect to every new state at every
    step; each (T, B, units). noise: as the scan had it.
    """
    back = adjoint(program, products_of_input=False)
    sizes = sizes_of(program, weights, x, states)
    own_input, names, batch = input_name(program), program.states, x.shape[1]
    split, masks = Split(program, weights, sizes), Masks(back.program, noise, sizes, x)
    series: dict[str, list[Tensor]] = {name: [] for name, _ in back.program.outputs}
    flowing = [torch.zeros_like(s) for s in states]
    for t in reversed(range(len(x))):
        given = {own_input: x[t], **masks.at(t)}
        given |= {name: (s[t - 1] if t else first) for name, s, first in zip(names, sequences, states)}
        given |= {f"new_{name}": s[t] for name, s in zip(names, sequences)}
        given |= {f"saved_{p}": k[t] for p, k in zip(back.saved, kept)}
        given |= {f"grad_new_{name}": g[t] + f for name, g, f in zip(names, grads, flowing)}
        values = evaluate(back.program, given, split, sizes, _TABLE)
        for name, position in back.program.outputs:
            series[name].append(_rows(values[position], batch))
        flowing = [series[f"grad_{name}"][-1] for name in names]
    of_states = {f"grad_{name}" for name in names}  # these recur: only the last one is wanted
    stacked = {name: torch.stack(values[::-1]) for name, values in series.items() if name not in of_states}
    before = {name: torch.cat([first[None], s[:-1]]) for name, s, first in zip(names, sequences, states)}
    grad_x, grad_weights = _large_products(program, weights, x, before, stacked, sizes)
    return grad_x, flowing, grad_weights


def _large_products(
    program: Program,
    weights: Weights,
    x: Tensor,
    before: Mapping[str, Tensor],
    series: Mapping[str, Tensor],
    sizes: Mapping[str, int],
) -> tuple[Tensor, dict[str, Tensor]]:
    """What does not recur: the input's and the weights' gradients over all steps at once."""
    grad_x = series[f"grad_{input_name(program)}"]
    grads: dict[str, Tensor] = {}
    for node in program.affine_maps:
        grad = series.get(f"grad_map_{node.name}")
        if grad is None:
            continue
        flat = grad.reshape(-1, grad.shape[-1])
        blocks = []
        for index, (argument, (a, b)) in enumerate(zip(node.args, column_ranges(program, node, sizes))):
            source = program.nodes[argument]
            if source.op == "input":
                vector = x
                grad_x = grad_x + grad @ weights[f"weight_{node.name}"][:, a:b]
            else:
                vector = before[source.name] if source.op == "state" else series[f"vector_{node.name}_{index}"]
            blocks.append(flat.t() @ vector.reshape(-1, b - a))
        grads[f"weight_{node.name}"] = torch.cat(blocks, 1)
        if node.bias:
            grads[f"bias_{node.name}"] = flat.sum(0)
    for node in program.nodes:
        if node.op == "parameter" and f"grad_weight_{node.name}" in series:
            grads[node.name] = series[f"grad_weight_{node.name}"].sum((0, 1))
    return grad_x, {name: grads[name] if name in grads else torch.zeros_like(w) for name, w in weights.items()}
