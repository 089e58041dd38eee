"""Outputs that are sets of labels: each label for itself, or each given those before it (NADE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = ("independent", "nade")
DRAWS = 100  # of whole sets, whose mean gives the probability of a label under NADE


class Independent(nn.Module):
    """p(set | h) = Π_k p(label k | h): from what stands below (N, H), K labels."""

    def __init__(self, size: int, labels: int) -> None:
        super().__init__()
        self.logits = nn.Linear(size, labels)

    def begin(self, shares: Tensor) -> None:
        """As labels that come in these shares (K) of the steps, above 0 and below 1, whatever stands below."""
        _begin(self.logits, shares)

    def nats(self, h: Tensor, sets: Tensor) -> Tensor:
        """-log p of sets (N, K) of 0 and 1, each whole: (N)."""
        return nn.functional.binary_cross_entropy_with_logits(self.logits(h), sets, reduction="none").sum(-1)

    def draw(self, h: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """A set for each row of h (N, K), of 0 and 1. temperature divides the logits; 0: no chance at all."""
        return _drawn(self.logits(h), generator, temperature)[0]

    def probabilities(self, h: Tensor) -> Tensor:
        """The probability of each label (N, K)."""
        return torch.sigmoid(self.logits(h))


class Nade(nn.Module):
    """p(set | h) = Π_k p(label k | labels before k, h): the neural autoregressive distribution estimator (Larochelle &
    Murray 2011), whose biases come from below, as in RNN-NADE (Boulanger-Lewandowski, Bengio & Vincent 2012).

        p(k) = σ(b_k + U_k·σ(c + Σ_{j<k, j in the set} W_j)),  b = B·h + b_0,  c = C·h + c_0;  D units in W, U and c.
    """

    def __init__(self, size: int, labels: int, units: int) -> None:
        super().__init__()
        self.visible, self.hidden = nn.Linear(size, labels), nn.Linear(size, units)
        self.inputs = nn.Parameter(torch.empty(labels, units))
        self.outputs = nn.Parameter(torch.empty(labels, units))
        if not self.inputs.is_meta:
            nn.init.normal_(self.inputs, std=0.1)
            nn.init.normal_(self.outputs, std=units**-0.5)

    def begin(self, shares: Tensor) -> None:
        """As `Independent.begin`: no label depends on those before it."""
        _begin(self.visible, shares)
        nn.init.zeros_(self.outputs)

    def nats(self, h: Tensor, sets: Tensor) -> Tensor:
        """-log p of sets (N, K) of 0 and 1, each whole: (N).

        The hidden units change at labels of the set alone: there are as many of them to compute as the largest set has
        labels, and one more, not K.
        """
        labels = sets.shape[1]
        before = (sets.cumsum(1) - sets).long()  # how many labels of the set come before each
        most = int(sets.sum(1).max()) if len(sets) else 0
        places = torch.arange(labels, device=sets.device)
        present = torch.where(sets > 0, places, labels).sort(1).values[:, :most]  # a row of zeros fills up
        rows = nn.functional.embedding(present, nn.functional.pad(self.inputs, (0, 0, 0, 1)))  # (N, most, D)
        c = self.hidden(h)[:, None]
        units = torch.sigmoid(torch.cat([c, c + rows.cumsum(1)], 1))  # (N, most + 1, D)
        logits = self.visible(h) + (units @ self.outputs.T).gather(1, before[:, None])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, sets, reduction="none").sum(-1)

    def draw(self, h: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """As `Independent.draw`, label by label."""
        return self._walk(h, generator, temperature)[0]

    def probabilities(self, h: Tensor) -> Tensor:
        """The probability of each label (N, K): the mean over sets that are drawn, always from the same seed."""
        generator = torch.Generator().manual_seed(0)
        parts = [
            self._walk(part.repeat_interleave(DRAWS, 0), generator, 1.0)[1].view(-1, DRAWS, len(self.inputs)).mean(1)
            for part in torch.split(h, 256)
        ]
        return torch.cat(parts) if parts else h.new_zeros(0, len(self.inputs))

    def _walk(self, h: Tensor, generator: torch.Generator, temperature: float) -> tuple[Tensor, Tensor]:
        """Sets (N, K) that are drawn, and what the probability of each of their labels was."""
        b, a = self.visible(h), self.hidden(h)
        drawn, chances = torch.empty_like(b), torch.empty_like(b)
        for k, (weight, out) in enumerate(zip(self.inputs, self.outputs)):
            drawn[:, k], chances[:, k] = _drawn(b[:, k] + torch.sigmoid(a) @ out, generator, temperature)
            a = torch.addcmul(a, drawn[:, k, None], weight)
        return drawn, chances


@torch.no_grad()
def _begin(linear: nn.Linear, shares: Tensor) -> None:
    nn.init.zeros_(linear.weight)
    linear.bias.copy_(torch.logit(shares))


def _drawn(logits: Tensor, generator: torch.Generator, temperature: float) -> tuple[Tensor, Tensor]:
    """0 or 1 for each logit, and the probability of 1."""
    if temperature == 0:
        chances = (logits > 0).to(logits.dtype)
    else:
        chances = torch.sigmoid(logits / temperature)
    return (torch.rand(logits.shape, generator=generator).to(logits) < chances).to(logits.dtype), chances


def make_head(kind: str, size: int, labels: int, units: int) -> Independent | Nade:
    """The head called `kind`."""
    return Nade(size, labels, units) if kind == "nade" else Independent(size, labels)
