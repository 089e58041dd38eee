"""A language model beside a decoder: what may follow the transcripts of a beam (shallow fusion)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import OptionError
from elman.models.language.language_model import LanguageModel
from elman.models.speech.ctc import Prefix


class LanguageScorer:
    """Prefixes of token numbers -> log probabilities (N, V + 1) of the next token, and last of the end.

    The states of a sound's prefixes are kept, so that each costs one step; the empty prefix begins a new sound. Raises
    OptionError for a language model of other tokens.
    """

    def __init__(self, model: LanguageModel, tokens: Sequence[str], level: str) -> None:
        model._need_fit()
        if model.level != level:
            raise OptionError(
                f"the language model's tokens are {model.level!r} and the transcriber's {level!r}; train one of the "
                f"two with the other --level"
            )
        known = model.vocabulary_
        if not any(token in known for token in tokens):
            raise OptionError("the language model knows none of the transcriber's tokens; is its text of another kind?")
        # Where lines are no sentences, the end of one is not a thing that the model has seen: its column is 0.
        self._ends = model.lines if model.lines is not None else model.level != "char"
        self._model, self._numbers = model, known.encode(list(tokens))
        self._states: dict[Prefix, list[list[Tensor]]] = {}

    @torch.no_grad()
    def __call__(self, prefixes: Sequence[Prefix]) -> np.ndarray:
        v, module = self._model.vocabulary_, self._model.module_
        like = module.embedding.weight
        state: Any = None
        if () in prefixes:
            assert len(prefixes) == 1
            self._states.clear()
            entered = [v.start_index]
        else:
            entered = [int(self._numbers[prefix[-1]]) for prefix in prefixes]
            before = [self._states[prefix[:-1]] for prefix in prefixes]
            state = tuple(
                tuple(torch.cat([one[part][k] for one in before]) for k in range(len(before[0][part])))
                for part in range(len(before[0]))
            )
        logits, after = module(torch.tensor([entered], device=like.device), state)
        for b, prefix in enumerate(prefixes):
            self._states[prefix] = [[s[b : b + 1] for s in part] for part in after]
        rows = logits[0].double().log_softmax(-1).cpu().numpy()
        end = rows[:, v.end_index] if self._ends else np.zeros(len(rows))
        return np.concatenate([rows[:, self._numbers], end[:, None]], 1)
