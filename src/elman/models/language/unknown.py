"""Words that a language model does not know, by how they end: as inputs, and as what may come next."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from elman.data.vocabulary import Vocabulary
from elman.models.language.language_model import LanguageModel
from elman.models.language.network import LanguageNetwork
from elman.models.tokenizer import SPECIALS

ENOUGH = 10
"""Known words that must share an ending, for their mean to say what such a word is like."""
LONGEST = 6
"""Letters of an ending, at most."""


def with_words(model: LanguageModel, words: Iterable[str]) -> LanguageModel:
    """The model, of words, with vectors for those it does not know: after MIMICK (Pinter, Guthrie & Eisenstein 2017),
    which learns vectors from spelling.

    A new word is the mean of the known ones that end as it does, in a text and among what may follow one. There, what
    the unknown token was given is shared by the new words and by that token, which is then what is none of them either.
    Nothing is learnt; the model given stays as it is.
    """
    known = model.vocabulary_
    new = [word for word in dict.fromkeys(words) if word not in known]
    wider = copy.copy(model)
    wider.tokenizer_ = replace(model.tokenizer_, vocabulary=replace(known, tokens=(*known.tokens, *new)))
    network = WiderNetwork(model.module_, alike(new, known), known.index(SPECIALS["unknown"]))
    wider.module_ = network  # type: ignore[assignment]  # it is called alike
    return wider


def alike(words: Iterable[str], known: Vocabulary) -> list[list[int]]:
    """For each word the numbers of the known ones with the longest ending that it shares with ENOUGH of them, and which
    are capitalised where it is; the unknown token's where there are too few."""
    by_ending = defaultdict(list)
    for number, token in enumerate(known.tokens):
        if token not in SPECIALS.values():
            for ending in endings(token):
                by_ending[ending].append(number)
    unknown = [known.index(SPECIALS["unknown"])]
    return [
        next((by_ending[e] for e in endings(word) if len(by_ending.get(e, ())) >= ENOUGH), unknown) for word in words
    ]


def endings(word: str) -> Iterable[tuple[bool, str]]:
    """Whether it is capitalised, and its endings, each shorter than the word, the longest first; capitals alone (NASA,
    or a tag that stands for a word) have no endings."""
    longest = 0 if word.isupper() else min(LONGEST, len(word) - 1)
    return ((word[:1].isupper(), word[-n:]) for n in range(longest, 0, -1))


class WiderNetwork(nn.Module):
    """A language model's network with rows for more words: tokens (T, B) -> logits (T, B, V + new), and the state.

    alike: of each new word the numbers of the known words whose mean it is.
    """

    def __init__(self, network: LanguageNetwork, alike: list[list[int]], unknown: int) -> None:
        super().__init__()
        self.network, self.unknown = network, unknown

        kinds = {tuple(own): None for own in alike}  # many words end alike
        places = {own: place for place, own in enumerate(kinds, 1)}
        chosen = [0, *(places[tuple(own)] for own in alike)]

        def means(rows: Tensor) -> Tensor:
            return torch.stack([rows[unknown], *(rows[list(own)].mean(0) for own in kinds)])[chosen]

        known, output = network.embedding.weight.detach(), network.output
        self.embedding = nn.Embedding(
            len(known) + len(alike), known.shape[1], _weight=torch.cat([known, means(known)[1:]])
        )
        self.weight, self.bias = means(output.weight.detach()), means(output.bias.detach())

    def forward(self, tokens: Tensor, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        output, state = self.network.recurrent(self.embedding(tokens), state, lengths=lengths)
        logits = self.network.output(output)
        shares = nn.functional.log_softmax(nn.functional.linear(output, self.weight, self.bias), -1)
        of_unknown = logits[..., self.unknown, None] + shares
        logits[..., self.unknown] = of_unknown[..., 0]
        return torch.cat([logits, of_unknown[..., 1:]], -1), state
