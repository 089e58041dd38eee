"""One side of parallel text: its texts as tokens and numbers, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data import vocabulary
from elman.data.subwords import Subwords, join
from elman.data.vocabulary import Vocabulary, detokenize, tokenize
from elman.errors import OptionError, did_you_mean
from elman.models.restoring import vocabulary_from
from elman.runtime.document import Document

LEVELS = (*vocabulary.LEVELS, "subword")
SPECIALS = {"unknown": "<unk>", "start": "<s>", "end": "</s>"}
SUBWORDS = 8000
"""The default size of a vocabulary of subwords."""


def check_level(name: str, level: str) -> None:
    """OptionError unless `level`, the option `name`, is one of LEVELS."""
    if level not in LEVELS:
        raise OptionError(f"{name} {level!r} is no level of tokens{did_you_mean(str(level), LEVELS)}")


@dataclass(frozen=True)
class Side:
    """How the texts of a side become tokens. Every text ends with the vocabulary's end token."""

    level: str
    lower: bool
    vocabulary: Vocabulary
    subwords: Subwords | None = None

    @classmethod
    def learn(cls, texts: Sequence[str], level: str, lower: bool, min_count: int, max_size: int | None) -> Side:
        """The vocabulary of some texts."""
        if lower:
            texts = [text.lower() for text in texts]
        if level == "subword":
            subwords = Subwords.learn(texts, max_size or SUBWORDS, min_count=min_count, **SPECIALS)
            return cls(level, lower, subwords.vocabulary, subwords)
        found = Vocabulary.build(
            (tokenize(text, level) for text in texts), min_count=min_count, max_size=max_size, **SPECIALS
        )
        return cls(level, lower, found)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without the end."""
        text = text.lower() if self.lower else text
        return tokenize(text, self.level) if self.subwords is None else self.subwords.tokenize(text)

    def numbers(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """Their numbers and the end (T,); a "</s>" that is written in a text is a word, and ends nothing."""
        v = self.vocabulary
        found = v.encode(tokens)
        found = np.where((found == v.start_index) | (found == v.end_index), v.encode([SPECIALS["unknown"]]), found)
        return np.append(found, v.encode([SPECIALS["end"]]))

    def text(self, tokens: Iterable[str]) -> str:
        """The text of some tokens."""
        return join(tokens) if self.subwords is not None else detokenize(list(tokens), self.level)

    def plain(self, text: str) -> str:
        """A text as the model would write it: in its case and spacing."""
        return self.text(self.tokens(text))

    def to_json_data(self, name: str) -> dict[str, Any]:
        """What a model file keeps, as vocabularies by name."""
        merges = {} if self.subwords is None else {f"{name}_merges": self.subwords.to_json_data()}
        return {name: self.vocabulary.to_json_data(), **merges}

    @classmethod
    def of(cls, doc: Document, name: str, level: str, lower: bool) -> Side:
        """The side of a model file. DataError, ModelFileError where it is damaged."""
        known = vocabulary_from(doc, name, *SPECIALS)
        if level != "subword":
            return cls(level, lower, known)
        return cls(level, lower, known, Subwords.from_json_data(known, doc.vocabularies.get(f"{name}_merges")))
