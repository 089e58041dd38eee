"""Drawing a token from logits: temperature, the k likeliest, the nucleus."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.errors import OptionError


def draw(
    logits: Tensor, generator: torch.Generator, temperature: float, top_k: int | None, top_p: float | None, never: Sequence[int] = ()
) -> int:
    """One token drawn from logits (V): see `LanguageModel.stream`. `never`: tokens that are not drawn."""
    if temperature < 0:
        raise OptionError(f"--temperature must be 0 or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise OptionError(f"--top-k must be 1 or more, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise OptionError(f"--top-p must be above 0 and at most 1, not {top_p}")
    logits = logits.clone()
    logits[list(never)] = -torch.inf
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if top_k is not None:
        keep[top_k:] = False
    if top_p is not None:
        # What stands before a token is below p: the token that reaches p is still in, and there is always one.
        keep &= probabilities.cumsum(0) - probabilities < top_p
    return int(order[torch.multinomial(probabilities * keep, 1, generator=generator)])
