"""Drawing a token from logits: temperature, the k likeliest, the nucleus."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from elman.errors import OptionError


def check(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises OptionError for what cannot be drawn with."""
    if not 0 <= temperature < math.inf:
        raise OptionError(f"--temperature must be a number, 0 or more, not {temperature!r}")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise OptionError(f"--top-k must be a whole number, 1 or more, not {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise OptionError(f"--top-p must be above 0 and at most 1, not {top_p!r}")


def draw(
    logits: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    never: Sequence[int] = (),
) -> int:
    """The number of a token drawn from logits (V): see `LanguageModel.stream`. `never`: tokens that are not drawn."""
    check(temperature, top_k, top_p)
    logits = logits.double()
    logits = logits.index_fill(0, torch.tensor(list(never), dtype=torch.long), -torch.inf)
    if temperature == 0:
        return int(logits.argmax())
    # Less the largest: a temperature near 0 then gives 0 and minus infinity, and no NaN.
    probabilities, order = ((logits - logits.max()) / temperature).softmax(0).sort(descending=True, stable=True)
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if top_k is not None:
        keep[top_k:] = False
    if top_p is not None:
        # What stands before a token is below p: the token that reaches p is still in, and there is always one.
        keep &= probabilities.cumsum(0) - probabilities < top_p
    return int(order[torch.multinomial(probabilities * keep, 1, generator=generator)])
