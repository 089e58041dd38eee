"""The network of an encoder-decoder: recurrent layers that read a sequence, and the decoder that writes another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman.models.write.decoder import Carried, DecoderNetwork
from elman.nn import Attention, Recurrent
from elman.nn.attention import Memory
from elman.nn.head import last_output


class TransducerNetwork(DecoderNetwork):
    """Source tokens (S, B) -> the memory (S, B, M) and its summary (B, M), from which the decoder writes."""

    def __init__(
        self, source: nn.Embedding, target: nn.Embedding, encoder: Recurrent, decoder: Recurrent,
        attention: Attention | None, initial_state: str, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(target, decoder, encoder.output_size, attention, **options)
        self.source, self.encoder, self.initial_state = source, encoder, initial_state

    def encode(self, tokens: Tensor, lengths: Any) -> tuple[Memory | None, Carried]:
        """What the decoder looks at, and what it begins from."""
        output, state = self.encoder(self.dropout(self.source(tokens)), lengths=lengths)
        if self.initial_state == "final":
            summary = last_output(self.encoder, state)
        else:
            summary = output.sum(0) / torch.as_tensor(lengths, device=output.device)[:, None]
        return self.remember(self.dropout(output), lengths), self.begin(summary)
