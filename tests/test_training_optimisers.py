"""Each optimiser takes the step its formula says; schedules; options that cannot work."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import OptionError
from elman.training.optimisers import averaged, learning_rate, make_optimizer
from elman.training.options import OPTIMIZERS, TrainingOptions

W = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
GRADIENTS = [torch.tensor(g, dtype=torch.float64) for g in ([0.5, -1.0, 2.0], [1.0, 1.0, -0.25], [0.0, 2.0, 1.0])]


def by_formula(name: str, lr: float, decay: float) -> Tensor:
    """The weights after the three gradients, by the textbook."""
    w, m, v = W.clone(), torch.zeros_like(W), torch.zeros_like(W)
    for t, gradient in enumerate(GRADIENTS, 1):
        g = gradient if name == "adamw" else gradient + decay * w
        if name == "momentum":
            m = g if t == 1 else 0.9 * m + g
            w = w - lr * m
        elif name == "rmsprop":
            v = 0.99 * v + 0.01 * g**2
            w = w - lr * g / (v.sqrt() + 1e-8)
        elif name in ("adam", "adamw"):
            w = w - lr * decay * w if name == "adamw" else w
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        else:
            w = w - lr * g
    return w


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_step_is_the_formulas(name: str, decay: float) -> None:
    parameter = torch.nn.Parameter(W.clone())
    options = TrainingOptions(optimizer=name, lr=0.1, weight_decay=decay, momentum=0.9)
    optimizer = make_optimizer([parameter], options)
    for gradient in GRADIENTS:
        parameter.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), by_formula(name, 0.1, decay), rtol=1e-12, atol=1e-12)


def test_averaged_sgd_keeps_the_average_and_gives_the_weights_back() -> None:
    parameter = torch.nn.Parameter(W.clone())
    optimizer = make_optimizer([parameter], TrainingOptions(optimizer="asgd", lr=0.1))
    with averaged(optimizer):  # before the first step there is nothing to average
        torch.testing.assert_close(parameter.detach(), W)
    w, average = W.clone(), torch.zeros_like(W)
    for t, gradient in enumerate(GRADIENTS, 1):
        parameter.grad = gradient.clone()
        optimizer.step()
        w = w - 0.1 * gradient
        average = average + (w - average) * 9 / (t + 8)
    with averaged(optimizer):
        torch.testing.assert_close(parameter.detach(), average, rtol=1e-12, atol=1e-12)
        assert not torch.equal(average, w)
    torch.testing.assert_close(parameter.detach(), w, rtol=1e-12, atol=1e-12)


def rates(options: TrainingOptions, steps: int = 4) -> list[float]:
    """The rate of each step, where an epoch has `steps`."""
    return [learning_rate(options, s, s / steps, 0) for s in range(options.epochs * steps)]


def test_schedules() -> None:
    options = TrainingOptions(epochs=2, lr=8.0)
    assert rates(options) == [8.0] * 8
    assert rates(replace(options, schedule="linear")) == pytest.approx([8, 7, 6, 5, 4, 3, 2, 1])
    cosine = rates(replace(options, schedule="cosine"))
    assert cosine == pytest.approx([4 * (1 + math.cos(math.pi * s / 8)) for s in range(8)])
    assert rates(replace(options, schedule="step", decay=0.25, decay_every=1)) == pytest.approx([8] * 4 + [2] * 4)
    assert rates(replace(options, warmup_steps=4))[:5] == pytest.approx([2, 4, 6, 8, 8])
    assert learning_rate(replace(options, schedule="plateau", decay=0.5), 9, 1.0, 3) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"optimizer": "addam"}, r"--optimizer is 'addam'.*did you mean 'adam'"),
        ({"schedule": "cosin"}, r"did you mean 'cosine'"),
        ({"lr": 0.0}, r"--lr must be a number above 0, not 0.0"),
        ({"lr": math.nan}, "--lr must"),
        ({"lr": math.inf}, "--lr must"),
        ({"lr": "fast"}, "--lr must be a number above 0, not 'fast'"),
        ({"clip_norm": 0.0}, "--clip-norm must"),
        ({"clip_value": -1.0}, "--clip-value must"),
        ({"epochs": 0}, "--epochs must be a whole number, 1 or more"),
        ({"epochs": 1.5}, "--epochs must"),
        ({"epochs": True}, "--epochs must"),
        ({"max_seconds": 0}, "--max-seconds must"),
        ({"patience": 0}, "--patience must"),
        ({"momentum": 1.0}, "--momentum must"),
        ({"weight_decay": -0.1}, "--weight-decay must"),
        ({"validate_every": 0}, "--validate-every must"),
        ({"checkpoint_steps": 0}, "--checkpoint-steps must"),
        ({"seed": -1}, "--seed must"),
        ({"epochs": None}, "--epochs must"),
    ],
)
def test_options_that_cannot_work(change: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        TrainingOptions(**change)
