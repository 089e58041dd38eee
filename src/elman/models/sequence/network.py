"""The network of classifiers and regressors of whole sequences: recurrent layers, pooling over the steps, a head, and
direct connections from n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.models.estimator import initial_embedding, initial_linear
from elman.models.sequence.ngrams import Direct
from elman.nn import Head, Pool, Recurrent
from elman.nn.head import last_output


class SequenceNetwork(nn.Module):
    """Tokens (T, B) or series (T, B, I), lengths (B) -> outputs (B, V).

    direct: adds to the outputs what it makes of the tokens themselves.
    """

    def __init__(
        self,
        vocabulary_size: int | None,
        recurrent: Recurrent,
        pooling: str,
        head_sizes: Sequence[int],
        outputs: int,
        dropout: float,
        noise: float,
        direct: Direct | None = None,
    ) -> None:
        super().__init__()
        size = recurrent.input_size
        self.embedding = None if vocabulary_size is None else initial_embedding(vocabulary_size, size)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(size, device="cpu"))
        self.register_buffer("scale", torch.ones(size, device="cpu"))
        self.dropout, self.noise = nn.Dropout(dropout), noise
        self.recurrent = recurrent
        self.pool = Pool(pooling, recurrent.output_size)
        self.head = Head(recurrent.output_size, outputs, head_sizes, dropout=dropout)
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)
        self.direct = direct

    def forward(self, x: Tensor, lengths: Any) -> Tensor:
        tokens = x
        if self.embedding is not None:
            x = self.dropout(self.embedding(x))
        else:
            x = (x - self.mean) / self.scale
            x = x + self.noise * torch.randn_like(x) if self.training and self.noise else x
        output, state = self.recurrent(x, lengths=lengths)
        pooled: Tensor = self.head(self.pool(output, last_output(self.recurrent, state), lengths))
        return pooled if self.direct is None else pooled + self.direct(tokens, lengths)
