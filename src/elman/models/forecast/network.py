"""The network of a forecaster, and how it draws futures step by step when each step reads the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.models.estimator import as_tensor, initial_embedding
from elman.models.forecast.windows import Batch, Recipe
from elman.nn import Head, Recurrent
from elman.nn.likelihood import Likelihood


class ForecastNetwork(nn.Module):
    """Windows (T, B, I) and series (B) -> raw numbers of the likelihood for each step wanted (T', B, P), state."""

    def __init__(
        self, recurrent: Recurrent, raw: int, head_sizes: Sequence[int], dropout: float, series: tuple[int, int] | None
    ) -> None:
        """series: (how many are known apart, numbers that stand for one), or None."""
        super().__init__()
        self.series = None if series is None else initial_embedding(*series)
        self.recurrent = recurrent
        self.head = Head(recurrent.output_size, raw, head_sizes, dropout=dropout)
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        if not last.weight.is_meta:
            # Begins near the reference: a forecast that is already as good as a naive one has only to become better.
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, series: Tensor, state: Any = None, *, last: int | None = None) -> tuple[Tensor, Any]:
        """last: only the raw numbers of so many last steps."""
        if self.series is not None:
            x = torch.cat([x, self.series(series).expand(len(x), -1, -1)], -1)
        output, state = self.recurrent(x, state)
        return self.head(output if last is None else output[-last:]), state


def tensors(batch: Batch, like: Tensor) -> dict[str, Tensor]:
    """The arrays of a batch on the device of `like`."""
    return {name: as_tensor(array, like) for name, array in vars(batch).items()}


def loss(
    network: ForecastNetwork, likelihood: Likelihood, recipe: Recipe, batch: Batch, like: Tensor
) -> tuple[Tensor, Tensor]:
    """(sum of the loss, number of values) over the horizon (direct) or over every step (recursive: teacher forcing)."""
    given = tensors(batch, like)
    steps = None if recipe.recursive else recipe.horizon
    raw, _ = network(given["x"], given["series"], last=steps)
    target, inside, reference = (given[name][-len(raw) :] for name in ("target", "inside", "reference"))
    each = likelihood.loss(raw, (target - reference).masked_fill(~inside, 0.0), given["scale"])
    return each.masked_fill(~inside, 0.0).sum(), inside.sum()


@torch.no_grad()
def direct(
    network: ForecastNetwork,
    likelihood: Likelihood,
    recipe: Recipe,
    batch: Batch,
    levels: Sequence[float],
    like: Tensor,
) -> tuple[Tensor, Tensor]:
    """Scaled forecasts (H, B) and quantiles (H, B, Q)."""
    given = tensors(batch, like)
    raw, _ = network(given["x"], given["series"], last=recipe.horizon)
    reference = given["reference"][-recipe.horizon :]
    point = likelihood.point(raw, given["scale"]) + reference
    return point, likelihood.quantiles(raw, levels, given["scale"]) + reference[..., None]


@torch.no_grad()
def paths(
    network: ForecastNetwork,
    likelihood: Likelihood,
    recipe: Recipe,
    batch: Batch,
    samples: int,
    generator: torch.Generator,
    like: Tensor,
) -> Tensor:
    """Scaled futures (H, B, S), drawn step by step (Salinas et al. 2020, DeepAR); a loss without spread has one."""
    given = tensors(batch, like)
    count = given["x"].shape[1]
    samples = samples if likelihood.spread else 1
    raw, state = network(given["x"][: recipe.lookback + 1], given["series"], last=1)

    def each(rows: Tensor, dim: int) -> Tensor:
        return rows.repeat_interleave(samples, dim)

    raw, scale, series = each(raw[0], 0), each(given["scale"], 0), each(given["series"], 0)
    state = tuple(tuple(each(part, 0) for part in layer) for layer in state)
    values = list(each(given["recent"], 1))  # of R steps and then of the horizon, (B·S) each
    reference = each(given["reference"][recipe.lookback], 0)
    for step in range(recipe.lookback + 1, recipe.lookback + recipe.horizon + 1):
        values.append(likelihood.sample(raw, generator, scale) + reference)
        if step == recipe.lookback + recipe.horizon:
            break
        columns = [values[-1], values[-1] - values[-2], torch.ones_like(values[-1])]
        for season in recipe.seasons:
            columns += [values[-season], values[-1] - values[-1 - season]]
        x = torch.cat([torch.stack(columns, -1), each(given["x"][step, :, recipe.moving :], 0)], -1)
        if recipe.relative != "none":
            reference = values[-recipe.seasons[0]] if recipe.relative == "season" else values[-1]
        raw, state = network(x[None], series, state)
        raw = raw[0]
    return torch.stack(values[-recipe.horizon :]).view(recipe.horizon, count, samples)
