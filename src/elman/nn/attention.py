"""Attention: a decoder's states look at the parts of a memory, such as an encoder's outputs or regions of an image."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from elman.errors import DataError, OptionError, did_you_mean
from elman.nn import ragged

KINDS = ("additive", "dot")
MOST = 1 << 24
"""Numbers that additive attention holds at once for all its pairs of query and part: 64 MiB."""


class Memory(NamedTuple):
    """What is attended to, prepared once for all queries."""

    values: Tensor
    """(B, S, M)."""
    keys: Tensor
    """(B, S, A)."""
    inside: Tensor
    """Which parts there are: booleans (B, S)."""


class Attention(nn.Module):
    """Queries (T, B, Q) to a memory of S parts (B, S, M) -> contexts (T, B, M) and weights (T, B, S).

    kind: "additive", scores v·tanh(W·q + U·m + b) (Bahdanau, Cho & Bengio 2015), or "dot", scores q·(U·m) (Luong, Pham
    & Manning 2015, their "general"). size: A, the units that queries and parts are compared in; with "dot" always Q.
    A memory without parts gives zeros.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, size: int | None = None) -> None:
        super().__init__()
        if kind not in KINDS:
            raise OptionError(f"unknown attention {kind!r}{did_you_mean(str(kind), KINDS)}")
        self.kind = kind
        size = size or query_size
        additive = kind == "additive"
        self.key = nn.Linear(memory_size, size if additive else query_size, bias=additive)
        self.query = nn.Linear(query_size, size, bias=False) if additive else None
        self.score = nn.Linear(size, 1, bias=False) if additive else None
        for linear in (self.key, self.query, self.score):
            if linear is not None:
                nn.init.xavier_uniform_(linear.weight)
        if additive:
            nn.init.zeros_(self.key.bias)

    def remember(self, values: Tensor, lengths: Any = None) -> Memory:
        """The memory of parts (S, B, M), of which the first `lengths` (B) are there."""
        if values.dim() != 3 or values.shape[-1] != self.key.in_features:
            raise DataError(f"a memory has the shape (S, B, {self.key.in_features}), not {tuple(values.shape)}")
        parts, batch, _ = values.shape
        ends = [parts] * batch if lengths is None else ragged.checked_lengths(lengths, parts, batch)
        inside = ragged.inside(ends, values)[..., 0].T  # (B, S)
        values = values.transpose(0, 1).contiguous().masked_fill(~inside[..., None], 0)  # 0 times a NaN would be NaN
        return Memory(values, self.key(values), inside)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        scores = self._scores(query.transpose(0, 1), memory.keys)  # (B, T, S)
        inside = memory.inside[:, None]
        weights = scores.masked_fill(~inside, torch.finfo(scores.dtype).min).softmax(-1) * inside
        return (weights @ memory.values).transpose(0, 1), weights.transpose(0, 1)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, T, Q) and (B, S, A) -> (B, T, S)."""
        if self.query is None:
            return query @ keys.transpose(1, 2)
        query = self.query(query)
        steps, pairs = query.shape[1], max(1, query.shape[0] * keys.shape[1] * keys.shape[2])
        if steps * pairs <= MOST:
            return self._compared(query, keys)
        # Too much to keep until the backward pass: it is computed again there, some steps at a time.
        return torch.cat(
            [
                checkpoint(self._compared, some, keys, use_reentrant=False, preserve_rng_state=False)
                for some in torch.split(query, max(1, MOST // pairs), 1)
            ],
            1,
        )

    def _compared(self, query: Tensor, keys: Tensor) -> Tensor:
        """v·tanh(q + k) for all pairs: (B, T, A), (B, S, A) -> (B, T, S)."""
        assert self.score is not None
        compared: Tensor = self.score((query[:, :, None] + keys[:, None]).tanh_())[..., 0]
        return compared

    def extra_repr(self) -> str:
        return self.kind
