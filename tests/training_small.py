"""A small trainee for the tests of the loop: one weight vector, a loss that the test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Small:
    """Minimises the mean of (w − batch)² over 3 units; `figures` gives the validation figures by turn."""

    unit, monitor, maximize = "characters", "loss", False

    def __init__(
        self,
        batches: Sequence[float] = (1.0, 2.0, 3.0),
        figures: Sequence[float] = (),
        loss: Callable[[Tensor, float], Tensor] | None = None,
    ) -> None:
        self.module = nn.ParameterDict({"w": nn.Parameter(torch.tensor([0.0, 5.0, -5.0]))})
        self.batches, self.figures, self.turn = list(batches), list(figures), 0
        self.seen: list[tuple[float, Any]] = []
        self.make_loss = loss or (lambda w, batch: ((w - batch) ** 2).mean())

    def epoch(self, number: int) -> list[float]:
        return self.batches

    def loss(self, batch: float, carry: Any) -> tuple[Tensor, int, Any]:
        self.seen.append((batch, carry))
        return self.make_loss(self.module["w"], batch), 3, (torch.tensor(batch), None)

    def validate(self) -> dict[str, float]:
        assert not self.module.training
        assert not torch.is_grad_enabled()
        torch.rand(1)
        if not self.figures:
            return {}
        self.turn += 1
        return {"loss": self.figures[min(self.turn, len(self.figures)) - 1], "accuracy": 0.5}
