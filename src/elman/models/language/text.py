"""Text as numbers for language models: documents in memory, or read in pieces from files larger than memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from elman.data.long_text import LongText
from elman.data.readers import read_text
from elman.data.store import FileArray
from elman.data.vocabulary import Vocabulary, detokenize, tokenize
from elman.errors import DataError
from elman.models.options import LanguageModelOptions

Document: TypeAlias = "list[str] | str"
"""Its tokens. A string is already the sequence of its characters: a list of a million of them is not needed."""
UNKNOWN, START, END = "<unk>", "<s>", "</s>"


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageText(LanguageModelOptions):
    """What a language model reads."""

    vocabulary_: Vocabulary = dataclasses.field(init=False, repr=False)

    def _documents(self, text: str | Sequence[str] | Path) -> list[Document]:
        """Token sequences, none of them empty: one for each document, or for each line."""
        if isinstance(text, Path):
            text = read_text(text)
        documents = [text] if isinstance(text, str) else list(text) if isinstance(text, Iterable) else [text]
        if not all(isinstance(d, str) for d in documents):
            raise DataError("a language model is given a text, a list of texts or a Path")
        if self._by_line:
            documents = [line for d in documents for line in d.splitlines() if line.strip()]
        found = documents if self.level == "char" else (tokenize(d, self.level) for d in documents)
        return [document for document in found if document]

    @property
    def _by_line(self) -> bool:
        """Whether every line is a document."""
        return self.lines if self.lines is not None else self.level != "char"

    def _encode(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """All documents as one stream of numbers (N,): <s> tokens </s> <s> tokens </s> ..."""
        v, lengths = self.vocabulary_, np.array([len(document) for document in documents], np.int64)
        joined = "".join(cast(Any, documents)) if self.level == "char" else list(chain.from_iterable(documents))
        ends = lengths.cumsum()
        marks = np.tile([v.start_index, v.end_index], len(documents))
        return np.insert(self._numbers(joined), np.stack([ends - lengths, ends], 1).ravel(), marks)

    def _encode_long(self, text: LongText) -> Iterator[np.ndarray]:
        """The same of all documents of a long text, in parts."""
        v = self.vocabulary_
        for span in text.spans:
            parts = map(self._documents, text.read(span))
            if self._by_line:
                yield from map(self._encode, parts)
            else:
                yield np.array([v.start_index])
                yield from map(self._numbers, chain.from_iterable(parts))
                yield np.array([v.end_index])

    def _numbers(self, document: Sequence[str]) -> np.ndarray:
        """The numbers of a document's tokens; a "<s>" that is written in it is a word, and starts nothing."""
        v = self.vocabulary_
        numbers = v.encode(document)
        marks = (numbers == v.start_index) | (numbers == v.end_index)
        return np.where(marks, v.encode([UNKNOWN]), numbers) if marks.any() else numbers

    def _characters(self, documents: Sequence[Sequence[str]]) -> int | None:
        """The characters of documents of words as elman writes them, with line ends; None: tokens are characters."""
        if self.level == "char":
            return None
        return sum(len(detokenize(document, self.level)) + 1 for document in documents)

    # -- what is learnt from -------------------------------------------------------------------------------------------
    def _filled(self, text: Any, what: str) -> list[Document]:
        """The documents of a text, at least one."""
        documents = self._documents(text)
        if not documents:
            raise DataError(f"the text {what} is empty")
        return documents

    def _from_memory(self, text: Any, valid: list[Document] | None) -> tuple[np.ndarray, list[Document]]:
        """The numbers to learn from, whose tokens are then known, and the documents held out."""
        documents, held_out = self._filled(text, "to learn from"), valid or []
        if valid is None and self.valid_fraction:
            documents, held_out = hold_out(documents, self.valid_fraction)
        self._learn_tokens(documents)
        return self._encode(documents), held_out

    def _from_long(self, text: LongText, valid: list[Document] | None, place: Path) -> tuple[FileArray, list[Document]]:
        """The same of text that is read twice, and never held whole."""
        held = valid or []
        if valid is None and self.valid_fraction:
            text, last = text.hold_out(self.valid_fraction)
            held = self._filled(["".join(last.read(span)) for span in last.spans], "held out")
        pieces = chain.from_iterable(map(text.read, text.spans))
        self._learn_tokens(document for piece in pieces for document in self._documents(piece))
        kind = np.min_scalar_type(len(self.vocabulary_) - 1)
        numbers = FileArray(place / "text", self._encode_long(text), kind)
        if not len(numbers):
            raise DataError("the text to learn from is empty")
        return numbers, held

    def _learn_tokens(self, documents: Iterable[Document]) -> None:
        self.vocabulary_ = Vocabulary.build(
            documents, min_count=self.min_count, max_size=self.max_vocabulary, unknown=UNKNOWN, start=START, end=END
        )


def hold_out(documents: list[Document], fraction: float) -> tuple[list[Document], list[Document]]:
    """The documents, and the last part of them for validation: whole documents, or the last tokens of a few."""
    if len(documents) >= 10:
        cut = len(documents) - max(1, round(len(documents) * fraction))
        return documents[:cut], documents[cut:]
    wanted = max(1, round(sum(len(d) for d in documents) * fraction))
    kept, held_out = list(documents), list[Document]()
    while wanted and kept:
        last = kept.pop()
        cut = max(0, len(last) - wanted)
        if cut:
            kept.append(last[:cut])
        held_out.insert(0, last[cut:])
        wanted -= len(last) - cut
    if not kept:
        raise DataError("the text is too short to hold out a part for validation; give --valid, or --valid-fraction 0")
    return kept, held_out
