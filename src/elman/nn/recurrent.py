"""`Recurrent`: any cell as a layer or a stack of layers, in one or both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elman import cells
from elman.compiler.ir import Program, resolve
from elman.compiler.verify import verify_cell
from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import init, op, ragged
from elman.nn.compiled import enrol
from elman.nn.fused import Fused, fused_for
from elman.nn.noise import Noise, Regularisers, drop_input, drop_weights
from elman.nn.rows import CheckpointEvery, check_checkpoint_every

Direction = Literal["forward", "backward", "both"]
AnyCell = str | cells.Cell | cells.TracedCell
State = tuple[tuple[Tensor, ...], ...]
"""For each layer and direction, in order, the cell's states (B, units)."""


@dataclass(frozen=True)
class Part:
    """One layer in one direction: what the operation needs of it."""

    program: Program
    """The step as it is in evaluation, or in training with its masks."""
    direction: str
    input_size: int
    hidden_size: int
    output_size: int
    weights: dict[str, Tensor]
    fused: Fused | None
    """torch's own operation for these equations."""
    cell: str
    """The step's name among the operations that torch.compile leaves whole."""

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers for I, H, O."""
        return resolve(self.input_size, self.hidden_size, self.output_size)

    @property
    def state_sizes(self) -> list[int]:
        """Units of each state."""
        sizes = self.sizes
        return [sizes[size] for size in self.program.state_sizes().values()]

    def zeros(self, batch: int) -> tuple[Tensor, ...]:
        """The states before the first step."""
        like = next(iter(self.weights.values()))
        return tuple(like.new_zeros(batch, size) for size in self.state_sizes)


class Layer(nn.Module):
    """The weights of one layer: a Parameter `forward_weight_i`, `backward_bias_f`, ... for each, in each direction."""

    def __init__(
        self,
        program: Program,
        input_size: int,
        hidden_size: int,
        output_size: int,
        direction: Direction,
        regularisers: Regularisers,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.program, self.direction = program, direction
        self.evaluation, self.masked = regularisers.evaluation(program), regularisers.training(program)
        self.sizes = self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.directions: tuple[str, ...] = ("forward", "backward") if direction == "both" else (direction,)
        self.fused, self.masked_fused = fused_for(self.evaluation), fused_for(self.masked)
        self.shapes = program.parameter_shapes(input_size, hidden_size, output_size)
        self.names = {way: [f"{way}_{name}" for name in self.shapes] for way in self.directions}
        self._enrol()
        for way in self.directions:
            for name, shape in self.shapes.items():
                self.register_parameter(f"{way}_{name}", nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def _enrol(self) -> None:
        names = tuple(self.shapes)
        self.cells = (enrol(self.evaluation, names), enrol(self.masked, names))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._enrol()  # in this process, too

    def tensors(self, way: str) -> list[Tensor]:
        """The weights of a direction, in the order of `shapes`."""
        own = self._parameters  # asked first: the way through __getattr__ takes a microsecond a weight
        return [p if (p := own.get(n)) is not None else getattr(self, n) for n in self.names[way]]

    def parts(self, *, masked: bool = False) -> Iterator[Part]:
        """Each direction as it is in evaluation, or `masked`: in training."""
        step, fused = (self.masked, self.masked_fused) if masked else (self.evaluation, self.fused)
        for way in self.directions:
            weights = dict(zip(self.shapes, self.tensors(way)))
            yield Part(step, way, *self.sizes, weights, fused, self.cells[masked])

    def extra_repr(self) -> str:
        return f"{self.program.name}, {self.input_size} -> {self.output_size * len(self.directions)}, {self.direction}"


class Recurrent(nn.Module):
    """A cell over sequences: x (T, B, I) -> (output (T, B, D·H), state).

    cell: a cell, a name of the catalogue, or one for each layer. hidden_size: H, or one for each layer.
    output_size: units of the output, for cells whose output has a size of its own (projections, Jordan); default H.
    direction: "forward", "backward" or "both", or one for each layer; `bidirectional=True` means "both".
    dropout: on the output of each layer but the last. residual: adds a layer's input to its output where sizes allow.
    input_dropout, recurrent_dropout: of each layer's input, and of what its states bring into affine maps, the same
    units at every step (Gal & Ghahramani 2016). zoneout: how often a state stays as it was (Krueger et al. 2017), one
    rate or {state: rate}. weight_dropout: of the weights from states, once a call (Merity et al. 2018). All in training
    mode alone, from one seed that torch's default generator gives for each call.
    checkpoint_every: keep the states of every so many steps alone (rounded up to whole chunks of 512 rows), or of about
    the root of T ("auto"), and compute the steps between again in the backward pass: the same gradients, bit for bit.
    batch_first: x and output are (B, T, ...). backend: "auto", "native", "torch" or "reference" (see `elman.explain`).

    New weights: Glorot for inputs, orthogonal for states, one bias a map, 0, but 1 for a forget gate (`elman.nn.init`).
    """

    run: Callable[..., tuple[list[Tensor], list[Tensor]]] = staticmethod(op.run)
    """Computes one layer in one direction; `elman.diagnosis` puts in its place what also writes down every value."""

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
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_dropout: float = 0.0,
        residual: bool = False,
        batch_first: bool = False,
        checkpoint_every: CheckpointEvery = None,
        backend: str = "auto",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_checkpoint_every(checkpoint_every)
        if type(num_layers) is not int or num_layers < 1:
            raise OptionError(f"num_layers must be a whole number, 1 or more, not {num_layers!r}")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise OptionError(f"dropout must be a number in [0, 1), not {dropout!r}")
        if bidirectional and direction not in ("forward", "both"):
            raise OptionError(f"bidirectional=True and direction={direction!r} say different things; give one of them")
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise OptionError(f"weights must be of a floating-point type such as torch.float32, not {dtype!r}")
        self.input_size, self.dropout, self.residual = input_size, dropout, residual
        self.batch_first, self.backend, self.checkpoint_every = batch_first, backend, checkpoint_every
        self.regularisers = Regularisers(input_dropout, recurrent_dropout, zoneout, weight_dropout)
        self.layers = nn.ModuleList()
        size = input_size
        for one, h, out, way in zip(
            _each(cell, num_layers, "cell"),
            _each(hidden_size, num_layers, "hidden_size"),
            _each(output_size, num_layers, "output_size"),
            _each("both" if bidirectional else direction, num_layers, "direction"),
        ):
            program = _program(one)
            out = _output_size(program, size, h, out, way)
            layer = Layer(program, size, h, out, way, self.regularisers, device, dtype)
            size = layer.output_size * len(layer.directions)
            self.layers.append(layer)
        self.output_size = size
        self.regularisers.check([layer.program for layer in self.each_layer()])
        if backend != "auto":
            both = (p for layer in self.each_layer() for masked in (False, True) for p in layer.parts(masked=masked))
            for part in both:  # refuses one that cannot run the cell
                like = next(iter(part.weights.values()))
                op.choose(part.program, backend, state_sizes=part.state_sizes, like=like)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh weights, as a new layer has them; on the meta device there are none to fill."""
        if not any(weight.is_meta for weight in self.parameters()):
            init.default_(self)

    def parts(self) -> Iterator[Part]:
        """Every layer and direction, in the order of the state."""
        for layer in self.each_layer():
            yield from layer.parts()

    def stack(self) -> list[tuple[int, Program, str, str, list[int]]]:
        """(layer, program, direction, back end asked for, units of the states) of every part as it would run now, for
        `elman.explain`."""
        return [
            (number, part.program, part.direction, self.backend, part.state_sizes)
            for number, layer in enumerate(self.each_layer())
            for part in layer.parts(masked=self.training)
        ]

    def forward(
        self, x: Tensor, state: State | None = None, *, lengths: Any = None, every_state: bool = False
    ) -> tuple[Tensor, State] | tuple[Tensor, State, State]:
        """x (T, B, I), or (T, I) for one sequence -> (output, final state), and with `every_state` the states after
        each step, shaped as the state with a leading T.

        lengths (B): steps of each sequence, in any order and integer type, zeros allowed; outputs beyond are zero.
        Raises DataError for shapes that do not fit.
        """
        if lengths is None and not every_state and (found := self._quick(x, state)) is not None:
            return found
        x, single = self.time_major(x)
        steps = None if lengths is None else ragged.checked_lengths(lengths, x.shape[0], x.shape[1])
        first = self.first_states(x, state, single)
        noise = Noise.draw(x.shape[1], x.device) if self.training and self.regularisers.noisy else None
        output, final, every = x, [], []  # type: Tensor, list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]
        for number, layer in enumerate(self.each_layer()):
            came, outputs = output, []
            for part in layer.parts(masked=noise is not None):
                own = None if noise is None else noise.part(len(final))
                seen, weights = (came, part.weights) if own is None else self._dropped(part, came, own)
                sequences, last = self.run(
                    part.program, weights, seen, first[len(final)], fused=part.fused, lengths=steps, noise=own,
                    reverse=part.direction == "backward", backend=self.backend, every_state=every_state,
                    checkpoint_every=self.checkpoint_every, cell=part.cell, sizes=layer.sizes,
                )  # fmt: skip
                outputs.append(sequences[0])
                final.append(tuple(last))
                every.append(tuple(sequences))
            output = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.residual and output.shape == came.shape:
                # beyond a length the input may hold anything: it must not come back through this door
                output = output + (came if steps is None else came.masked_fill(~ragged.inside(steps, came), 0))
            if self.dropout and number + 1 < len(self.layers):
                output = nn.functional.dropout(output, self.dropout, self.training)
        if single:
            output = output[:, 0]
            final = [tuple(s[0] for s in part) for part in final]
            every = [tuple(s[:, 0] for s in part) for part in every]
        elif self.batch_first:
            output = output.transpose(0, 1)
        return (output, tuple(final), tuple(every)) if every_state else (output, tuple(final))

    def _quick(self, x: Any, state: Any) -> tuple[Tensor, State] | None:
        """A usual call of one layer in one direction; None for any other."""
        layers = self._modules["layers"]._modules  # type: ignore[union-attr]  # __getattr__ takes a microsecond
        layer: Any = layers["0"]
        if len(layers) > 1 or len(layer.directions) > 1 or "run" in self.__dict__:  # somebody looks on
            return None
        if state is not None and (type(state) is not tuple or len(state) != 1 or type(state[0]) is not tuple):
            return None
        if (
            self.residual
            or self.checkpoint_every is not None
            or self.backend not in op.NATIVE
            or "run" in self.__dict__
        ):
            return None
        if self.training and self.regularisers.noisy:
            return None
        (way,), states = layer.directions, state and state[0]
        found = op.quick(
            layer.cells[0], layer.sizes, x, states, layer.tensors(way), reverse=way == "backward",
            batch_first=self.batch_first,
        )  # fmt: skip
        if found is None:
            return None
        output, *final = found
        return output, (tuple(final),)

    def _dropped(self, part: Part, x: Tensor, noise: Noise) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The input and the weights of a part in training."""
        own, weights = self.regularisers, part.weights
        if own.input_dropout:
            x = drop_input(x, own.input_dropout, noise)
        if own.weight_dropout:
            weights = drop_weights(part.program, weights, part.sizes, own.weight_dropout, noise)
        return x, weights

    def each_layer(self) -> Iterator[Layer]:
        """The layers, lowest first."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer

    def time_major(self, x: Tensor) -> tuple[Tensor, bool]:
        """(x (T, B, I), whether it is one sequence without a batch)."""
        if not isinstance(x, Tensor):
            raise DataError(f"the input must be a tensor, with lengths= where sequences differ, not {type(x).__name__}")
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            batched = "(B, T, " if self.batch_first else "(T, B, "
            expected = f"{batched}{self.input_size}), or (T, {self.input_size}) for one sequence"
            raise DataError(f"the input has the shape {tuple(x.shape)}, expected {expected}")
        if x.dim() == 2:
            return x[:, None], True
        return (x.transpose(0, 1) if self.batch_first else x), False

    def first_states(self, x: Tensor, state: State | None, single: bool) -> Sequence[tuple[Tensor, ...]]:
        parts = list(self.parts())
        if state is None:
            return [part.zeros(x.shape[1]) for part in parts]
        rows = () if single else (x.shape[1],)
        wanted = [[(*rows, size) for size in part.state_sizes] for part in parts]
        given = _shapes(state)
        if given != wanted:
            raise DataError(
                f"the state has the shapes {given}, expected {wanted}: "
                "for each layer and direction, a tuple of the cell's states"
            )
        return [tuple(s[None] for s in part) for part in state] if single else state

    def extra_repr(self) -> str:
        sizes = f"input_size={self.input_size}, output_size={self.output_size}"
        own = "".join(f", {name}={rate}" for name, rate in vars(self.regularisers).items() if rate)
        return f"{sizes}, dropout={self.dropout}{own}, residual={self.residual}, batch_first={self.batch_first}"


def _shapes(state: Any) -> Any:
    """The shapes of every part's states; what is no tuple of tuples of tensors, by the name of its type."""
    if isinstance(state, Tensor):
        return tuple(state.shape)
    return [_shapes(inner) for inner in state] if isinstance(state, (tuple, list)) else type(state).__name__


def _each(value: Any, count: int, what: str) -> list[Any]:
    """One value for each layer."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != count:
            raise OptionError(
                f"{what} has {len(value)} entries for num_layers={count}; give one, or one for each layer"
            )
        return list(value)
    return [value] * count


def _program(cell: AnyCell) -> Program:
    if not isinstance(cell, (str, cells.Cell, cells.TracedCell)):
        raise OptionError(f"a cell is one of elman.cells or a name of the catalogue, not {type(cell).__name__}")
    return verify_cell(cells.named(cell).program)


def _output_size(program: Program, input_size: int, hidden: int, out: int | None, way: str) -> int:
    """Units of a layer's output in one direction; OptionError for a layer that cannot be."""
    if way not in ("forward", "backward", "both"):
        raise OptionError(f"unknown direction {way!r}{did_you_mean(str(way), ('forward', 'backward', 'both'))}")
    for what, size in (("input_size", input_size), ("hidden_size", hidden), ("output_size", out)):
        if size is not None and (type(size) is not int or size < 1):
            raise OptionError(f"{what} must be a whole number, 1 or more, not {size!r}")
    own = next(iter(program.state_sizes().values())) == "O"
    if out is not None and out != hidden and not own:
        raise OptionError(
            f"the output of cell {program.name!r} has hidden_size units ({hidden}); output_size={out} cannot be"
        )
    return out if own and out is not None else hidden
