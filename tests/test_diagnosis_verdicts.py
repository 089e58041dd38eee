"""Verdicts: a network made sick in one way gets that verdict, and what the verdict advises makes it better."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elman
from elman import LanguageModel
from elman.diagnosis import Report, Sampling
from elman.diagnosis.figures import Verdict
from elman.nn import Recurrent, init

SAMPLED = Sampling(sequences=2, ends=6, vectors=4, places=2, exponents=1)
STEPS, INPUT, HIDDEN = 60, 3, 16


def report_on(layer: Recurrent, training: dict[str, Any] | None = None) -> Report:
    torch.manual_seed(5)
    return elman.diagnose(layer, torch.randn(STEPS, 4, INPUT), sampling=SAMPLED, training=training)


def verdict(report: Report, rule: str) -> Verdict | None:
    return next((one for one in report.verdicts if one.rule == rule), None)


def sick(kind: str) -> Recurrent:
    torch.manual_seed(1)
    cell = {"relu": "rnn_relu", "sigmoid": "rnn_sigmoid", "forgets": "lstm", "saturated": "lstm"}.get(kind, "rnn")
    layer = Recurrent(cell, INPUT, HIDDEN)
    with torch.no_grad():
        if kind == "small":
            init.orthogonal_(layer, 0.5)
        elif kind == "large":
            init.orthogonal_(layer, 1.5)
            next(layer.parts()).weights["weight_h"][:, :INPUT] *= 1e-12  # it stays where tanh is a straight line
        elif kind == "forgets":
            init.forget_bias_(layer, -2.0)
        elif kind == "saturated":
            for weight in layer.parameters():
                weight *= 50
        elif kind == "relu":
            next(layer.parts()).weights["bias_h"].fill_(-10.0)
    return layer


def cured(layer: Recurrent, change: dict[str, Any]) -> Recurrent:
    torch.manual_seed(2)
    if "cell" in change:
        return Recurrent(change["cell"], INPUT, HIDDEN)
    if "chrono" in change:
        init.chrono_(layer, change["chrono"])
    elif change["start"] == "default":
        layer.reset_parameters()
    else:
        getattr(init, f"{change['start']}_")(layer)
    return layer


@pytest.mark.parametrize(
    ("kind", "rule", "change"),
    [
        ("small", "vanishing", {"start": "orthogonal"}),
        ("forgets", "vanishing", {"chrono": STEPS}),
        ("sigmoid", "vanishing", {"cell": "lstm"}),
        ("large", "exploding", {"start": "orthogonal"}),
        ("saturated", "saturated", {"start": "default"}),
        ("relu", "dead", {"start": "default"}),
    ],
)
def test_the_sick_are_told_and_the_advice_helps(kind: str, rule: str, change: dict[str, Any]) -> None:
    layer = sick(kind)
    before = report_on(layer)
    found = verdict(before, rule)
    assert found is not None
    assert found.sick
    assert found.change == change
    assert found.advice
    assert (found.value > found.threshold) == (rule != "vanishing")
    after = report_on(cured(layer, found.change))
    assert verdict(after, rule) is None or kind == "sigmoid"
    if rule == "vanishing":
        assert after.layers[0].memory.steps > 2 * before.layers[0].memory.steps
    if rule == "exploding":
        assert np.nanmax(after.layers[0].memory.gain) < 2
        assert verdict(after, "healthy") is not None


def test_exploding_without_clipping_is_told_to_clip() -> None:
    found = verdict(report_on(sick("large"), {"clip_norm": None, "lr": 0.1}), "exploding")
    assert found is not None
    assert found.change == {"start": "orthogonal", "clip_norm": 1.0}


def test_what_keeps_the_state_is_not_called_saturated() -> None:
    """A forget gate that stands at 1 is memory; one that stands at 0 forgets everything."""
    for bias, wanted in ((20.0, False), (-20.0, True)):
        layer = Recurrent("lstm", INPUT, HIDDEN)
        init.forget_bias_(layer, bias)
        names = {v.sentence.split()[0] for v in report_on(layer).verdicts if v.rule == "saturated"}
        assert ("f" in names) == wanted


def learnt(layer: Recurrent, clip_norm: float = 1.0, optimiser: Any = torch.optim.Adam, lr: float = 2e-2) -> float:
    """The loss after 200 steps on a task whose answer stands 30 steps back: the sign of the first input."""
    torch.manual_seed(3)
    head = nn.Linear(HIDDEN, 1)
    weights = [*layer.parameters(), *head.parameters()]
    optimizer = optimiser(weights, lr=lr)
    losses: list[float] = []
    for _ in range(200):
        x = torch.randn(30, 32, INPUT)
        output: Tensor = layer(x)[0][-1]
        loss = nn.functional.binary_cross_entropy_with_logits(head(output)[:, 0], (x[0, :, 0] > 0).float())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses[-20:]))


def test_the_advice_on_vanishing_gradients_lets_it_learn() -> None:
    layer = sick("forgets")
    found = verdict(report_on(layer), "vanishing")
    assert found is not None
    before = learnt(layer)
    assert before > 0.66  # chance is 0.693
    assert learnt(cured(sick("forgets"), found.change)) < 0.5 * before


def test_the_advice_on_exploding_gradients_lets_it_learn() -> None:
    """By plain gradient descent, whose steps are as long as the gradient."""

    def large() -> Recurrent:
        torch.manual_seed(1)
        layer = Recurrent("rnn_identity", INPUT, HIDDEN)
        init.orthogonal_(layer, 1.2)
        return layer

    def loss(layer: Recurrent, clip_norm: float) -> float:
        return learnt(layer, clip_norm, torch.optim.SGD, 0.03)

    found = verdict(report_on(large(), {"clip_norm": None}), "exploding")
    assert found is not None
    assert math.isnan(loss(large(), math.inf))
    for better in (large(), cured(large(), found.change)):  # clipping alone, and both
        assert loss(better, found.change["clip_norm"]) < 0.45  # chance is 0.693


TEXT = "the old man and the sea. " * 40


def model(**options: Any) -> LanguageModel:
    whole = {"hidden_size": 16, "batch_size": 4, "bptt": 20, "epochs": 3, "valid_fraction": 0.0, **options}
    return LanguageModel(**whole).fit(TEXT)


def test_a_rate_that_saturates_is_told_and_the_advice_ends_it() -> None:
    before = model(cell="rnn", epochs=10, lr=0.3)
    report = elman.diagnose(before, TEXT, sampling=SAMPLED)
    found = verdict(report, "saturated")
    assert found is not None
    assert found.change["lr"] == pytest.approx(0.03)
    after = elman.diagnose(model(cell="rnn", epochs=10, lr=found.change["lr"]), TEXT, sampling=SAMPLED)
    assert verdict(after, "saturated") is None
    assert after.loss < 0.5 * report.loss


def test_clipping_on_every_step_is_told_and_the_advice_ends_it() -> None:
    before = model(clip_norm=1e-4)
    assert before.summary_.clipped == 1.0
    found = verdict(elman.diagnose(before, TEXT, sampling=SAMPLED), "clipping")
    assert found is not None
    after = model(**found.change)
    assert after.summary_.clipped < 0.5
    assert verdict(elman.diagnose(after, TEXT, sampling=SAMPLED), "clipping") is None


def test_truncation_shorter_than_the_memory_is_told_and_the_advice_ends_it() -> None:
    before = model(bptt=2)
    found = verdict(elman.diagnose(before, TEXT, sampling=SAMPLED), "truncation")
    assert found is not None
    assert found.value > 1
    after = before.set_params(**found.change)
    assert verdict(elman.diagnose(after, TEXT, sampling=SAMPLED), "truncation") is None
