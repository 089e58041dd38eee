"""The network of a language model: embedding, recurrent layers, output, and the dropout around them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from elman.errors import OptionError
from elman.models.estimator import initial_embedding, initial_linear
from elman.nn import Recurrent
from elman.nn.noise import Noise, drop_input
from elman.nn.recurrent import State


class LanguageNetwork(nn.Module):
    """Tokens (T, B) -> logits (T, B, V) and the state to carry on.

    dropout: of single numbers of the tokens' vectors and of what the output reads. In training alone, the same at every
    step (Gal & Ghahramani 2016): vector_dropout and output_dropout, of units in these two places; embedding_dropout, of
    kinds of token, all of whose vectors are then zero.
    """

    def __init__(
        self,
        vocabulary_size: int,
        recurrent: Recurrent,
        dropout: float,
        tied: bool,
        *,
        vector_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        size = recurrent.input_size
        self.embedding = initial_embedding(vocabulary_size, size)
        self.dropout = nn.Dropout(dropout)
        self.vector_dropout, self.embedding_dropout = vector_dropout, embedding_dropout
        self.output_dropout = output_dropout
        self.recurrent = recurrent
        self.output = initial_linear(nn.Linear(recurrent.output_size, vocabulary_size))
        if tied:  # Press & Wolf 2017; Inan et al. 2017
            if size != recurrent.output_size:
                raise OptionError(
                    f"--tied needs an embedding as wide as the output of the recurrent layers: embedding_size "
                    f"{size} is not {recurrent.output_size}; set --embedding-size {recurrent.output_size}"
                )
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None, lengths: Any = None) -> tuple[Tensor, State]:
        output, state = self.read(tokens, state, lengths)
        return self.output(self.dropped(output)), state

    def read(self, tokens: Tensor, state: State | None = None, lengths: Any = None) -> tuple[Tensor, State]:
        """The output (T, B, H) of the last recurrent layer, and the state."""
        x = self.embedding(tokens)
        if self.training and self.embedding_dropout:
            kept = x.new_empty(self.embedding.num_embeddings).bernoulli_(1 - self.embedding_dropout)
            x = x * (kept / (1 - self.embedding_dropout))[tokens][..., None]
        x = self.dropout(self._locked(x, self.vector_dropout))
        output, state = self.recurrent(x, state, lengths=lengths)
        return output, state

    def dropped(self, output: Tensor) -> Tensor:
        """The output of the last layer as the output matrix reads it."""
        dropped: Tensor = self.dropout(self._locked(output, self.output_dropout))
        return dropped

    def _locked(self, x: Tensor, rate: float) -> Tensor:
        return drop_input(x, rate, Noise.draw(x.shape[1], x.device)) if self.training and rate else x
