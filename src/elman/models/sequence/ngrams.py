"""Direct connections: n-grams of tokens that the output reads beside the recurrent layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman.runtime.ngrams import BITS, EDGE, MULTIPLIER, SCALE, SHIFT


class Direct(nn.Module):
    """Tokens (T, B), lengths (B) -> logits (B, V): the sum of the rows of all n-grams of 1 to `order` tokens, the edges
    of the sequence among them, over the root of their number (Mikolov et al. 2011, by sequence instead of by step).

    The rows are found by hashing; n-grams may share one. dropout: of n-grams.
    """

    def __init__(self, order: int, rows: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.order, self.dropout = order, nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(rows, outputs))

    def forward(self, tokens: Tensor, lengths: Any) -> Tensor:
        tokens, lengths = tokens.long(), torch.as_tensor(lengths, device=tokens.device)  # hashes need 64 bits
        places = torch.arange(len(tokens) + 2, device=tokens.device)[:, None]
        edged = nn.functional.pad(tokens + 1, (0, 0, 1, 1), value=EDGE).masked_fill(places > lengths, EDGE)
        rows, inside = [], []
        for n in range(1, self.order + 1):
            first = max(1, n - 1)  # the place of their last tokens; the edge alone is none
            found = torch.full_like(edged[first:], n)
            for k in range(first - n + 1, first + 1):
                found = found * MULTIPLIER + edged[k : k + len(found)]  # modulo 2^64, as in `elman.runtime.ngrams.row`
            rows.append((found * MULTIPLIER >> SHIFT & BITS) % len(self.weight))
            inside.append(places[first:] <= lengths + 1)
        counts = torch.cat(inside).T.to(self.weight.dtype)
        shares = self.dropout(counts) * (SCALE / counts.sum(1, keepdim=True).sqrt())
        return nn.functional.embedding_bag(torch.cat(rows).T, self.weight, mode="sum", per_sample_weights=shares)
