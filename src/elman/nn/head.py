"""What stands above the recurrent layers: pooling over time (many to one) and deep output layers without recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import ragged
from elman.nn.recurrent import Recurrent, State

POOLINGS = ("last", "mean", "sum", "max", "attention")
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def last_output(recurrent: Recurrent, state: State) -> Tensor:
    """The last layer's output after each direction's last step (B, D·H): the whole sequence has been read by both."""
    directions = len(recurrent.layers[-1].directions)  # type: ignore[arg-type]
    return torch.cat([part[0] for part in state[-directions:]], -1)


class Pool(nn.Module):
    """Many to one: (output (T, B, H), last (B, H), lengths (B) or None) -> (B, H).

    kind: "last" (the state after the last step, see `last_output`), "mean", "sum", "max", or "attention" (weights
    softmax(v·tanh(W·h_t)) over the steps). Steps beyond a sequence's length do not count, whatever they hold; a
    sequence without steps gives zeros, but with "last" its first state.
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise OptionError(f"unknown pooling {kind!r}{did_you_mean(str(kind), POOLINGS)}")
        self.kind = kind
        self.attention = (
            nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1, bias=False))
            if kind == "attention"
            else None
        )

    def forward(self, output: Tensor, last: Tensor, lengths: Any = None) -> Tensor:
        if output.dim() != 3:
            raise DataError(f"pooling takes outputs of shape (T, B, units), not {tuple(output.shape)}")
        if self.kind == "last":
            return last
        steps, batch, _ = output.shape
        ends = [steps] * batch if lengths is None else ragged.checked_lengths(lengths, steps, batch)
        inside = ragged.inside(ends, output)  # (T, B, 1)
        output = output.masked_fill(~inside, 0)
        if self.kind in ("mean", "sum") or not steps:
            total = output.sum(0)
            return total if self.kind == "sum" else total / inside.sum(0).clamp(min=1).to(output.dtype)
        lowest = torch.finfo(output.dtype).min
        if self.kind == "max":
            return torch.where(inside.any(0), output.masked_fill(~inside, lowest).amax(0), 0)
        assert self.attention is not None
        scores: Tensor = self.attention(output).masked_fill(~inside, lowest)
        shares = scores.softmax(0) * inside  # (T, B, 1); all zero for a sequence without steps
        return (shares * output).sum(0)

    def extra_repr(self) -> str:
        return self.kind


class Head(nn.Sequential):
    """Deep output: y = g(W_y·a + b_y) above further layers a without connection through time; works at every step or
    after a Pool, on (..., input_size) -> (..., output_size)."""

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_sizes: Sequence[int] = (),
        *,
        activation: str = "relu",
        output_activation: str = "identity",
        dropout: float = 0.0,
    ) -> None:
        for name in (activation, output_activation):
            if name not in ACTIVATIONS:
                raise OptionError(f"unknown activation {name!r}{did_you_mean(str(name), ACTIVATIONS)}")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise OptionError(f"dropout must be a number in [0, 1), not {dropout!r}")
        sizes = (input_size, *hidden_sizes, output_size)
        if any(type(size) is not int or size < 1 for size in sizes):
            raise OptionError(f"a head's sizes must be whole numbers, 1 or more, not {sizes}")
        layers: list[nn.Module] = []
        size = input_size
        for hidden in hidden_sizes:
            layers += [nn.Dropout(dropout), nn.Linear(size, hidden), ACTIVATIONS[activation]()]
            size = hidden
        layers += [nn.Dropout(dropout), nn.Linear(size, output_size)]
        if output_activation != "identity":
            layers.append(ACTIVATIONS[output_activation]())
        super().__init__(*layers)
