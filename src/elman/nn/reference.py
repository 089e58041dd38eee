"""The reference back end: any cell over a sequence in torch's own operations, one step after the other.

`scan` is made of differentiable operations alone, so autograd, forward mode, vmap and torch.compile pass through it.
`Scan` computes the same with the cell's adjoint program for the backward pass: it keeps only what the adjoint asks for
and takes the weights' gradients as large products over all steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from elman.compiler.adjoint import Adjoint, adjoint
from elman.compiler.interpret import Split, column_ranges, evaluate
from elman.compiler.ir import Node, Program

Weights = Mapping[str, Tensor]


def sizes_of(program: Program, weights: Weights, x: Tensor, states: Sequence[Tensor]) -> dict[str, int]:
    """Numbers for I, H, O, read off the arrays."""
    sizes = {"I": x.shape[-1], "1": 1}
    sizes |= {size: state.shape[-1] for size, state in zip(program.state_sizes().values(), states)}
    sizes |= {node.size: weights[f"weight_{node.name}"].shape[0] for node in program.affine_maps if node.size != "I"}
    return sizes


class _SequenceWeights(Split):
    """The weights of a scan: products with the input are taken for all steps at once, and maps of the same recurrent
    vectors share one product a step."""

    def __init__(self, program: Program, weights: Weights, sizes: Mapping[str, int], x: Tensor) -> None:
        super().__init__(program, weights, sizes)
        self.groups: dict[tuple[tuple[int, ...], bool], list[Node]] = {}
        for node in program.affine_maps:
            rest = tuple(a for a in node.args if program.nodes[a].op != "input")
            self.groups.setdefault((rest, len(rest) < len(node.args)), []).append(node)
        self.key_of = {node.name: key for key, nodes in self.groups.items() for node in nodes}
        self.kinds = [node.op for node in program.nodes]
        self.recurrent: dict[Any, Tensor] = {}
        self.offset: dict[Any, Sequence[Tensor] | Tensor | None] = {}
        for key, nodes in self.groups.items():
            self._prepare(key, nodes, x)
        self.step = 0
        self.done: dict[Any, Sequence[Tensor]] = {}

    def _prepare(self, key: tuple[tuple[int, ...], bool], nodes: list[Node], x: Tensor) -> None:
        inputs, rest, biases = [], [], []
        for node in nodes:
            weight = self.weights[f"weight_{node.name}"]
            parts = [weight[:, a:b] for a, b in self.columns[node.name]]
            inputs += [p for p, a in zip(parts, node.args) if self.kinds[a] == "input"]
            rest += [torch.cat([p for p, a in zip(parts, node.args) if self.kinds[a] != "input"], 1)] if key[0] else []
            biases.append(self.weights[f"bias_{node.name}"] if node.bias else weight.new_zeros(weight.shape[0]))
        bias = torch.cat(biases) if any(node.bias for node in nodes) else None
        if key[0]:
            self.recurrent[key] = torch.cat(rest).t()
        # (T, B, sum of units), unbound so that a step takes its part by a plain list index
        self.offset[key] = torch.nn.functional.linear(x, torch.cat(inputs), bias).unbind(0) if key[1] else bias

    def at(self, step: int) -> None:
        """The step whose products are asked for next."""
        self.step = step
        self.done = {}

    def affine(self, node: Node, vectors: list[Tensor]) -> Tensor:
        key = self.key_of[node.name]
        nodes = self.groups[key]
        if key not in self.done:
            offset = self.offset[key]
            now = offset[self.step] if key[1] and offset is not None else offset
            if key[0]:
                rest = [v for v, a in zip(vectors, node.args) if self.kinds[a] != "input"]
                vector = torch.cat(rest, -1) if len(rest) > 1 else rest[0]
                product = vector @ self.recurrent[key] if now is None else torch.addmm(now, vector, self.recurrent[key])  # type: ignore[arg-type]
            else:
                product = now  # type: ignore[assignment]
            units = [self.weights[f"weight_{n.name}"].shape[0] for n in nodes]
            self.done[key] = product.split(units, -1)
        return self.done[key][nodes.index(node)]


def scan(
    program: Program, weights: Weights, x: Tensor, states: Sequence[Tensor], keep: Sequence[int] = ()
) -> tuple[list[Tensor], list[Tensor]]:
    """All new states, and the values of the nodes `keep`, at every step: each (T, B, units).

    x (T, B, I) with T >= 1; states (B, units) each.
    """
    sizes = sizes_of(program, weights, x, states)
    step_weights = _SequenceWeights(program, weights, sizes, x)
    names = program.states
    current = list(states)
    sequences: list[list[Tensor]] = [[] for _ in names]
    kept: list[list[Tensor]] = [[] for _ in keep]
    for t, x_t in enumerate(x.unbind(0)):
        step_weights.at(t)
        given = {program.nodes[0].name: x_t, **dict(zip(names, current))}
        values = evaluate(program, given, step_weights, sizes)
        current = [values[position] for _, position in program.outputs]
        for sequence, value in zip(sequences, current):
            sequence.append(value)
        for store, position in zip(kept, keep):
            store.append(values[position])
    return [torch.stack(s) for s in sequences], [torch.stack(k) for k in kept]


class Scan(torch.autograd.Function):
    """`scan` with the adjoint program as its backward pass; the double backward goes through `scan` itself."""

    @staticmethod
    def forward(ctx: Any, program: Program, names: tuple[str, ...], x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(program.states)
        states, weights = tensors[:count], dict(zip(names, tensors[count:]))
        back = adjoint(program, products_of_input=False)
        sequences, kept = scan(program, weights, x, states, back.saved)
        ctx.program, ctx.names, ctx.kept = program, names, kept
        ctx.save_for_backward(x, *tensors, *sequences)
        ctx.set_materialize_grads(False)
        return tuple(sequences)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        count = len(ctx.program.states)
        x, *rest = ctx.saved_tensors
        tensors, sequences = rest[:-count], rest[-count:]
        if all(g is None for g in grads):
            return (None,) * (3 + len(tensors))
        if torch.is_grad_enabled():
            return (None, None, *_differentiable_backward(ctx, x, tensors, grads))
        states, weights = tensors[:count], dict(zip(ctx.names, tensors[count:]))
        full = [g if g is not None else torch.zeros_like(s) for g, s in zip(grads, sequences)]
        with torch.no_grad():
            grad_x, grad_states, grad_weights = backward(ctx.program, weights, x, states, sequences, ctx.kept, full)
        return (None, None, grad_x, *grad_states, *(grad_weights[n] for n in ctx.names))


def _differentiable_backward(
    ctx: Any, x: Tensor, tensors: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients as functions of everything, for create_graph=True: autograd through `scan`."""
    count = len(ctx.program.states)
    inputs = [x, *tensors]
    wanted = [t for t in inputs if t.requires_grad]
    weights = dict(zip(ctx.names, tensors[count:]))
    sequences, _ = scan(ctx.program, weights, x, tensors[:count])
    pairs = [(s, g) for s, g in zip(sequences, grads) if g is not None and s.requires_grad]
    found = torch.autograd.grad(
        [s for s, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    results = iter(found)
    return [next(results) if t.requires_grad else None for t in inputs]


def backward(
    program: Program,
    weights: Weights,
    x: Tensor,
    states: Sequence[Tensor],
    sequences: Sequence[Tensor],
    kept: Sequence[Tensor],
    grads: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Backpropagation through time by the adjoint program: gradients of x, of the first states, of the weights by name.

    sequences: all new states, kept: the saved values, grads: the gradient with respect to every new state at every
    step; each (T, B, units).
    """
    back = adjoint(program, products_of_input=False)
    sizes = sizes_of(program, weights, x, states)
    names = program.states
    split = Split(program, weights, sizes)
    series: dict[str, list[Tensor]] = {name: [] for name, _ in back.program.outputs}
    flowing = [g.new_zeros(g.shape[1:]) for g in grads]
    for t in reversed(range(len(x))):
        given = {program.nodes[0].name: x[t]}
        given |= {name: (s[t - 1] if t else first) for name, s, first in zip(names, sequences, states)}
        given |= {f"new_{name}": s[t] for name, s in zip(names, sequences)}
        given |= {f"saved_{p}": k[t] for p, k in zip(back.saved, kept)}
        given |= {f"grad_new_{name}": g[t] + f for name, g, f in zip(names, grads, flowing)}
        values = evaluate(back.program, given, split, sizes)
        for name, position in back.program.outputs:
            series[name].append(values[position].expand(x.shape[1], -1))  # a constant gradient has no batch of its own
        flowing = [series[f"grad_{name}"][-1] for name in names]
    stacked = {
        name: torch.stack(values[::-1]) for name, values in series.items() if name not in {f"grad_{n}" for n in names}
    }
    before = {name: torch.cat([first[None], s[:-1]]) for name, s, first in zip(names, sequences, states)}
    grad_x, grad_weights = _large_products(program, back, weights, x, before, stacked, sizes)
    return grad_x, flowing, grad_weights


def _large_products(
    program: Program,
    back: Adjoint,
    weights: Weights,
    x: Tensor,
    before: Mapping[str, Tensor],
    series: Mapping[str, Tensor],
    sizes: Mapping[str, int],
) -> tuple[Tensor, dict[str, Tensor]]:
    """What does not recur: the input's and the weights' gradients over all steps at once."""
    grad_x = series[f"grad_{program.nodes[0].name}"]
    grads = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for node in program.affine_maps:
        grad = series.get(f"grad_map_{node.name}")
        if grad is None:
            continue
        flat = grad.reshape(-1, grad.shape[-1])
        for index, (argument, (a, b)) in enumerate(zip(node.args, column_ranges(program, node, sizes))):
            source = program.nodes[argument]
            if source.op == "input":
                vector = x
                grad_x += grad @ weights[f"weight_{node.name}"][:, a:b]
            else:
                vector = before[source.name] if source.op == "state" else series[f"vector_{node.name}_{index}"]
            grads[f"weight_{node.name}"][:, a:b] = flat.t() @ vector.reshape(-1, b - a)
        if node.bias:
            grads[f"bias_{node.name}"] = flat.sum(0)
    for node in program.nodes:
        if node.op == "parameter" and f"grad_weight_{node.name}" in series:
            grads[node.name] = series[f"grad_weight_{node.name}"].sum((0, 1))
    return grad_x, grads
