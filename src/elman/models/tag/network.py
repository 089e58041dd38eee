"""The network of a tagger: words by their embedding, letters and shape, read in context, a row of logits each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from elman.models.estimator import initial_embedding, initial_linear
from elman.nn import CRF, Head, Recurrent
from elman.nn.head import last_output


class Batch(NamedTuple):
    """Sentences as the network reads them; U distinct words, of K letters at most."""

    words: Tensor  # (T, B)
    which: Tensor  # (T, B): each word's place among the distinct ones
    letters: Tensor  # (K, U)
    shapes: Tensor  # (U,)
    letter_counts: np.ndarray  # (U,)
    lengths: np.ndarray  # (B,)


class TaggerNetwork(nn.Module):
    """A Batch -> logits (T, B, V); `crf`, where there is one, chooses the tags of a sentence together."""

    def __init__(
        self, words: int, letters: int, shapes: int, word_size: int, shape_size: int, recurrent: Recurrent,
        characters: Recurrent | None, crf: CRF | None, tags: int, dropout: float, word_dropout: float, unknown: int,
        head_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = initial_embedding(words, word_size)
        self.letters = None if characters is None else initial_embedding(letters, characters.input_size)
        self.shapes = initial_embedding(shapes, shape_size) if shape_size else None
        self.dropout = nn.Dropout(dropout)
        self.word_dropout, self.unknown = word_dropout, unknown
        self.characters = characters
        self.recurrent = recurrent
        self.head = Head(recurrent.output_size, tags, head_sizes, dropout=dropout)
        self.crf = crf
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)

    def forward(self, batch: Batch) -> Tensor:
        words = batch.words
        if self.training and self.word_dropout:  # words turn unknown now and then, so that the letters are learnt from
            hidden = torch.rand(words.shape, device=words.device) < self.word_dropout
            words = words.masked_fill(hidden, self.unknown)
        parts = [self.words(words)]
        if self.characters is not None and self.letters is not None:
            _, state = self.characters(self.dropout(self.letters(batch.letters)), lengths=batch.letter_counts)
            parts.append(last_output(self.characters, state)[batch.which])  # (U, D·H): each distinct word once
        if self.shapes is not None:
            parts.append(self.shapes(batch.shapes)[batch.which])
        output, _ = self.recurrent(self.dropout(torch.cat(parts, -1)), lengths=batch.lengths)
        logits: Tensor = self.head(output)
        return logits
