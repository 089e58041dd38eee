"""Text as numbers for language models: documents in memory, or read in pieces from files larger than memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.long_text import LongText
from elman.data.readers import read_text
from elman.data.store import FileArray
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError
from elman.models.options import LanguageModelOptions
from elman.models.tokenizer import Tokenizer

MOST_LEARNT_FROM = 1 << 28
"""Characters of a long text that subwords are learnt from, at most: their words are held in memory meanwhile."""


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageText(LanguageModelOptions):
    """What a language model reads."""

    tokenizer_: Tokenizer = dataclasses.field(init=False, repr=False)

    @property
    def vocabulary_(self) -> Vocabulary:
        """The tokens that are known, by number."""
        return self.tokenizer_.vocabulary

    def _documents(self, text: str | Sequence[str] | Path) -> list[str]:
        """The documents of a text, or its lines, none of them without a token."""
        if isinstance(text, Path):
            text = read_text(text)
        documents = [text] if isinstance(text, str) else list(text) if isinstance(text, Iterable) else [text]
        if not all(isinstance(d, str) for d in documents):
            raise DataError("a language model is given a text, a list of texts or a Path")
        if self._by_line:
            documents = [line for d in documents for line in d.splitlines() if line.strip()]
        return [document for document in documents if (document if self.level == "char" else document.strip())]

    @property
    def _by_line(self) -> bool:
        """Whether every line is a document."""
        return self.lines if self.lines is not None else self.level != "char"

    def _tokens(self, document: str) -> Sequence[str]:
        """Of characters, the document itself: a list of a million of them is not needed."""
        return document if self.level == "char" else self.tokenizer_.tokenize(document)

    def _encode(self, documents: Sequence[str]) -> np.ndarray:
        """All documents as one stream of numbers (N,): <s> tokens </s> <s> tokens </s> ..."""
        v, tokens = self.vocabulary_, [self._tokens(document) for document in documents]
        lengths = np.array([len(own) for own in tokens], np.int64)
        joined = "".join(documents) if self.level == "char" else list(chain.from_iterable(tokens))
        ends = lengths.cumsum()
        marks = np.tile([v.start_index, v.end_index], len(documents))
        return np.insert(self.tokenizer_.numbers(joined), np.stack([ends - lengths, ends], 1).ravel(), marks)

    def _encode_long(self, text: LongText) -> Iterator[np.ndarray]:
        """The same of all documents of a long text, in parts."""
        v = self.vocabulary_
        for span in text.spans:
            parts = map(self._documents, text.read(span))
            if self._by_line:
                yield from map(self._encode, parts)
            else:
                yield np.array([v.start_index])
                for piece in chain.from_iterable(parts):
                    yield self.tokenizer_.numbers(self._tokens(piece))
                yield np.array([v.end_index])

    def _characters(self, documents: Sequence[str]) -> int | None:
        """The characters of documents of words as elman writes them, with line ends; None: tokens are characters."""
        if self.level == "char":
            return None
        return sum(len(self.tokenizer_.plain(document)) + 1 for document in documents)

    # -- what is learnt from -------------------------------------------------------------------------------------------
    def _filled(self, text: Any, what: str) -> list[str]:
        """The documents of a text, at least one."""
        documents = self._documents(text)
        if not documents:
            raise DataError(f"the text {what} is empty")
        return documents

    def _from_memory(self, text: Any, valid: list[str] | None) -> tuple[np.ndarray, list[str]]:
        """The numbers to learn from, whose tokens are then known, and the documents held out."""
        documents, held_out = self._filled(text, "to learn from"), valid or []
        if valid is None and self.valid_fraction:
            documents, held_out = hold_out(documents, self.valid_fraction, words=self.level != "char")
        self._learn_tokens(documents)
        return self._encode(documents), held_out

    def _from_long(self, text: LongText, valid: list[str] | None, place: Path) -> tuple[FileArray, list[str]]:
        """The same of text that is read twice, and never held whole."""
        held = valid or []
        if valid is None and self.valid_fraction:
            text, last = text.hold_out(self.valid_fraction)
            held = self._filled(["".join(last.read(span)) for span in last.spans], "held out")
        pieces: Iterator[str] = chain.from_iterable(map(text.read, text.spans))
        if self.level == "subword":
            pieces = _first(pieces, MOST_LEARNT_FROM)
        self._learn_tokens(document for piece in pieces for document in self._documents(piece))
        kind = np.min_scalar_type(len(self.vocabulary_) - 1)
        numbers = FileArray(place / "text", self._encode_long(text), kind)
        if not len(numbers):
            raise DataError("the text to learn from is empty")
        return numbers, held

    def _learn_tokens(self, documents: Iterable[str]) -> None:
        self.tokenizer_ = Tokenizer.learn(documents, self.level, self.min_count, self.max_vocabulary)


def _first(pieces: Iterable[str], characters: int) -> Iterator[str]:
    """The first pieces of a text, until they have so many characters."""
    for piece in pieces:
        yield piece
        characters -= len(piece)
        if characters <= 0:
            return


def hold_out(documents: list[str], fraction: float, *, words: bool) -> tuple[list[str], list[str]]:
    """The documents, and the last part of them for validation: whole documents, or the last characters of a few.

    words: no word is cut in two.
    """
    if len(documents) >= 10:
        at = len(documents) - max(1, round(len(documents) * fraction))
        return documents[:at], documents[at:]
    wanted = max(1, round(sum(len(d) for d in documents) * fraction))
    kept, held_out = list(documents), list[str]()
    while wanted > 0 and kept:
        last = kept.pop()
        cut = max(0, len(last) - wanted)
        if words and cut:
            cut = next((place for place in range(cut, 0, -1) if last[place].isspace()), cut)
        if cut and (not words or last[:cut].strip()):
            kept.append(last[:cut])
        held_out.insert(0, last[cut:])
        wanted -= len(last) - cut
    if not kept:
        raise DataError("the text is too short to hold out a part for validation; give --valid, or --valid-fraction 0")
    return kept, held_out
