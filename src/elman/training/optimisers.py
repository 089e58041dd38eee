"""Optimisers by name, from plain gradient descent to AdamW and averaged SGD, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from elman.errors import OptionError, did_you_mean
from elman.training.options import OPTIMIZERS, TrainingOptions

AVERAGE_TAIL = 8
"""η of the averaging: the average at step t is (1 − w)·average + w·weights with w = (η + 1)/(t + η)."""


class AveragedSGD(SGD):
    """Gradient descent that also keeps an average of the weights, used for validation and as the final weights.

    Polynomial-decay averaging (Shamir & Zhang 2013): recent weights count most, early ones fade, and there is no
    "start averaging at step ..." to choose (torch.optim.ASGD begins after 10⁶ steps unless told otherwise).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of gradient descent, then the averages move."""
        value: float | None = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float64)
                    state["average"] = torch.zeros_like(parameter)
                state["step"] += 1
                weight = (AVERAGE_TAIL + 1) / (float(state["step"]) + AVERAGE_TAIL)
                state["average"].lerp_(parameter, weight)
        return value


def make_optimizer(parameters: Sequence[Tensor], options: TrainingOptions) -> Optimizer:
    """The optimiser that `options` name, over `parameters`. Raises OptionError for an unknown name."""
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    common: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay}
    makers: dict[str, Callable[[], Optimizer]] = {
        "sgd": lambda: SGD(parameters, fused=fused, **common),
        "momentum": lambda: SGD(parameters, fused=fused, momentum=options.momentum, **common),
        "rmsprop": lambda: RMSprop(parameters, foreach=True, **common),
        # Fused: one kernel for all weights, 44 µs a step on a CPU against 165 for the loop over parameters (6 tensors).
        "adam": lambda: Adam(parameters, fused=fused, **common),
        "adamw": lambda: AdamW(parameters, fused=fused, **common),
        "asgd": lambda: AveragedSGD(parameters, fused=fused, **common),
    }
    if options.optimizer not in makers:
        raise OptionError(f"optimizer {options.optimizer!r} is not known{did_you_mean(options.optimizer, OPTIMIZERS)}")
    return makers[options.optimizer]()


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(options: TrainingOptions, step: int, epochs_done: float, reductions: int) -> float:
    """The rate of the step after `step` steps and `epochs_done` epochs (with its fraction).

    A pure function of the position, so there is no schedule state but `reductions`: how often 'plateau' has cut it.
    """
    rate = options.lr
    share = min(1.0, epochs_done / options.epochs)
    if options.schedule == "linear":
        rate *= 1.0 - share
    elif options.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * share))
    elif options.schedule == "step":
        rate *= options.decay ** (int(epochs_done) // options.decay_every)
    elif options.schedule == "plateau":
        rate *= options.decay**reductions
    if step < options.warmup_steps:
        rate *= (step + 1) / options.warmup_steps
    return rate


@contextmanager
def averaged(optimizer: Optimizer) -> Iterator[None]:
    """Inside, the parameters hold their averages (AveragedSGD's; else nothing changes); afterwards, themselves."""
    pairs = _averages(optimizer)
    with torch.no_grad():
        kept = [parameter.detach().clone() for parameter, _ in pairs]
        for parameter, average in pairs:
            parameter.copy_(average)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _), value in zip(pairs, kept, strict=True):
                parameter.copy_(value)


def _averages(optimizer: Optimizer) -> list[tuple[Tensor, Tensor]]:
    if not isinstance(optimizer, AveragedSGD):
        return []
    return [(p, state["average"]) for p, state in optimizer.state.items() if "average" in state]
