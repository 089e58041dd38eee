"""The drop-ins `RNN`, `LSTM`, `GRU`: torch.nn's constructors, calls, parameters and state_dicts around our operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import cells
from elman.compiler.ir import Program
from elman.nn import op
from elman.nn.fused import TorchWeights, fused_for


class _DropIn(nn.RNNBase):
    """What the three share; torch's classes give the constructor, the parameters and the checks of arguments."""

    def program(self) -> Program:
        raise NotImplementedError

    def stack(self) -> list[tuple[Program, str, str, list[int]]]:
        """(program, direction, back end asked for, units of the states) of every part, for `elman.explain`."""
        ways = ("forward", "backward") if self.bidirectional else ("forward",)
        return [(self.program(), way, "auto", self._state_sizes()) for _ in range(self.num_layers) for way in ways]

    def _weights(self, layer: int, way: int) -> TorchWeights:
        end = f"_l{layer}" + "_reverse" * way
        names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * self.bias + ["weight_hr"] * (self.proj_size > 0)
        fused = fused_for(self.program())
        assert fused is not None
        return TorchWeights(fused, [getattr(self, name + end) for name in names])

    def _run(self, x: Tensor, states: list[Tensor], lengths: list[int] | None) -> tuple[Tensor, list[Tensor]]:
        """x (T, B, I), states (L·D, B, units) each -> the same shapes after."""
        ways = 2 if self.bidirectional else 1
        finals: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                first = [s[layer * ways + way] for s in states]
                weights = self._weights(layer, way)
                sequences, last = op.run(self.program(), weights, x, first, lengths=lengths, reverse=way == 1)
                outputs.append(sequences[0])
                for final, state in zip(finals, last):
                    final.append(state)
            x = torch.cat(outputs, -1) if ways == 2 else outputs[0]
            if self.dropout and layer + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, [torch.stack(f) for f in finals]

    def _first(self, x: Tensor, hx: Any, batch: int) -> list[Tensor]:
        if hx is not None:
            return list(hx) if isinstance(hx, tuple) else [hx]
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return [x.new_zeros(rows, batch, size) for size in self._state_sizes()]

    def _state_sizes(self) -> list[int]:
        return [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:
        """torch.nn's: input (T, B, I), (B, T, I) with batch_first, (T, I) or a PackedSequence."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._get_name()}: expected input to be 2D or 3D, got {input.dim()}D instead")
        single = input.dim() == 2
        if single and hx is not None:
            hx = tuple(h.unsqueeze(1) for h in hx) if isinstance(hx, tuple) else hx.unsqueeze(1)
        x = input[:, None] if single else input.transpose(0, 1) if self.batch_first else input
        states = self._first(x, hx, x.shape[1])
        checked = (states[0], states[1]) if self.mode == "LSTM" else states[0]
        self.check_forward_args(x.transpose(0, 1) if self.batch_first else x, checked, None)  # type: ignore[arg-type]
        output, final = self._run(x, states, None)
        output = output[:, 0] if single else output.transpose(0, 1) if self.batch_first else output
        final = [f[:, 0] for f in final] if single else final
        return output, (tuple(final) if self.mode == "LSTM" else final[0])

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        order, back = packed.sorted_indices, packed.unsorted_indices
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        states = self._first(x, hx, x.shape[1])
        if hx is not None and order is not None:
            states = [s.index_select(1, order) for s in states]
        checked = (states[0], states[1]) if self.mode == "LSTM" else states[0]
        self.check_forward_args(packed.data, checked, packed.batch_sizes)  # type: ignore[arg-type]
        output, final = self._run(x, states, lengths.tolist())
        data = pack_padded_sequence(output, lengths).data
        if back is not None:
            final = [f.index_select(1, back) for f in final]
        result = PackedSequence(data, packed.batch_sizes, order, back)
        return result, (tuple(final) if self.mode == "LSTM" else final[0])


class RNN(_DropIn, nn.RNN):
    """torch.nn.RNN: same arguments, state_dict and numbers (Elman 1990; tanh or relu)."""

    def program(self) -> Program:
        return (cells.rnn if self.nonlinearity == "tanh" else cells.rnn_relu).program


class LSTM(_DropIn, nn.LSTM):
    """torch.nn.LSTM: same arguments (proj_size too), state_dict and numbers."""

    def program(self) -> Program:
        return (cells.lstm_projected if self.proj_size else cells.lstm).program


class GRU(_DropIn, nn.GRU):
    """torch.nn.GRU: same arguments, state_dict and numbers (reset gate after the matrix)."""

    def program(self) -> Program:
        return cells.gru.program
