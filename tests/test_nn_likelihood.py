"""Losses of real values against torch.distributions and scipy in float64: values, gradients, quantiles, samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor
from torch.distributions import NegativeBinomial as TorchCounts
from torch.distributions import Normal
from torch.distributions import StudentT as TorchStudent
from torch.nn.functional import softplus

from elman.errors import OptionError
from elman.nn.likelihood import (
    LOSSES,
    Absolute,
    Gaussian,
    Likelihood,
    NegativeBinomial,
    Quantile,
    Squared,
    StudentT,
    incomplete_beta,
    likelihood,
)

LEVELS = [0.001, 0.025, 0.1, 0.5, 0.7, 0.975]


def raw(count: int, rows: int = 200) -> Tensor:
    return (2 * torch.randn(rows, count, dtype=torch.float64)).requires_grad_()


def oracle(kind: Likelihood, numbers: Tensor, scale: Any = 1.0) -> Any:
    """The same distribution by torch."""
    wide = softplus(numbers[..., 1]) + 1e-6
    if isinstance(kind, Gaussian):
        return Normal(numbers[..., 0], wide)
    if isinstance(kind, StudentT):
        return TorchStudent(2 + softplus(numbers[..., 2]) + 1e-6, numbers[..., 0], wide)
    mean = (softplus(numbers[..., 0]) + 1e-6) * scale
    return TorchCounts(1 / wide, logits=(mean * wide).log())


@pytest.mark.parametrize("kind", [Gaussian(), StudentT(), NegativeBinomial()], ids=lambda k: type(k).__name__)
def test_likelihoods_and_gradients_are_torchs(kind: Likelihood) -> None:
    numbers, scale = raw(kind.count), torch.linspace(0.1, 30, 200, dtype=torch.float64)
    counts = torch.randint(0, 40, (200,)).double()
    target = counts / scale if kind.counts else 3 * torch.randn(200, dtype=torch.float64)
    ours = kind.loss(numbers, target, scale)
    theirs = -oracle(kind, numbers, scale).log_prob(counts if kind.counts else target)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(loss.sum(), numbers, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [Gaussian(), StudentT(), NegativeBinomial()], ids=lambda k: type(k).__name__)
def test_quantiles_are_scipys(kind: Likelihood) -> None:
    numbers, scale = raw(kind.count).detach(), torch.linspace(0.1, 30, 200, dtype=torch.float64)
    ours = kind.quantiles(numbers, LEVELS, scale).numpy()
    parts = [numbers[:, 0].numpy(), (softplus(numbers[:, 1]) + 1e-6).numpy()]
    if isinstance(kind, NegativeBinomial):
        mean, size = (softplus(numbers[:, 0]) + 1e-6).numpy() * scale.numpy(), 1 / parts[1]
        ours = np.round(ours * scale.numpy()[:, None])
        below = [stats.nbinom.cdf(ours - move, size[:, None], (size / (size + mean))[:, None]) for move in (1, 0)]
        # The least count whose probability reaches the level; 1e-9 for levels that a probability meets by rounding.
        assert (below[0] < np.array(LEVELS) + 1e-9).all()
        assert (below[1] > np.array(LEVELS) - 1e-9).all()
        return
    family = stats.norm if isinstance(kind, Gaussian) else stats.t
    shape = [] if isinstance(kind, Gaussian) else [2 + softplus(numbers[:, 2]).numpy() + 1e-6]
    expected = np.stack([family.ppf(level, *shape, *parts) for level in LEVELS], -1)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [Gaussian(), StudentT(), NegativeBinomial()], ids=lambda k: type(k).__name__)
def test_samples_have_the_mean_and_the_quantiles(kind: Likelihood) -> None:
    one, scale = torch.tensor([0.5, 0.2, 3.0][: kind.count], dtype=torch.float64), 20.0
    drawn = kind.sample(one.expand(40_000, -1), torch.Generator().manual_seed(1), scale)
    again = kind.sample(one.expand(40_000, -1), torch.Generator().manual_seed(1), scale)
    assert torch.equal(drawn, again)
    # Five standard errors of a mean of 40,000; the quantiles' shares have a standard error below 0.0025.
    assert abs(float(drawn.mean() - kind.point(one, scale))) < 5 * float(drawn.std()) / 200
    for level, quantile in zip([0.1, 0.5, 0.9], kind.quantiles(one[None], [0.1, 0.5, 0.9], scale)[0]):
        assert float((drawn < quantile - 1e-9).double().mean()) <= level + 0.0125
        assert float((drawn <= quantile + 1e-9).double().mean()) >= level - 0.0125


def test_point_losses() -> None:
    numbers, target = raw(1), torch.randn(200, dtype=torch.float64)
    torch.testing.assert_close(Squared().loss(numbers, target), (numbers[:, 0] - target) ** 2)
    torch.testing.assert_close(Absolute().loss(numbers, target), (numbers[:, 0] - target).abs())
    for kind in (Squared(), Absolute()):
        assert not kind.spread
        assert torch.equal(kind.sample(numbers), numbers[:, 0])
        assert kind.quantiles(numbers, [0.1, 0.9]).shape == (200, 2)


def test_the_pinball_loss_by_hand_and_its_least_is_the_quantile() -> None:
    kind = Quantile((0.1, 0.5, 0.9))
    found = kind.loss(torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([3.0]))
    # (0.1 * 3 + 0.5 * 2 + 0.1 * 1) / 3
    torch.testing.assert_close(found, torch.tensor([1.4 / 3]))
    values = torch.tensor(np.random.default_rng(0).exponential(size=2001))
    numbers = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        numbers += values.quantile(torch.tensor(kind.levels, dtype=torch.float64))
    kind.loss(numbers, values).mean().backward()
    assert numbers.grad is not None
    assert float(numbers.grad.abs().max()) < 1 / 2001  # one value's worth


def test_quantiles_that_cross_are_put_in_order_and_read_between() -> None:
    kind = Quantile((0.1, 0.5, 0.9))
    numbers = torch.tensor([[3.0, 1.0, 2.0]])
    assert kind.point(numbers).tolist() == [2.0]
    found = kind.quantiles(numbers, [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, 1.5, 2.0, 3.0, 3.0]]))
    drawn = kind.sample(numbers.expand(10_000, -1), torch.Generator().manual_seed(0))
    assert (float(drawn.min()), float(drawn.max())) == (1.0, 3.0)
    assert abs(float((drawn < 2).float().mean()) - 0.5) < 0.025  # five standard errors
    assert Quantile((0.5,)).quantiles(torch.ones(2, 1), [0.2, 0.8]).shape == (2, 2)


def test_incomplete_beta_is_scipys() -> None:
    generator = np.random.default_rng(3)
    a, b = np.exp(generator.uniform(-5, 8, (2, 500)))
    x = generator.uniform(0, 1, 500)
    x[:4] = [0, 1, 1e-12, 1 - 1e-12]
    found = incomplete_beta(*(torch.from_numpy(v) for v in (a, b, x))).numpy()
    np.testing.assert_allclose(found, special.betainc(a, b, x), rtol=1e-7, atol=1e-10)


def test_a_count_of_millions_has_quantiles() -> None:
    one = torch.tensor([[1e6, math.log(math.expm1(1e-4))]], dtype=torch.float64)
    found = NegativeBinomial().quantiles(one, [0.5, 0.9])[0].numpy()
    size = 1 / (1e-4 + 1e-6)
    expected = stats.nbinom.ppf([0.5, 0.9], size, size / (size + 1e6))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_names_and_levels_that_cannot_be() -> None:
    assert {type(likelihood(name)).__name__ for name in LOSSES} == {
        "Squared", "Absolute", "Quantile", "Gaussian", "StudentT", "NegativeBinomial",
    }  # fmt: skip
    with pytest.raises(OptionError, match="did you mean 'gaussian'"):
        likelihood("gausian")
    for levels in [(0.9, 0.5, 0.1), (0.1, 0.9), (0.0, 0.5), ()]:
        with pytest.raises(OptionError):
            Quantile(levels)
