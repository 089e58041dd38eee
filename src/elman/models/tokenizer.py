"""Texts as tokens and numbers, and back: characters, words or subwords, for the models that write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data import vocabulary
from elman.data.subwords import SPACE, Subwords, join
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
class Tokenizer:
    """How texts become tokens, and tokens numbers."""

    level: str
    lower: bool
    vocabulary: Vocabulary
    subwords: Subwords | None = None

    @classmethod
    def learn(
        cls, texts: Iterable[str], level: str, min_count: int = 1, max_size: int | None = None, lower: bool = False
    ) -> Tokenizer:
        """The tokens of some texts."""
        if lower:
            texts = (text.lower() for text in texts)
        if level == "subword":
            subwords = Subwords.learn(texts, max_size or SUBWORDS, min_count=min_count, **SPECIALS)
            return cls(level, lower, subwords.vocabulary, subwords)
        sequences = texts if level == "char" else (tokenize(text, level) for text in texts)
        return cls(level, lower, Vocabulary.build(sequences, min_count=min_count, max_size=max_size, **SPECIALS))

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        text = text.lower() if self.lower else text
        return tokenize(text, self.level) if self.subwords is None else self.subwords.tokenize(text)

    def numbers(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """Their numbers (T,); a "<s>" or "</s>" that is written in a text is a word, and starts or ends nothing."""
        v = self.vocabulary
        found = v.encode(tokens)
        marks = (found == v.start_index) | (found == v.end_index)
        return np.where(marks, v.encode([SPECIALS["unknown"]]), found) if marks.any() else found

    def ended(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """Their numbers and that of the end (T,)."""
        return np.append(self.numbers(tokens), self.vocabulary.encode([SPECIALS["end"]]))

    def text(self, tokens: Iterable[str]) -> str:
        """The text of some tokens."""
        return join(tokens) if self.subwords is not None else detokenize(list(tokens), self.level)

    def more(self, token: str, before: str | None) -> str:
        """What a token adds to a text whose last token is `before`; None: there is none yet."""
        if self.subwords is not None:
            added = token.replace(SPACE, " ")
            return added if before else added.lstrip()
        return token if before is None else detokenize([before, token], self.level)[len(before) :]

    def plain(self, text: str) -> str:
        """A text as the model would write it: in its case and spacing."""
        return self.text(self.tokenize(text))

    def unknown(self, text: str) -> list[str]:
        """What of a text is read as the unknown token, each once: tokens; of subwords, characters."""
        parts = self.tokenize(text) if self.subwords is None else "".join(text.split())
        return [part for part in dict.fromkeys(parts) if part not in self.vocabulary]

    def to_json_data(self, name: str) -> dict[str, Any]:
        """What a model file keeps, as vocabularies by name."""
        merges = {} if self.subwords is None else {f"{name}_merges": self.subwords.to_json_data()}
        return {name: self.vocabulary.to_json_data(), **merges}

    @classmethod
    def of(cls, doc: Document, name: str, level: str, lower: bool = False) -> Tokenizer:
        """The tokenizer of a model file. DataError, ModelFileError where it is damaged."""
        known = vocabulary_from(doc, name, *SPECIALS)
        if level != "subword":
            return cls(level, lower, known)
        return cls(level, lower, known, Subwords.from_json_data(known, doc.vocabularies.get(f"{name}_merges")))
