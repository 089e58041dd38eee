"""Vocabularies: tokens to numbers and back, and text to tokens and back."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.errors import DataError, ModelFileError, OptionError, did_you_mean

Level = Literal["char", "word", "space"]
LEVELS = ("char", "word", "space")

MOST_KINDS = 1 << 21
"""Kinds of token that are counted at once: with their strings some 350 MB."""
_SPECIALS = ("unknown", "start", "end")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their numbers, and which of them stand for unknown tokens, a start and an end."""

    tokens: tuple[str, ...]
    unknown: str | None = None
    start: str | None = None
    end: str | None = None
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if problem := _problem(self.tokens, self.unknown, self.start, self.end):
            raise DataError(f"a vocabulary cannot be made: {problem}")
        object.__setattr__(self, "_index", {token: index for index, token in enumerate(self.tokens)})

    @classmethod
    def build(
        cls,
        sequences: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        unknown: str | None = "<unk>",
        start: str | None = None,
        end: str | None = None,
    ) -> Vocabulary:
        """The specials (unknown, start, end, as given), then the tokens by falling count, ties alphabetically.

        Tokens seen fewer than `min_count` times are left out; `max_size` bounds the whole, specials included. Of more
        than MOST_KINDS the rarest so far are forgotten (lossy counting, Manku & Motwani 2002).
        `unknown=None` is for sets of labels: encoding anything else is then an error.
        """
        specials = list(dict.fromkeys(token for token in (unknown, start, end) if token is not None))
        if min_count < 1:
            raise OptionError(f"min_count={min_count} cannot be; it is the least count of a token, 1 or more")
        if max_size is not None and max_size <= len(specials):
            raise OptionError(
                f"max_size={max_size} leaves no room for tokens beside the {len(specials)} special ones; raise it"
            )
        counts: Counter[str] = Counter()
        rare = 0
        try:
            for sequence in [sequences] if isinstance(sequences, str) else sequences:
                counts.update(_counted(sequence))
                while len(counts) > MOST_KINDS:
                    rare += 1
                    counts = Counter({token: count for token, count in counts.items() if count > rare})
        except TypeError:
            raise DataError(
                "a vocabulary is built from sequences of strings, but a value is neither; make strings of them"
            ) from None
        if not counts and not specials:
            raise DataError("there are no tokens to build a vocabulary from; give at least one")
        for token in counts:
            if not isinstance(token, str):
                raise DataError(
                    f"the token {brief(token)} is not a string; a vocabulary holds strings, so make one of it with "
                    "str()"
                )
        for token in specials:
            counts.pop(token, None)
        kept = sorted((-count, token) for token, count in counts.items() if count >= min_count)
        tokens = (*specials, *(token for _, token in kept))
        return cls(tokens[:max_size], unknown, start, end)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._index

    @property
    def unknown_index(self) -> int | None:
        """The number of the unknown token, None where there is none."""
        return None if self.unknown is None else self._index[self.unknown]

    @property
    def start_index(self) -> int | None:
        """The number of the start token, None where there is none."""
        return None if self.start is None else self._index[self.start]

    @property
    def end_index(self) -> int | None:
        """The number of the end token, None where there is none."""
        return None if self.end is None else self._index[self.end]

    def index(self, token: str) -> int:
        """The number of a token, or that of the unknown one; DataError where there is none either."""
        found = self._index.get(token) if isinstance(token, str) else None
        if found is not None:
            return found
        if self.unknown is not None and isinstance(token, str):
            return self._index[self.unknown]
        raise DataError(self._not_known(token))

    def _not_known(self, token: object) -> str:
        if not isinstance(token, str):
            return f"the token {brief(token)} is not a string; make one of it with str()"
        hint = did_you_mean(token, self.tokens) if len(self) <= 100 and len(token) <= 100 else ""
        return f"{brief(token)} is none of the {len(self)} known tokens{hint}"

    def encode(self, sequence: Iterable[str]) -> npt.NDArray[np.int64]:
        """The numbers (T,) of the tokens of a sequence; a string is a sequence of characters."""
        if isinstance(sequence, str):
            return self._encode_characters(sequence)
        known, unknown, tokens = self._index, self.unknown_index, list(sequence)
        try:
            if unknown is None:
                return np.array([known[token] for token in tokens], np.int64)
            numbers = np.array([known.get(token, unknown) for token in tokens], np.int64)
        except KeyError as error:
            raise DataError(self._not_known(error.args[0])) from None
        except TypeError:  # what cannot be a key
            raise DataError("a sequence to encode holds something that is not a string; make strings of it") from None
        if (numbers == unknown).any():  # a number such as 5 must not pass for an unknown word
            for token in tokens:
                if not isinstance(token, str):
                    raise DataError(self._not_known(token))
        return numbers

    def _encode_characters(self, text: str) -> npt.NDArray[np.int64]:
        table, codes = self._characters, _codes(text)
        numbers: npt.NDArray[np.int64] = table[np.minimum(codes, len(table) - 1)]
        if self.unknown is None and len(numbers) and numbers.min() < 0:
            raise DataError(self._not_known(text[int(numbers.argmin())]))
        return numbers

    @cached_property
    def _characters(self) -> npt.NDArray[np.int64]:
        """The number of each code point; the last entry is for all that lie beyond."""
        single = {ord(token): index for token, index in self._index.items() if len(token) == 1}
        missing = -1 if self.unknown is None else self._index[self.unknown]
        table = np.full(max(single, default=0) + 2, missing, np.int64)
        table[list(single)] = list(single.values())
        return table

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer[Any]]) -> list[str]:
        """The tokens of some numbers."""
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        for number in numbers:
            if not 0 <= number < len(self.tokens):
                raise DataError(f"there is no token number {number}; the vocabulary has numbers 0 to {len(self) - 1}")
        return [self.tokens[number] for number in numbers]

    def to_json_data(self) -> dict[str, Any]:
        """What a model file keeps: plain lists and strings."""
        return {"tokens": list(self.tokens), **{name: getattr(self, name) for name in _SPECIALS}}

    @classmethod
    def from_json_data(cls, data: Any) -> Vocabulary:
        """The vocabulary of a model file; ModelFileError where the data are not one."""
        if not isinstance(data, dict) or set(data) != {"tokens", *_SPECIALS}:
            raise ModelFileError(
                "the vocabulary is damaged: it must have tokens, unknown, start and end; train or fetch the model again"
            )
        specials = [data[name] for name in _SPECIALS]
        problem = _problem(data["tokens"], *specials)
        if problem:
            raise ModelFileError(f"the vocabulary is damaged: {problem}; train or fetch the model again")
        return cls(tuple(data["tokens"]), *specials)


def _codes(text: str) -> npt.NDArray[np.uint32]:
    """The code points of a text (T,)."""
    return np.frombuffer(text.encode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass"), np.uint32)


def _counted(sequence: Iterable[str]) -> Iterable[str] | dict[str, int]:
    """What a Counter adds up: the tokens; of a long text how often each character is there, in a sixth of the time."""
    if not isinstance(sequence, str) or len(sequence) < 1 << 16:
        return iter(sequence)  # a Counter itself takes None for nothing
    counts = np.bincount(_codes(sequence))
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _problem(tokens: Any, *specials: Any) -> str:
    """Why these are no vocabulary; empty where they are one."""
    if not isinstance(tokens, (tuple, list)) or not all(isinstance(token, str) for token in tokens):
        return "its tokens must be strings"
    if not tokens:
        return "it has no tokens"
    known = set(tokens)
    if len(known) != len(tokens):
        return f"the token {brief(Counter(tokens).most_common(1)[0][0])} is in it twice"
    for name, token in zip(_SPECIALS, specials):
        if token is not None and (not isinstance(token, str) or token not in known):
            return f"its {name} token {brief(token)} is not among its tokens"
    unknown, start, end = specials
    if unknown is not None and unknown in (start, end):
        return f"{brief(unknown)} cannot stand for unknown tokens and for a start or end"
    return ""


def _tokens(word: str, sign: str) -> re.Pattern[str]:
    """A name in angle brackets, a number with its points and commas, words joined by apostrophes, or a sign."""
    return re.compile(rf"<\w+>|\d+(?:[.,]\d+)+(?!\w)|{word}(?:['’]{word})*|{sign}")


_ASCII = _tokens(r"\w+", r"[^\w\s]")
"""The word pattern for texts without other characters than ASCII: 25 times as fast."""


@lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    r"""What one word or sign is.

    Python's \w leaves out combining marks, without which the words of many scripts (Devanagari, Thai, ...) fall apart,
    so they are listed here, with the joiners of Persian and Indic words.
    """
    marks = [chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me")]
    mark = "[" + "".join(marks) + "\u200c\u200d]"
    return _tokens(rf"\w+(?:{mark}+\w*)*", rf"[^\w\s]{mark}*")


_CLOSING = frozenset(".,;:!?)]}%…")
_OPENING = frozenset("([{")


def check_level(level: str) -> None:
    """OptionError unless `level` is one of LEVELS."""
    if level not in LEVELS:
        raise OptionError(f"{brief(level)} is no level of tokens{did_you_mean(level, LEVELS)}")


def tokenize(text: str, level: str) -> list[str]:
    """The tokens of a text.

    "char": its characters. "space": what white space separates. "word": words (letters, digits, marks; an apostrophe
    inside a word stays: don't), numbers with their points and commas (3.14), and every other sign for itself; a name in
    angle brackets (<unk>) stays whole; white space is dropped. Scripts without spaces need "char".
    """
    check_level(level)
    if level == "char":
        return list(text)
    if level == "space":
        return text.split()
    return (_ASCII if text.isascii() else _word_pattern()).findall(text)


def detokenize(tokens: Sequence[str], level: str) -> str:
    """A text of these tokens: "char" joins them, "space" puts a space between, "word" none before . , ) and after (."""
    check_level(level)
    if level != "word":
        return ("" if level == "char" else " ").join(tokens)
    parts: list[str] = []
    before = ""
    for token in tokens:
        glued = token in _CLOSING or (before in _OPENING and token[:1].isalnum())
        parts.append(token if glued or not parts else f" {token}")
        before = token
    return "".join(parts)
