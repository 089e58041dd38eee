"""Losses of a real value: squared, absolute, quantile; and likelihoods: Gaussian, Student-t, negative binomial.

Each is a small frozen object over raw numbers (..., count) as a network gives them, and targets (...). Targets and
answers are in the network's scaled units; `scale` (...) says how much one of them is, which only counts need to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from elman.errors import OptionError, did_you_mean


class Likelihood(Protocol):
    """What a forecaster learns by and what its raw outputs mean."""

    @property
    def count(self) -> int:
        """Raw numbers a value."""
        ...

    @property
    def spread(self) -> bool:
        """Whether the raw numbers say how uncertain the value is."""
        ...

    @property
    def counts(self) -> bool:
        """Whether values are counts: whole, not below 0, and never shifted."""
        ...

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        """(..., count), (...) -> (...): nats for likelihoods, else the error."""
        ...

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        """(..., count) -> (...): the forecast that this loss asks for, a mean or a median."""
        ...

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        """(..., count) -> (..., Q): the values that the target stays below with these probabilities."""
        ...

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        """(..., count) -> (...): one value each, drawn; the point where there is no spread."""
        ...


@dataclass(frozen=True)
class _Point:
    """One raw number, the forecast itself; no spread."""

    count: ClassVar[int] = 1
    spread: ClassVar[bool] = False
    counts: ClassVar[bool] = False

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        return raw[..., 0]

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        return raw.expand(*raw.shape[:-1], len(_levels(levels)))

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        return raw[..., 0]


@dataclass(frozen=True)
class Squared(_Point):
    """The squared error; its forecast is the mean."""

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        return (raw[..., 0] - target).square()


@dataclass(frozen=True)
class Absolute(_Point):
    """The absolute error; its forecast is the median."""

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        return (raw[..., 0] - target).abs()


@dataclass(frozen=True)
class Quantile:
    """The pinball loss of several quantiles, on average over them (Koenker & Bassett 1978); the forecast is the median.

    Raw quantiles that cross are put in order before use (Chernozhukov, Fernandez-Val & Galichon 2010).
    """

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    spread: ClassVar[bool] = True
    counts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if list(self.levels) != sorted(set(_levels(self.levels))) or 0.5 not in self.levels:
            raise OptionError(f"the quantiles must rise and have 0.5 among them, not {self.levels}")

    @property
    def count(self) -> int:
        return len(self.levels)

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        error = target[..., None] - raw
        levels = raw.new_tensor(self.levels)
        return torch.maximum(levels * error, (levels - 1) * error).mean(-1)

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        return raw.sort(-1).values[..., self.levels.index(0.5)]

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        """Between the learnt levels linear, beyond them the outermost."""
        wanted = raw.new_tensor(_levels(levels)).expand(*raw.shape[:-1], len(levels))
        return self._at(raw, wanted)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        chance = torch.rand(raw.shape[:-1], generator=generator, dtype=raw.dtype, device=raw.device)
        return self._at(raw, chance[..., None])[..., 0]

    def _at(self, raw: Tensor, wanted: Tensor) -> Tensor:
        known, values = raw.new_tensor(self.levels), raw.sort(-1).values
        if len(self.levels) == 1:
            return values.expand_as(wanted)
        above = torch.searchsorted(known, wanted.contiguous()).clamp(1, len(self.levels) - 1)
        low, high = known[above - 1], known[above]
        share = ((wanted - low) / (high - low)).clamp(0, 1)
        return values.gather(-1, above - 1) * (1 - share) + values.gather(-1, above) * share


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution; raw: mean, and the deviation through softplus."""

    count: ClassVar[int] = 2
    spread: ClassVar[bool] = True
    counts: ClassVar[bool] = False

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        deviation = _positive(raw[..., 1])
        return 0.5 * ((target - raw[..., 0]) / deviation).square() + deviation.log() + 0.5 * math.log(2 * math.pi)

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        return raw[..., 0]

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        standard: Tensor = torch.special.ndtri(raw.new_tensor(_levels(levels)))
        return raw[..., :1] + _positive(raw[..., 1:]) * standard

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        standard = torch.randn(raw.shape[:-1], generator=generator, dtype=raw.dtype, device=raw.device)
        return raw[..., 0] + _positive(raw[..., 1]) * standard


@dataclass(frozen=True)
class StudentT:
    """Student's t, for errors that are now and then large; raw: location, scale and degrees of freedom, which are above
    2 so that there is a variance."""

    count: ClassVar[int] = 3
    spread: ClassVar[bool] = True
    counts: ClassVar[bool] = False

    def _parts(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return raw[..., 0], _positive(raw[..., 1]), 2 + _positive(raw[..., 2])

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        location, width, freedom = self._parts(raw)
        squares = torch.log1p(((target - location) / width).square() / freedom)
        constant = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * (freedom * math.pi).log()
        return (freedom + 1) / 2 * squares + width.log() - constant

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        return raw[..., 0]

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        location, width, freedom = (part[..., None] for part in self._parts(raw.detach().double()))
        wanted = location.new_tensor(_levels(levels)).expand(*raw.shape[:-1], len(levels))
        return (location + width * _student_quantile(wanted, freedom.expand_as(wanted))).to(raw.dtype)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        location, width, freedom = self._parts(raw)
        standard = torch.randn(location.shape, generator=generator, dtype=raw.dtype, device=raw.device)
        chi_squared = 2 * _gamma(freedom / 2, generator)
        return location + width * standard * (freedom / chi_squared).sqrt()


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts of mean m and variance m + a·m²; raw: m in scaled units and a, both through softplus (as in Salinas et al.
    2020, DeepAR, section 3.1)."""

    count: ClassVar[int] = 2
    spread: ClassVar[bool] = True
    counts: ClassVar[bool] = True

    def _parts(self, raw: Tensor, scale: Any) -> tuple[Tensor, Tensor]:
        """The mean of the counts, and the number of failures 1 / a."""
        return _positive(raw[..., 0]) * scale, 1 / _positive(raw[..., 1])

    def loss(self, raw: Tensor, target: Tensor, scale: Any = 1.0) -> Tensor:
        mean, size = self._parts(raw, scale)
        count: Tensor = target * scale
        ways = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        return size * torch.log1p(mean / size) + count * torch.log1p(size / mean) - ways

    def point(self, raw: Tensor, scale: Any = 1.0) -> Tensor:
        return _positive(raw[..., 0])

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Any = 1.0) -> Tensor:
        unit = torch.as_tensor(scale, dtype=torch.float64, device=raw.device)
        mean, size = (part[..., None] for part in self._parts(raw.detach().double(), unit))
        wanted = mean.new_tensor(_levels(levels)).expand(*raw.shape[:-1], len(levels))
        found = _count_quantile(wanted, mean.expand_as(wanted), size.expand_as(wanted))
        return (found / unit[..., None]).to(raw.dtype)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None, scale: Any = 1.0) -> Tensor:
        mean, size = self._parts(raw, scale)
        drawn: Tensor = torch.poisson(_gamma(size, generator) * mean / size, generator=generator) / scale
        return drawn


def likelihood(name: str, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Likelihood:
    """The loss of this name (LOSSES); `quantiles` are those that "quantile" learns. OptionError for an unknown one."""
    if name not in LOSSES:
        raise OptionError(f"there is no loss {name!r}{did_you_mean(str(name), LOSSES)}")
    return Quantile(tuple(quantiles)) if name == "quantile" else LOSSES[name]()


LOSSES: dict[str, Callable[[], Likelihood]] = {
    "squared": Squared,
    "absolute": Absolute,
    "quantile": Quantile,
    "gaussian": Gaussian,
    "student-t": StudentT,
    "negative-binomial": NegativeBinomial,
}


def _positive(raw: Tensor) -> Tensor:
    """softplus, and a little more, so that a density stays finite."""
    result: Tensor = softplus(raw) + 1e-6
    return result


def _levels(levels: Sequence[float]) -> list[float]:
    if not levels or not all(0 < level < 1 for level in levels):
        raise OptionError(f"quantiles are one or more numbers between 0 and 1, not {tuple(levels)}")
    return list(levels)


def _gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gamma-distributed numbers of this shape and scale 1 (torch's own sampler; with the shape above 0)."""
    return torch._standard_gamma(shape, generator=generator).clamp(min=torch.finfo(shape.dtype).tiny)


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """The regularised incomplete beta function I_x(a, b), float64, element by element, without gradients.

    Lentz's continued fraction (Press et al., Numerical Recipes, 6.4), on the side of the mean where it converges fast.
    """
    turned = x > (a + 1) / (a + b + 2)
    a, b, x = torch.where(turned, b, a), torch.where(turned, a, b), torch.where(turned, 1 - x, x)
    logarithm = (
        torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b) + torch.xlogy(a, x) + torch.special.xlog1py(b, -x)
    )
    tiny = 1e-300
    c, d = torch.ones_like(x), 1 - (a + b) * x / (a + 1)
    d = 1 / torch.where(d.abs() < tiny, tiny, d)
    fraction = d.clone()
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = torch.ones_like(x)
        for term in (even, odd):
            d, c = 1 + term * d, 1 + term / c
            d, c = 1 / torch.where(d.abs() < tiny, tiny, d), torch.where(c.abs() < tiny, tiny, c)
            step = c * d
            fraction = fraction * step
        if bool(((step - 1).abs() < 1e-14).all()):
            break
    result = (logarithm.exp() * fraction / a).clamp(0, 1)
    return torch.where(turned, 1 - result, result)


def _student_quantile(level: Tensor, freedom: Tensor) -> Tensor:
    """Of Student's t: Newton's method in the upper half, where the distribution function is concave, so that it rises
    from the normal quantile to the root without ever passing it."""
    tail = torch.minimum(level, 1 - level)
    found = -torch.special.ndtri(tail)
    constant = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * (freedom * math.pi).log()
    half = torch.full_like(freedom, 0.5)
    for _ in range(200):
        beyond = 0.5 * incomplete_beta(freedom / 2, half, freedom / (freedom + found.square()))
        density = (constant - (freedom + 1) / 2 * torch.log1p(found.square() / freedom)).exp()
        step = (beyond - tail) / density
        found = found + step
        if bool((step.abs() <= 1e-12 * (1 + found)).all()):
            break
    return torch.where(level < 0.5, -found, found)


def _count_quantile(level: Tensor, mean: Tensor, size: Tensor) -> Tensor:
    """Of the negative binomial: the least whole number that the count stays at or below with probability `level`."""
    share = size / (size + mean)
    low, high = torch.full_like(mean, -1.0), (mean + 1).ceil()
    while True:  # a bound that is high enough, then halving
        short = incomplete_beta(size, high + 1, share) < level
        if not bool(short.any()):
            break
        low, high = torch.where(short, high, low), torch.where(short, 2 * high, high)
    while bool((high - low > 1).any()):
        middle = ((low + high) / 2).ceil()  # never below 0
        short = incomplete_beta(size, middle + 1, share) < level
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return high
