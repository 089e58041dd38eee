"""The decoder: a recurrent network that writes tokens, with attention to a memory or without. Knows of no encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman.errors import OptionError
from elman.models.estimator import initial_linear
from elman.nn import Attention, Recurrent
from elman.nn.attention import Memory
from elman.nn.loss import linear_cross_entropy
from elman.nn.recurrent import State


class Carried(NamedTuple):
    """What a decoder carries from step to step; every tensor has a row for each sequence."""

    state: State
    fed: Tensor | None
    """The readout of the step before (B, E), where input is fed."""


class DecoderNetwork(nn.Module):
    """Writes tokens. A task's network inherits it and adds what reads the input.

    A step: the previous token's vector enters the recurrent layers; their output looks at the memory; readout
    tanh(W·[output, context]) (Luong, Pham & Manning 2015), then logits. Attention comes after the recurrence with
    either score, so that nothing found at a step is needed by the next, and all steps of given tokens run at once.
    `feeding` gives each readout to the next step, too (their input feeding): better informed, one step at a time.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        decoder: Recurrent,
        summary_size: int,
        attention: Attention | None = None,
        *,
        dropout: float = 0.0,
        feeding: bool = False,
        tied: bool = False,
    ) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self.target, self.decoder, self.attention, self.feeding = embedding, decoder, attention, feeding
        if feeding and attention is None:
            raise OptionError(
                "--input-feeding feeds on what attention finds; choose --attention additive or dot with it"
            )
        if any(layer.direction != "forward" for layer in decoder.each_layer()):
            raise OptionError("a decoder writes from the first token to the last: its layers run forward only")
        if decoder.input_size != size * (1 + feeding):
            raise OptionError(
                f"the decoder takes {decoder.input_size} inputs, but its tokens give {size * (1 + feeding)}"
            )
        self.initial = initial_linear(nn.Linear(summary_size, sum(self._begun())))
        seen = decoder.output_size + (0 if attention is None else attention.key.in_features)
        self.readout = initial_linear(nn.Linear(seen, size))
        self.output = initial_linear(nn.Linear(size, embedding.num_embeddings))
        if tied:  # Press & Wolf 2017; Inan et al. 2017
            self.output.weight = embedding.weight
        self.dropout = nn.Dropout(dropout)

    def _begun(self) -> list[int]:
        """Units of the states that the summary decides: all, but of cells with more than two the output alone, as a
        normaliser must begin at 0."""
        parts = [part.state_sizes for part in self.decoder.parts()]
        return [size for sizes in parts for size in (sizes if len(sizes) <= 2 else sizes[:1])]

    def begin(self, summary: Tensor) -> Carried:
        """Before the first step, of a summary (B, N) of the input."""
        given = iter(self.initial(summary).tanh().split(self._begun(), -1))
        state = []
        for part in self.decoder.parts():
            zeros = part.zeros(len(summary))
            state.append(tuple(next(given) if len(zeros) <= 2 or not k else zero for k, zero in enumerate(zeros)))
        fed = summary.new_zeros(len(summary), self.target.embedding_dim) if self.feeding else None
        return Carried(tuple(state), fed)

    def remember(self, values: Tensor, lengths: Any = None) -> Memory | None:
        """What attention needs of the memory (S, B, M); None without attention."""
        return None if self.attention is None else self.attention.remember(values, lengths)

    def forward(
        self, tokens: Tensor, carried: Carried, memory: Memory | None, lengths: Any = None
    ) -> tuple[Tensor, Carried, Tensor | None]:
        """Given tokens (T, B) -> readouts (T, B, E), what is carried on, attention weights (T, B, S) or None."""
        x = self.dropout(self.target(tokens))
        if carried.fed is None:
            return self._read(x, carried, memory, lengths)
        readouts, weights = [], []
        for one in x:
            readout, carried, weight = self._read(one[None], carried, memory)
            readouts.append(readout)
            weights.append(weight)
        return torch.cat(readouts), carried, torch.cat(weights) if readouts else None  # type: ignore[arg-type]

    def _read(
        self, x: Tensor, carried: Carried, memory: Memory | None, lengths: Any = None
    ) -> tuple[Tensor, Carried, Tensor | None]:
        """The same of the tokens' vectors (T, B, E); with feeding T is 1."""
        if carried.fed is not None:
            x = torch.cat([x, carried.fed[None]], -1)
        output, state = self.decoder(x, carried.state, lengths=lengths)
        weights = None
        if self.attention is not None:
            assert memory is not None
            context, weights = self.attention(output, memory)
            output = torch.cat([output, context], -1)
        readout = self.dropout(self.readout(output).tanh())
        return readout, Carried(state, None if carried.fed is None else readout[-1]), weights

    def sampled(self, tokens: Tensor, carried: Carried, memory: Memory | None, probability: float) -> Tensor:
        """Readouts (T, B, E) where each token but the first is, with this probability, one drawn from the network's own
        distribution instead of the given one (scheduled sampling, Bengio et al. 2015)."""
        readouts: list[Tensor] = []
        for given in tokens:
            if readouts:
                with torch.no_grad():
                    own = torch.multinomial(self.output(readouts[-1][0]).softmax(-1), 1)[:, 0]
                given = torch.where(torch.rand(given.shape, device=given.device) < probability, own, given)
            readout, carried, _ = self._read(self.dropout(self.target(given))[None], carried, memory)
            readouts.append(readout)
        return torch.cat(readouts)

    def step(self, tokens: Tensor, carried: Carried, memory: Memory | None) -> tuple[Tensor, Carried]:
        """One step of K sequences for each of B memories: tokens (K·B), row k·B + b of memory b -> logits (K·B, V)."""
        x = self.dropout(self.target(tokens))
        if carried.fed is not None:
            x = torch.cat([x, carried.fed], -1)
        output, state = self.decoder(x[None], carried.state)
        seen = output[0]
        if self.attention is not None:
            assert memory is not None
            # The K sequences are K queries to one memory, which need not be repeated.
            context, _ = self.attention(seen.view(-1, len(memory.inside), seen.shape[-1]), memory)
            seen = torch.cat([seen, context.flatten(0, 1)], -1)
        readout = self.readout(seen).tanh()
        return self.output(readout), Carried(state, None if carried.fed is None else readout)

    def loss(self, readouts: Tensor, targets: Tensor, lengths: Sequence[int], smoothing: float = 0.0) -> Tensor:
        """Cross-entropy, nats a token, of readouts (T, B, E) against targets (T, B); logits never exist all at once."""
        inside = torch.arange(len(targets), device=targets.device)[:, None] < torch.as_tensor(
            lengths, device=targets.device
        )
        total = linear_cross_entropy(
            readouts[inside], self.output.weight, self.output.bias, targets[inside], smoothing=smoothing
        )
        return total / max(1, int(sum(lengths)))
