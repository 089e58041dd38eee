"""Teacher forcing where the recurrence is from the output alone: every step is then independent of the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.errors import DataError, OptionError
from elman.nn import ragged
from elman.nn.recurrent import Part, Recurrent


def teacher_forced(
    layer: Recurrent, x: Tensor, targets: Tensor, *, first: Tensor | None = None, lengths: Any = None
) -> Tensor:
    """The outputs (T, B, O) of a layer over x (T, B, I) that is told the true outputs, targets (T, B, O): step t reads
    x[t] and targets[t - 1], step 0 reads `first` (B, O), zeros by default (Jordan 1986; Williams & Zipser 1989).

    All T·B steps run as one, and the gradient is that of the same steps one after the other. The layer has one forward
    layer, of a cell whose only state is its output (`jordan`, or any with one state). lengths (B): outputs beyond are
    zero, whatever x and targets hold there. Raises OptionError for other layers, DataError for shapes that do not fit.
    """
    part = _only_part(layer)
    x, single = layer.time_major(x)
    if single:
        raise DataError("teacher forcing takes a batch: x (T, B, I) and targets (T, B, O); one sequence is x[:, None]")
    steps, batch, size = *x.shape[:2], part.state_sizes[0]
    if layer.batch_first:
        targets = targets.transpose(0, 1)
    if targets.shape != (steps, batch, size):
        raise DataError(f"the targets have the shape {tuple(targets.shape)}, expected {(steps, batch, size)}")
    first = targets.new_zeros(batch, size) if first is None else first
    if first.shape != (batch, size):
        raise DataError(f"the first output has the shape {tuple(first.shape)}, expected {(batch, size)}")
    before = torch.cat([first[None], targets[:-1]])[:steps]
    if lengths is None:
        output = _one_step(layer, x.flatten(0, 1), before.flatten(0, 1)).view(steps, batch, size)
    else:
        inside = ragged.inside(ragged.checked_lengths(lengths, steps, batch), x)[..., 0]
        output = x.new_zeros(steps, batch, size)
        output[inside] = _one_step(layer, x[inside], before[inside])
    return output.transpose(0, 1) if layer.batch_first else output


def _one_step(layer: Recurrent, x: Tensor, state: Tensor) -> Tensor:
    """One step of N sequences: x (N, I), state (N, O) -> (N, O)."""
    output: Tensor = layer(x[:, None] if layer.batch_first else x[None], ((state,),))[0]
    return output[:, 0] if layer.batch_first else output[0]


def _only_part(layer: Recurrent) -> Part:
    parts = list(layer.parts())
    if len(parts) != 1 or parts[0].direction != "forward":
        raise OptionError(f"teacher forcing takes a layer of one forward direction, not {len(parts)} or a backward one")
    states = parts[0].program.states
    if len(states) != 1:
        raise OptionError(
            f"teacher forcing tells the output, but cell {parts[0].program.name!r} also has the states "
            f"{', '.join(states[1:])}, which nothing tells; take a cell with one state, such as jordan"
        )
    if layer.residual and parts[0].input_size == parts[0].output_size:
        raise OptionError("teacher forcing takes a layer without residual connection, whose output is the cell's own")
    if layer.training and layer.regularisers.noisy:
        raise OptionError(
            "teacher forcing runs every step as a sequence of its own, but these regularisers draw masks for whole "
            "sequences; set them to 0"
        )
    return parts[0]
