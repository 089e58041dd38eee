"""Count models of characters, the baselines that a recurrent model must beat."""

from __future__ import annotations

import math
from collections import defaultdict


def character_bits(train: str, valid: str, order: int) -> float:
    """Bits per character of `valid` under an interpolated n-gram model of the last `order` characters.

    Witten-Bell smoothing (Witten & Bell 1991) down to a uniform distribution over the characters seen and one more.
    order 0 uses the characters' frequencies alone.
    """
    counts: list[dict[str, dict[str, int]]] = [defaultdict(lambda: defaultdict(int)) for _ in range(order + 1)]
    for place, letter in enumerate(train):
        for n in range(min(order, place) + 1):
            counts[n][train[place - n : place]][letter] += 1
    totals = [{context: sum(seen.values()) for context, seen in level.items()} for level in counts]
    uniform = 1.0 / (len(set(train)) + 1)
    nats = 0.0
    for place, letter in enumerate(valid):
        probability = uniform
        for n in range(min(order, place) + 1):
            context = valid[place - n : place]
            seen = counts[n].get(context)
            if seen is None:
                break
            total, kinds = totals[n][context], len(seen)
            probability = (seen.get(letter, 0) + kinds * probability) / (total + kinds)
        nats -= math.log(probability)
    return nats / math.log(2) / max(1, len(valid))
