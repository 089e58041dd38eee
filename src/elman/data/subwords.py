"""Subwords: byte-pair encoding learnt from texts (Sennrich, Haddow & Birch 2016), by the library tokenizers.

What is learnt is plain data, a vocabulary and a list of merges; the library's own files are neither written nor read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from elman.data.files import brief
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, ModelFileError, OptionError

SPACE = "▁"
"""Begins a subword that begins a word."""


class Subwords:
    """Texts as subwords and back. merges: "a b" for each pair of subwords that is joined, the first ones first."""

    def __init__(self, vocabulary: Vocabulary, merges: Sequence[str]) -> None:
        self.vocabulary, self.merges = vocabulary, tuple(merges)
        for merge in self.merges:
            left, space, right = merge.partition(" ")
            if not space or not all(part in vocabulary for part in (left, right, left + right)):
                raise ModelFileError(f"the subwords are damaged: {brief(merge)} joins no two of them to a third")

    @classmethod
    def learn(cls, texts: Iterable[str], size: int, *, min_count: int = 1, **specials: str) -> Subwords:
        """At most `size` subwords, the special tokens (unknown, start, end) among them; pairs seen fewer than
        `min_count` times are not joined. Raises DataError where there is nothing to learn from."""
        library = _library()
        model = library.Tokenizer(library.models.BPE())
        model.pre_tokenizer = _words(library)
        trainer = library.trainers.BpeTrainer(
            vocab_size=max(1, size - len(specials)), min_frequency=min_count, show_progress=False
        )
        model.train_from_iterator((" ".join(text.split()) for text in texts), trainer)
        learnt = json.loads(model.to_str())["model"]
        tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
        if not tokens:
            raise DataError("there are no words to learn subwords from; give at least one")
        tokens = [*specials.values(), *(token for token in tokens if token not in specials.values())]
        return cls(Vocabulary(tuple(tokens), **specials), [f"{left} {right}" for left, right in learnt["merges"]])

    def tokenize(self, text: str) -> list[str]:
        """The subwords of a text; a character never seen is the unknown token. All white space is one space."""
        tokens: list[str] = self._model.encode(" ".join(text.split())).tokens
        return tokens

    @cached_property
    def _model(self) -> Any:
        library = _library()
        pairs = [tuple(merge.split(" ", 1)) for merge in self.merges]
        numbers = {token: number for number, token in enumerate(self.vocabulary.tokens)}
        model = library.Tokenizer(library.models.BPE(numbers, pairs, unk_token=self.vocabulary.unknown))
        model.pre_tokenizer = _words(library)
        return model

    def to_json_data(self) -> dict[str, Any]:
        """What a model file keeps beside the vocabulary."""
        return {"merges": list(self.merges)}

    @classmethod
    def from_json_data(cls, vocabulary: Vocabulary, data: Any) -> Subwords:
        """The subwords of a model file; ModelFileError where the data are none."""
        merges = data.get("merges") if isinstance(data, dict) and len(data) == 1 else None
        if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
            raise ModelFileError("the subwords are damaged: merges must be a list; train or fetch the model again")
        return cls(vocabulary, merges)


def join(tokens: Iterable[str]) -> str:
    """The text of some subwords."""
    return "".join(tokens).replace(SPACE, " ").strip()


def _words(library: Any) -> Any:
    """Subwords reach over no space and no sign of punctuation."""
    split = library.pre_tokenizers
    return split.Sequence([split.Metaspace(replacement=SPACE), split.Punctuation()])


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise OptionError(
            "--level subword needs the library tokenizers; install it with: pip install 'elman[data]'"
        ) from None
    return tokenizers
