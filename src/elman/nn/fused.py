"""The torch back end: torch's own fused operations, where a cell's program is one that torch has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman import cells
from elman.compiler.ir import Program
from elman.nn import reference


@dataclass(frozen=True)
class Fused:
    """One fused operation of torch and how its parameters hold the cell's."""

    name: str
    """torch.lstm, ..."""
    from_input: tuple[str, ...]
    """The maps whose input columns make weight_ih, in torch's order."""
    from_state: tuple[str, ...]
    """The maps whose state columns make weight_hh."""
    projected: bool = False

    def to_torch(self, weights: Mapping[str, Tensor], input_size: int) -> list[Tensor]:
        """[weight_ih, weight_hh, bias_ih, bias_hh(, weight_hr)] out of the cell's weights."""
        by_state = [weights[f"weight_{n}"][:, input_size if n in self.from_input else 0 :] for n in self.from_state]
        bias_hh = [
            torch.zeros_like(weights[f"bias_{n}"]) if n in self.from_input else weights[f"bias_{n}"]
            for n in self.from_state
        ]
        flat = [
            torch.cat([weights[f"weight_{n}"][:, :input_size] for n in self.from_input]),
            torch.cat(by_state),
            torch.cat([weights[f"bias_{n}"] for n in self.from_input]),
            torch.cat(bias_hh),
        ]
        return [*flat, weights["weight_r"]] if self.projected else flat

    def from_torch(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None = None,
        bias_hh: Tensor | None = None,
        weight_hr: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The cell's weights out of torch's; a missing bias becomes zeros."""
        gates = len(self.from_input)
        zeros = weight_ih.new_zeros(weight_ih.shape[0])
        of_input = dict(zip(self.from_input, weight_ih.chunk(gates)))
        of_state = dict(zip(self.from_state, weight_hh.chunk(gates)))
        bias_i = dict(zip(self.from_input, (zeros if bias_ih is None else bias_ih).chunk(gates)))
        bias_h = dict(zip(self.from_state, (zeros if bias_hh is None else bias_hh).chunk(gates)))
        weights: dict[str, Tensor] = {}
        for name in dict.fromkeys((*self.from_input, *self.from_state)):
            parts = [of[name] for of in (of_input, of_state) if name in of]
            biases = [of[name] for of in (bias_i, bias_h) if name in of]
            weights[f"weight_{name}"] = torch.cat(parts, 1)
            weights[f"bias_{name}"] = sum(biases[1:], biases[0])
        if weight_hr is not None:
            weights["weight_r"] = weight_hr
        return weights

    def __call__(self, flat: Sequence[Tensor], x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(output (T, B, H), *final states (B, units)). Always in training mode: the other keeps nothing for a backward
        pass."""
        first = [s[None] for s in states]
        function, biases = getattr(torch, self.name), len(flat) > 3
        output, *final = function(
            x, first if self.name == "lstm" else first[0], flat, biases, 1, 0.0, True, False, False
        )
        return (output, *(f[0] for f in final))


_LSTM = ("i", "f", "g", "o")
_FUSED: tuple[tuple[cells.Cell, Fused], ...] = (
    (cells.rnn, Fused("rnn_tanh", ("h",), ("h",))),
    (cells.rnn_relu, Fused("rnn_relu", ("h",), ("h",))),
    (cells.lstm, Fused("lstm", _LSTM, _LSTM)),
    (cells.lstm_projected, Fused("lstm", _LSTM, _LSTM, projected=True)),
    (cells.gru, Fused("gru", ("r", "z", "n"), ("r", "z", "m"))),
)


def fused_for(program: Program) -> Fused | None:
    """torch's fused operation for this step, recognised by its equations and not by its name."""
    return next((fused for cell, fused in _FUSED if cell.program.same_step(program)), None)


class TorchWeights(Mapping[str, Tensor]):
    """The weights of a drop-in layer: torch's own tensors, read as the cell's where the reference needs them."""

    def __init__(self, fused: Fused, flat: Sequence[Tensor]) -> None:
        self.fused, self.flat = fused, list(flat)
        self._cell: dict[str, Tensor] | None = None

    @property
    def cell(self) -> dict[str, Tensor]:
        if self._cell is None:
            bias_ih, bias_hh = self.flat[2:4] if len(self.flat) > 3 else (None, None)
            projection = self.flat[-1] if self.fused.projected else None
            self._cell = self.fused.from_torch(self.flat[0], self.flat[1], bias_ih, bias_hh, projection)
        return self._cell

    def __getitem__(self, name: str) -> Tensor:
        return self.cell[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cell)

    def __len__(self) -> int:
        return len(self.cell)


class FusedRun(torch.autograd.Function):
    """A fused operation, with the reference for what it cannot do in a backward pass: being differentiated again
    (torch's LSTM has no second derivative on the CPU) and running under vmap.

    The operation's own graph is kept as saved tensors, so that it is freed, checked and offloaded as those are.
    """

    @staticmethod
    def forward(
        ctx: Any, program: Program, fused: Fused, count: int, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        inputs = [t.detach().requires_grad_(t.requires_grad) for t in (x, *tensors)]
        with torch.enable_grad():
            outputs = fused(inputs[1 + count :], inputs[0], inputs[1 : 1 + count])
        ctx.program, ctx.fused, ctx.count = program, fused, count
        ctx.save_for_backward(x, *tensors, *inputs, *outputs)
        ctx.set_materialize_grads(False)
        return tuple(o.detach() for o in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        again, saved = torch.is_grad_enabled(), ctx.saved_tensors
        number = (len(saved) - len(grads)) // 2
        inputs, inner, outputs = saved[:number], saved[number : 2 * number], saved[2 * number :]
        if again or reference.transformed():
            with torch.enable_grad():
                outputs = _by_reference(ctx.program, ctx.fused, ctx.count, inputs)
            found = reference.gradients(outputs, inputs, grads, create_graph=again)
        else:
            kept: bool = torch._C._autograd._get_current_graph_task_keep_graph()  # what the outer backward was told
            found = reference.gradients(outputs, inner, grads, retain_graph=kept)
        return (None, None, None, *found)


def _by_reference(program: Program, fused: Fused, count: int, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The fused operation's outputs by the reference, from torch's tensors."""
    x, states, flat = inputs[0], inputs[1 : 1 + count], inputs[1 + count :]
    sequences, _ = reference.scan(program, TorchWeights(fused, flat), x, states)
    return (sequences[0], *(s[-1] for s in sequences))
