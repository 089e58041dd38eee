"""The drop-ins `RNN`, `LSTM`, `GRU`: torch.nn's constructors, calls, parameters and state_dicts, our operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import cells
from elman.compiler.ir import Program
from elman.nn import op
from elman.nn.compiled import enrol
from elman.nn.fused import Fused, TorchWeights, fused_for

_CELLS = {
    "RNN_TANH": cells.rnn,
    "RNN_RELU": cells.rnn_relu,
    "LSTM": cells.lstm,
    "LSTM with projection": cells.lstm_projected,
    "GRU": cells.gru,
}
_STEPS = {
    mode: (cell.program, fused, enrol(cell.program, fused))
    for mode, cell in _CELLS.items()
    if (fused := fused_for(cell.program))
}


class _DropIn(nn.RNNBase):
    """What the three share; torch's classes give the constructor, the parameters and the checks of arguments."""

    def program(self) -> Program:
        """The cell."""
        return self._step()[0]

    def _step(self) -> tuple[Program, Fused, str]:
        return _STEPS[self.mode + (" with projection" if self.proj_size else "")]

    def stack(self) -> list[tuple[int, Program, str, str, list[int]]]:
        """(layer, program, direction, back end asked for, units of the states) of every part, for `elman.explain`."""
        ways = ("forward", "backward") if self.bidirectional else ("forward",)
        sizes = self._state_sizes()
        return [(layer, self.program(), way, "auto", sizes) for layer in range(self.num_layers) for way in ways]

    def _tensors(self, layer: int, way: int) -> list[Tensor]:
        own = self._parameters  # asked first: the way through __getattr__ takes a microsecond a weight
        names = self._all_weights[layer * (2 if self.bidirectional else 1) + way]
        return [p if (p := own.get(n)) is not None else getattr(self, n) for n in names]

    def _run(self, x: Tensor, states: list[Tensor], lengths: list[int] | None) -> tuple[Tensor, list[Tensor]]:
        """x (T, B, I), states (L·D, B, units) each -> the same shapes after."""
        ways = 2 if self.bidirectional else 1
        program, fused, cell = self._step()
        finals: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                first = [s[layer * ways + way] for s in states]
                weights = TorchWeights(fused, self._tensors(layer, way))
                sequences, last = op.run(
                    program, weights, x, first, fused=fused, lengths=lengths, reverse=way == 1, cell=cell,
                    sizes=(x.shape[-1], *self._units),
                )  # fmt: skip
                outputs.append(sequences[0])
                for final, state in zip(finals, last):
                    final.append(state)
            x = torch.cat(outputs, -1) if ways == 2 else outputs[0]
            if self.dropout and layer + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, [torch.stack(f) if len(f) > 1 else f[0][None] for f in finals]

    @property
    def _units(self) -> tuple[int, int]:
        """H, O."""
        return self.hidden_size, self.proj_size or self.hidden_size

    def _state_sizes(self) -> list[int]:
        return [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")

    def _first(self, x: Tensor, hx: Any, batch: int) -> list[Tensor]:
        """The states that the caller gave, or zeros: (L·D, B, units) each."""
        if hx is not None:
            return list(hx) if self.mode == "LSTM" else [hx]
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return [x.new_zeros(rows, batch, size) for size in self._state_sizes()]

    def _as_torch(self, states: list[Tensor]) -> Any:
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _quick(self, x: Any, hx: Any) -> Any:
        """A usual call of one layer in one direction; None for any other, which torch's checks have yet to see."""
        states = hx if self.mode == "LSTM" or hx is None else (hx,)
        if self.num_layers > 1 or self.bidirectional or not (states is None or isinstance(states, tuple)):
            return None
        sizes, tensors = (self.input_size, *self._units), self._tensors(0, 0)
        found = op.quick(self._step()[2], sizes, x, states, tensors, lead=(1,), batch_first=self.batch_first)
        if found is None:
            return None
        output, *final = found
        return output, self._as_torch(final)

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:
        """torch.nn's: input (T, B, I), (B, T, I) with batch_first, (T, I) or a PackedSequence."""
        if (found := self._quick(input, hx)) is not None:
            return found
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: expected input to be 2D or 3D, got {input.dim()}D instead")
        single, batch_axis = input.dim() == 2, 0 if self.batch_first else 1
        states = None if hx is None else self._first(input, hx, 0)
        if states is not None and any(s.dim() != input.dim() for s in states):
            dims = ", ".join(f"{s.dim()}-D" for s in states)
            raise RuntimeError(f"for {input.dim()}-D input, hx must be {input.dim()}-D too, but got {dims}")
        if single:
            input = input.unsqueeze(batch_axis)
            states = states and [s.unsqueeze(1) for s in states]
        states = states or self._first(input, None, input.shape[batch_axis])
        self.check_forward_args(input, self._as_torch(states), None)
        x = input.transpose(0, 1) if self.batch_first else input
        output, final = self._run(x, states, None)
        if single:
            return output[:, 0], self._as_torch([f[:, 0] for f in final])
        return (output.transpose(0, 1) if self.batch_first else output), self._as_torch(final)

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        order, back = packed.sorted_indices, packed.unsorted_indices
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        states = self._first(x, hx, x.shape[1])
        if hx is not None and order is not None:
            states = [s.index_select(1, order) for s in states]
        self.check_forward_args(packed.data, self._as_torch(states), packed.batch_sizes)
        output, final = self._run(x, states, lengths.tolist())
        data = pack_padded_sequence(output, lengths).data
        if back is not None:
            final = [f.index_select(1, back) for f in final]
        return PackedSequence(data, packed.batch_sizes, order, back), self._as_torch(final)


class RNN(_DropIn, nn.RNN):
    """torch.nn.RNN: same arguments, state_dict and numbers (Elman 1990; tanh or relu)."""


class LSTM(_DropIn, nn.LSTM):
    """torch.nn.LSTM: same arguments (proj_size too), state_dict and numbers."""


class GRU(_DropIn, nn.GRU):
    """torch.nn.GRU: same arguments, state_dict and numbers (reset gate after the matrix)."""
