"""A cell of one's own, from its equations to a trained layer, in a few seconds: `python examples/my_cell.py`.

The cell keeps a value until a gate lets a new one in. The task asks for just that: of a noisy signal, name the value at
the last marked step, however long ago that was.
"""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman.cells import cell, sigmoid, tanh
from elman.cells.table import describe
from elman.nn import Recurrent, explain

STEPS, BATCH, UNITS, ROUNDS = 20, 64, 24, 250


@cell(source="An example")
def keeper(x: Any, h: Any, W: Any) -> Any:
    """Keeps each unit until its gate opens; the gate also sees the unit itself through a weight of its own."""
    u = sigmoid(W.u(x, h) + W.p_u * h)
    n = tanh(W.n(x))
    h = u * n + (1 - u) * h
    return h


def made_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(x, y): x (T, B, 2) holds a signal in [-1, 1] and a mark (0 or 1), y (T, B, 1) the signal at the last mark."""
    signal = torch.rand(STEPS, BATCH, generator=generator) * 2 - 1
    mark = (torch.rand(STEPS, BATCH, generator=generator) < 0.2).float()
    mark[0] = 1
    last, rows = torch.zeros(BATCH), []
    for t in range(STEPS):
        last = torch.where(mark[t] > 0, signal[t], last)
        rows.append(last)
    return torch.stack([signal, mark], -1), torch.stack(rows)[..., None]


class Reader(nn.Module):
    """The cell over a sequence, and a linear map of its units at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = Recurrent(keeper, input_size=2, hidden_size=UNITS)
        self.output = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        sequence, _ = self.recurrent(x)  # (T, B, H)
        result: Tensor = self.output(sequence)
        return result


def main() -> None:
    torch.manual_seed(1990)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1990)
    print(describe(keeper), end="\n\n")
    model = Reader()
    x, y = made_batch(generator)
    print(explain(model.recurrent, x), end="\n\n")
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(1, ROUNDS + 1):
        x, y = made_batch(generator)
        loss = nn.functional.mse_loss(model(x), y)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if number in (1, 50, 100, 150, 200, ROUNDS):
            print(f"round {number:3}: mean squared error {loss.item():.4f}")
    print(f"always guessing the mean: {y.var().item():.4f}")


if __name__ == "__main__":
    main()
