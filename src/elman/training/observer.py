"""Looking at the gradient while a network learns: a fixed probe batch, measured every so many steps, without a trace.

Nothing of it reaches the training: no random number is drawn from the global generators, no gradient is left, and the
module is afterwards as it was. It never takes more than a twentieth of the time: where it would, it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from elman.diagnosis.watch import watch
from elman.training.state import preserved_random

SHARE = 0.05


class Observer:
    """Measures what `probe` gives, the loss of a fixed batch on `module`, every so many steps."""

    def __init__(self, module: torch.nn.Module, probe: Callable[[], Tensor], every: int) -> None:
        self.module, self.probe, self.every = module, probe, every
        self.memory: int | None = None
        """Steps that the layer with the longest memory remembered when last looked at."""
        self.step, self.spent = 0, 0.0

    def due(self, step: int, seconds: float) -> bool:
        """Whether to look after this step, so many seconds of training after its begin."""
        return step - self.step >= self.every and self.spent <= SHARE * seconds

    def look(self, step: int, device: torch.device) -> dict[str, Any]:
        """What there is to log; {} where the network has no recurrent layer."""
        began = time.perf_counter()
        with preserved_random(device):
            found = watch(self.module, self.probe)
        self.memory = max((layer["memory"] for layer in found.get("layers", ())), default=None)
        self.step, self.spent = step, self.spent + time.perf_counter() - began
        return found
