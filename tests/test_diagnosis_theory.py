"""What theory says of the gradient through time, measured: decay and growth of vanilla networks, the constant error
carousel, forget gates; and the verdicts on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import elman
from elman.diagnosis import Report, Sampling
from elman.nn import Recurrent, init

STEPS = 200
SAMPLED = Sampling(sequences=2, ends=6, vectors=4, places=2, exponents=1)


def rules(report: Report) -> set[str]:
    return {verdict.rule for verdict in report.verdicts if verdict.rule != "dead"}  # an input of zeros moves no unit


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("start", ["orthogonal", "gaussian"])
def test_a_vanilla_network_decays_and_grows_as_its_spectral_radius_says(radius: float, start: str) -> None:
    """At an input of zeros tanh is the identity, so that the gradient k steps back is that of Wᵏ."""
    layer = Recurrent("rnn", 2, 32, dtype=torch.float64)
    (part,) = layer.parts()
    with torch.no_grad():
        block = part.weights["weight_h"][:, 2:]
        drawn = torch.randn(32, 32, dtype=torch.float64)
        fresh = torch.linalg.qr(drawn).Q if start == "orthogonal" else drawn
        block.copy_(fresh * (radius / torch.linalg.eigvals(fresh).abs().max()))
    report = elman.diagnose(layer, torch.zeros(STEPS, 2, 2), sampling=SAMPLED)
    (one,) = report.layers
    norms = one.flow.states["h"].mean
    tolerance = 0.05
    assert one.matrices[0].radius == pytest.approx(radius, rel=1e-9)
    assert one.jacobian.radius == pytest.approx(radius, rel=1e-9)
    assert (norms[0] / norms[-51]) ** (1 / (STEPS - 51)) == pytest.approx(radius, rel=tolerance)
    assert one.memory.rate == pytest.approx(radius, rel=tolerance)
    assert math.exp(one.lyapunov.exponents[0]) == pytest.approx(radius, rel=tolerance)
    verdict = {0.5: "vanishing", 1.0: "healthy", 1.5: "exploding"}[radius]
    if start == "orthogonal":
        theory = min(STEPS - 1, math.floor(math.log(0.01) / math.log(radius))) if radius < 1 else STEPS - 1
        assert one.memory.steps == theory
        assert np.allclose(norms / norms[-1], radius ** np.arange(STEPS - 1.0, -1, -1), rtol=1e-9)
    assert verdict in rules(report)
    assert len(rules(report)) == 1


def cell_gradient(output: Tensor, state: elman.nn.recurrent.State) -> Tensor:
    return state[0][1].sum()


def test_the_gradient_along_the_carousel_of_1997_is_constant_over_a_thousand_steps() -> None:
    """Input gates closed, the cell's content changes by nothing and passes its gradient on unchanged; what it does
    through the output and the gates of later steps is closed with them."""
    layer = Recurrent("lstm_1997", 2, 4, dtype=torch.float64)
    (part,) = layer.parts()
    with torch.no_grad():
        part.weights["bias_i"].fill_(-40.0)
    report = elman.diagnose(layer, torch.randn(1000, 2, 2), loss=cell_gradient, sampling=SAMPLED)
    norms = report.layers[0].flow.states["c"].mean
    assert np.abs(norms / norms[-1] - 1).max() < 1e-6
    assert report.layers[0].memory.steps == 999
    assert "healthy" in rules(report)


def test_a_forget_gate_at_minus_two_forgets_as_its_bias_says() -> None:
    """Without weights from states the cell's gradient shrinks by σ(−2) = 0.119 a step."""
    layer = Recurrent("lstm", 2, 4, dtype=torch.float64)
    (part,) = layer.parts()
    with torch.no_grad():
        for gate in "ifgo":
            part.weights[f"weight_{gate}"].zero_()
    init.forget_bias_(layer, -2.0)
    report = elman.diagnose(layer, torch.randn(50, 2, 2), loss=cell_gradient, sampling=SAMPLED)
    norms = report.layers[0].flow.states["c"].mean
    keep = 1 / (1 + math.exp(2.0))
    assert np.allclose(norms[1:] / norms[:-1], 1 / keep, rtol=1e-9)
    assert report.layers[0].memory.rate == pytest.approx(keep, rel=0.05)
    assert "vanishing" in rules(report)


def test_sigmoid_passes_a_quarter_on_at_most_and_tanh_the_whole() -> None:
    for name, steepest in (("rnn_sigmoid", 0.25), ("rnn", 1.0)):
        layer = Recurrent(name, 2, 8, dtype=torch.float64)
        init.orthogonal_(layer)
        report = elman.diagnose(layer, torch.zeros(60, 2, 2), sampling=SAMPLED)
        (activity,) = report.layers[0].activity
        assert activity.steepest == steepest
        assert (activity.slope <= steepest).all()
        assert report.layers[0].memory.rate == pytest.approx(activity.slope.mean(), rel=0.05)


def test_a_sample_is_within_its_error_of_the_whole() -> None:
    layer = Recurrent("gru", 3, 40, 2, dtype=torch.float64)
    x = torch.randn(30, 4, 3)
    whole = elman.diagnose(layer, x, sampling=Sampling.whole())
    part = elman.diagnose(layer, x, sampling=Sampling(sequences=4, ends=30, vectors=6, exponents=2, places=1))
    for one, other in zip(whole.layers, part.layers):
        shown = one.memory.gain > 1e-3
        far = np.abs(other.memory.gain / one.memory.gain - 1)[shown]
        assert (far <= 5 * other.memory.error[shown] + 1e-9).all()
        assert other.memory.error[shown].max() < 0.5
    there = whole.networks[0].sensitivity.map > 1e-3
    far = np.abs(part.networks[0].sensitivity.map / np.where(there, whole.networks[0].sensitivity.map, 1) - 1)[there]
    error = part.networks[0].sensitivity.error[there]
    assert np.mean(far <= 4 * error + 1e-9) > 0.9
    assert np.median(far) < 0.3
