"""The output's direct connections from n-grams of tokens, a step at a time, and how n-grams are hashed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elman.errors import DataError, ModelFileError
from elman.runtime import claims
from elman.runtime.claims import Array, Floats
from elman.runtime.document import Document
from elman.runtime.inputs import Input, Tokens

EDGE = 0
"""What stands before the first token and after the last; a token is its number and 1."""
MOST = 8
"""Tokens of an n-gram, at most."""
MOST_ROWS = 1 << 24
MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
"""2^64 over the golden ratio, as a signed number: multiplicative hashing (Knuth 1973, section 6.4)."""
SHIFT, BITS = 33, (1 << 31) - 1
"""The highest bits of a hash, which depend on every token."""
SCALE = 10.0
"""A row is met in few steps: with Adam it goes so much further than other weights at the same learning rate."""


def row(ngram: Sequence[int], rows: int) -> int:
    """The one of so many rows that an n-gram of edges and tokens has; others may have the same."""
    found = len(ngram)
    for token in ngram:
        found = (found * MULTIPLIER + token) & 0xFFFF_FFFF_FFFF_FFFF
    return (found * MULTIPLIER >> SHIFT & BITS) % rows


class Direct:
    """`elman.models.sequence.ngrams.Direct`, which see: adds to logits (V,) what the n-grams so far say, as if the
    sequence ended here."""

    def __init__(self, document: Document, tensors: Mapping[str, Array], tokens: Input, size: int) -> None:
        order, rows = document.options.get("ngrams"), document.options.get("ngram_rows", 1 << 16)
        if type(order) is not int or not 1 <= order <= MOST or type(rows) is not int or rows < 1:
            raise ModelFileError(f"ngrams must be a whole number up to {MOST}, and ngram_rows one above 0")
        if not isinstance(tokens, Tokens):
            raise ModelFileError("n-grams are of tokens, and the model reads none")
        self._tokens, self._order, self._rows = tokens, order, claims.weight(tensors, "direct.weight", (rows, size))
        self._sum, self._made = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._count, self._last = 0, [EDGE]

    def reset(self) -> None:
        """Back to before the first step."""
        self._sum[:] = 0
        self._count, self._last = 0, [EDGE]

    @property
    def state(self) -> list[Floats]:
        """The sum of the rows so far, their number, and the last tokens: copies."""
        window = np.full(self._order, -1, np.float32)
        window[: len(self._last)] = self._last
        return [self._sum.copy(), np.array([self._count], np.float32), window]

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        self._sum[:] = state[0]
        self._count, self._last = int(state[1][0]), [int(token) for token in state[2] if token >= 0]

    @staticmethod
    def check(state: Sequence[Floats]) -> None:
        """DataError unless it can be what `state` gave."""
        _, count, window = state
        if not (0 <= count[0] < np.inf and np.isfinite(window).all()):
            raise DataError("the state of the n-grams must be one that a stream of this model gave")

    def one(self, x: Any, logits: Floats) -> None:
        """After one more token, its text or its number."""
        token = self._tokens.place(x) + 1
        self._count += self._add(self._sum, token)
        self._last = [*self._last, token][-self._order :]
        np.copyto(self._made, self._sum)
        count = self._count + self._add(self._made, EDGE)
        np.multiply(self._made, np.float32(SCALE / math.sqrt(count)), out=self._made)
        np.add(logits, self._made, out=logits)

    def _add(self, total: Floats, token: int) -> int:
        """Add the rows of the n-grams that a token ends; how many there are."""
        tokens = [*self._last, token]
        longest = min(self._order, len(tokens))
        for n in range(1, longest + 1):
            np.add(total, self._rows[row(tokens[-n:], len(self._rows))], out=total)
        return longest
