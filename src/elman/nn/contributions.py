"""Each step's share in the gradient of a weight: backpropagation through time, taken apart.

A recurrent weight is used at every step, and its gradient is the sum of what each use contributes (Werbos 1990). Here
every step gets a copy of the weights of its own, so that autograd gives the contributions one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from elman.compiler.interpret import Stacked, run
from elman.compiler.ir import resolve
from elman.errors import DataError
from elman.nn import op, ragged
from elman.nn.recurrent import Part, Recurrent, State
from elman.nn.reference import input_name

Shares = dict[str, Tensor]


def step_gradients(
    layer: Recurrent,
    x: Tensor,
    loss: Callable[[Tensor, State], Tensor],
    state: State | None = None,
    *,
    lengths: Any = None,
) -> list[Shares]:
    """For each layer and direction, in the order of the state: {weight: (T, *its shape)}, whose sum over the steps is
    the gradient of the weight.

    loss: (output, final state) -> a scalar, with the shapes that `layer(x, state)` gives, time-major (T, B, D·H).
    Dropout is left out. Needs T times the memory of the weights. Raises DataError for shapes, types and losses
    that do not fit.
    """
    x, single = layer.time_major(x)
    if not len(x):
        raise DataError("the input has no steps: there is nothing to tell apart")
    steps = [x.shape[0]] * x.shape[1] if lengths is None else ragged.checked_lengths(lengths, *x.shape[:2])
    running = ragged.inside(steps, x)  # (T, B, 1)
    first = layer.first_states(x, state, single)
    op.check_alike(next(layer.parameters()), x, [s for part in first for s in part])
    output, final, copies = x, [], []  # type: Tensor, list[tuple[Tensor, ...]], list[Shares]
    with torch.enable_grad():
        for one in layer.each_layer():
            came, outputs = output, []
            for part in one.parts():
                own = {n: w.detach().expand(len(x), *w.shape).clone().requires_grad_() for n, w in part.weights.items()}
                sequence, last = _unrolled(part, own, came, first[len(final)], running)
                outputs.append(sequence)
                final.append(last)
                copies.append(own)
            output = torch.cat(outputs, -1)
            if layer.residual and output.shape == came.shape:
                output = output + came.masked_fill(~running, 0)
        leaves = [copy for own in copies for copy in own.values()]
        total = loss(output, tuple(final))
        if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
            raise DataError("the loss must be one number computed from the output or the state, such as output.sum()")
        found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    grads = iter(found)
    return [{name: next(grads) for name in own} for own in copies]


def _unrolled(
    part: Part, weights: Shares, x: Tensor, states: tuple[Tensor, ...], running: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs (T, B, units) and the last states of one layer in one direction, step t with weights[...][t]."""
    sizes = resolve(part.input_size, part.hidden_size, part.output_size)
    own_input, names = input_name(part.program), part.program.states
    outputs: list[Tensor] = [x] * len(x)
    for t in reversed(range(len(x))) if part.direction == "backward" else range(len(x)):
        given = {own_input: x[t].masked_fill(~running[t], 0), **dict(zip(names, states))}
        new = run(part.program, given, Stacked({name: copy[t] for name, copy in weights.items()}), sizes)
        states = tuple(torch.where(running[t], new[name], old) for name, old in zip(names, states))
        outputs[t] = states[0].masked_fill(~running[t], 0)
    return torch.stack(outputs), states
