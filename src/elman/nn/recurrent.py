"""`Recurrent`: any cell as a layer or a stack of layers, in one or both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elman import cells
from elman.compiler.ir import Program, resolve
from elman.compiler.verify import verify_cell
from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import init, op, ragged

Direction = Literal["forward", "backward", "both"]
AnyCell = str | cells.Cell | cells.TracedCell
State = tuple[tuple[Tensor, ...], ...]
"""For each layer and direction, in order, the cell's states (B, units)."""


@dataclass(frozen=True)
class Part:
    """One layer in one direction: what the operation needs of it."""

    program: Program
    direction: str
    input_size: int
    hidden_size: int
    output_size: int
    weights: dict[str, Tensor]

    @property
    def state_sizes(self) -> list[int]:
        """Units of each state."""
        sizes = resolve(self.input_size, self.hidden_size, self.output_size)
        return [sizes[size] for size in self.program.state_sizes().values()]

    def zeros(self, like: Tensor, batch: int) -> tuple[Tensor, ...]:
        """The states before the first step."""
        return tuple(like.new_zeros(batch, size) for size in self.state_sizes)


class Layer(nn.Module):
    """The weights of one layer: a Parameter `forward_weight_i`, `backward_bias_f`, ... for each weight and direction."""

    def __init__(
        self,
        program: Program,
        input_size: int,
        hidden_size: int,
        output_size: int,
        direction: Direction,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        self.program, self.direction = program, direction
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.directions = ("forward", "backward") if direction == "both" else (direction,)
        self.shapes = program.parameter_shapes(input_size, hidden_size, output_size)
        for way in self.directions:
            for name, shape in self.shapes.items():
                self.register_parameter(f"{way}_{name}", nn.Parameter(torch.empty(shape, **factory)))

    def parts(self) -> Iterator[Part]:
        for way in self.directions:
            weights = {name: getattr(self, f"{way}_{name}") for name in self.shapes}
            yield Part(self.program, way, self.input_size, self.hidden_size, self.output_size, weights)

    def extra_repr(self) -> str:
        return f"{self.program.name}, {self.input_size} -> {self.output_size * len(self.directions)}, {self.direction}"


class Recurrent(nn.Module):
    """A cell over sequences: x (T, B, I) -> (output (T, B, D·H), state).

    cell: a cell, a name of the catalogue, or one for each layer. hidden_size: H, or one for each layer.
    output_size: units of the output, for cells whose output has a size of its own (projections, Jordan); default H.
    direction: "forward", "backward" or "both", or one for each layer; `bidirectional=True` means "both".
    dropout: on the output of each layer but the last. residual: adds a layer's input to its output where sizes allow.
    batch_first: x and output are (B, T, ...). backend: "auto", "torch" or "reference" (see `elman.explain`).

    New weights: Glorot for inputs, orthogonal for states, one bias a map, 0, but 1 for a forget gate (`elman.nn.init`).
    """

    def __init__(
        self,
        cell: AnyCell | Sequence[AnyCell],
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        output_size: int | Sequence[int | None] | None = None,
        direction: Direction | Sequence[Direction] = "forward",
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        batch_first: bool = False,
        backend: str = "auto",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise OptionError(f"num_layers must be 1 or more, not {num_layers}")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), not {dropout}")
        chosen = [cells.named(c) for c in _each(cell, num_layers, "cell")]
        hidden = _each(hidden_size, num_layers, "hidden_size")
        outputs = _each(output_size, num_layers, "output_size")
        ways = _each("both" if bidirectional else direction, num_layers, "direction")
        self.input_size, self.dropout, self.residual = input_size, dropout, residual
        self.batch_first, self.backend = batch_first, backend
        self.layers = nn.ModuleList()
        size = input_size
        for one, h, out, way in zip(chosen, hidden, outputs, ways):
            layer = Layer(*_checked(verify_cell(one.program), size, h, out, way), {"device": device, "dtype": dtype})
            op.choose(layer.program, backend)
            self.layers.append(layer)
            size = layer.output_size * len(layer.directions)
        self.output_size = size
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh weights, as a new layer has them."""
        init.default_(self)

    def parts(self) -> Iterator[Part]:
        """Every layer and direction, in the order of the state."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield from layer.parts()

    def stack(self) -> list[tuple[Program, str, str, list[int]]]:
        """(program, direction, back end asked for, units of the states) of every part, for `elman.explain`."""
        return [(part.program, part.direction, self.backend, part.state_sizes) for part in self.parts()]

    def forward(
        self, x: Tensor, state: State | None = None, *, lengths: Any = None, every_state: bool = False
    ) -> tuple[Tensor, State] | tuple[Tensor, State, State]:
        """x (T, B, I), or (T, I) for one sequence -> (output, final state), and with `every_state` the states after each
        step, shaped as the state with a leading T.

        lengths (B): steps of each sequence, in any order and integer type, zeros allowed; outputs beyond are zero.
        Raises DataError for shapes that do not fit.
        """
        single = x.dim() == 2
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise DataError(
                f"input of shape {tuple(x.shape)}: expected (T, B, {self.input_size}) or (T, {self.input_size})"
            )
        x = x[:, None] if single else x.transpose(0, 1) if self.batch_first else x
        if single and state is not None:
            state = tuple(tuple(s[None] for s in part) for part in state)
        steps = None if lengths is None else ragged.checked_lengths(lengths, x.shape[0], x.shape[1])
        if x.shape[0] == 0:
            steps = [0] * x.shape[1]
        first = self._first_states(x, state)
        output, final, every = x, [], []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            came, outputs = output, []
            for part in layer.parts():
                sequences, last = op.run(
                    part.program, part.weights, came, first[len(final)],
                    lengths=steps, reverse=part.direction == "backward", backend=self.backend, every_state=every_state,
                )  # fmt: skip
                outputs.append(sequences[0])
                final.append(tuple(last))
                every.append(tuple(sequences))
            output = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.residual and output.shape == came.shape:
                output = output + came
            if self.dropout and number + 1 < len(self.layers):
                output = nn.functional.dropout(output, self.dropout, self.training)
        output = output[:, 0] if single else output.transpose(0, 1) if self.batch_first else output
        if single:
            final = [tuple(s[0] for s in part) for part in final]
            every = [tuple(s[:, 0] for s in part) for part in every]
        return (output, tuple(final), tuple(every)) if every_state else (output, tuple(final))

    def zero_state(self, batch: int) -> State:
        """The state before the first step, for `batch` sequences."""
        return tuple(part.zeros(next(iter(part.weights.values())), batch) for part in self.parts())

    def _first_states(self, x: Tensor, state: State | None) -> list[tuple[Tensor, ...]]:
        zeros = list(self.zero_state(x.shape[1]))
        if state is None:
            return zeros
        given = [tuple(part) for part in state]
        if [[s.shape for s in part] for part in given] != [[s.shape for s in part] for part in zeros]:
            wanted = [[tuple(s.shape) for s in part] for part in zeros]
            raise DataError(
                f"the state's shapes {[[tuple(s.shape) for s in part] for part in given]} do not fit: expected {wanted}, "
                "a tuple of the cell's states for each layer and direction"
            )
        return given

    def extra_repr(self) -> str:
        return f"input_size={self.input_size}, output_size={self.output_size}, dropout={self.dropout}, residual={self.residual}"


def _each(value: Any, count: int, what: str) -> list[Any]:
    """One value for each layer."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != count:
            raise OptionError(
                f"{what} has {len(value)} entries for num_layers={count}; give one, or one for each layer"
            )
        return list(value)
    return [value] * count


def _checked(
    program: Program, input_size: int, hidden: int, out: int | None, way: str
) -> tuple[Program, int, int, int, Any]:
    if way not in ("forward", "backward", "both"):
        raise OptionError(f"unknown direction {way!r}{did_you_mean(way, ('forward', 'backward', 'both'))}")
    if input_size < 1 or hidden < 1 or (out is not None and out < 1):
        raise OptionError(f"sizes must be 1 or more: input_size {input_size}, hidden_size {hidden}, output_size {out}")
    own = next(iter(program.state_sizes().values())) == "O"
    if out is not None and out != hidden and not own:
        raise OptionError(
            f"the output of cell {program.name!r} has hidden_size units ({hidden}); output_size={out} cannot be"
        )
    return program, input_size, hidden, out if own and out is not None else hidden, way
