"""Sounds with their transcripts, as a Transcriber learns from them and is judged by them: read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.audio import Sounds, sound_table
from elman.data.table import Table
from elman.data.vocabulary import Vocabulary, detokenize, tokenize
from elman.errors import DataError
from elman.models.inputs import as_table, listed, missing, place
from elman.models.options import TranscriberOptions
from elman.models.speech import ctc
from elman.runtime.features import Features


@dataclasses.dataclass
class Speech:
    """Sounds, the tokens of their transcripts, and once there is a vocabulary the numbers of those."""

    sounds: Sounds
    tokens: list[list[str]]
    where: Callable[[int], str]
    numbers: list[np.ndarray] = dataclasses.field(default_factory=list)

    def numbered(self, vocabulary: Vocabulary, spec: Features) -> Speech:
        """With numbers. DataError for a token without one, and for more of them than a sound has steps."""
        for i, tokens in enumerate(self.tokens):
            for token in tokens:
                if token not in vocabulary:
                    raise DataError(
                        f"{self.where(i)}: the transcript holds {token[:40]!r}, which the sounds to learn from do not "
                        "have; leave it out, or train with it"
                    )
            numbers = vocabulary.encode(tokens)
            samples = int(self.sounds.lengths[i])
            steps, needed = spec.steps(samples), ctc.steps_needed(numbers)
            if steps < needed:
                raise DataError(
                    f"{self.where(i)}: {samples / spec.rate:.2f} s of sound are {steps} steps, too few for a "
                    f"transcript that takes {needed}; correct it, leave it out, or train with a lower --stack "
                    f"(now {spec.stack})"
                )
            self.numbers.append(numbers)
        return self

    def part(self, indices: np.ndarray) -> Speech:
        """Some of them."""
        chosen = indices.tolist()
        return Speech(
            self.sounds.part(chosen), [self.tokens[i] for i in chosen], lambda i: self.where(chosen[i]),
            [self.numbers[i] for i in chosen],
        )  # fmt: skip


def read_sounds(options: TranscriberOptions, data: Any, rate: int | None) -> Sounds:
    """The sounds of a list, a table or a Path, at `rate` (None: that of most)."""
    data, where = _table(options, data)
    entries = data.column(options.input) if isinstance(data, Table) else listed(data, "the sounds")
    return Sounds(entries, lambda i: place(where, i), rate)


def read_speech(options: TranscriberOptions, data: Any, texts: Any, rate: int | None) -> Speech:
    """Sounds and their transcripts: two lists, or a table or a Path with both."""
    data, where = _table(options, data)
    if texts is None:
        if not isinstance(data, Table):
            raise DataError("transcripts are missing: give y beside X, or a table with a column of transcripts")
        if list(data.columns) == [options.input]:
            raise DataError(
                f"{data.source} has no transcripts; put a.txt beside a.wav in a folder, or list sounds and texts in a "
                f".tsv with the columns {options.input} and {options.target}"
            )
        texts = data.column(options.target)
    data, texts = data if isinstance(data, Table) else listed(data, "the sounds"), listed(texts, "the transcripts")
    if len(texts) != len(data):
        raise DataError(f"there are {len(data)} sounds and {len(texts)} transcripts; each sound needs one")
    if not texts:
        raise DataError("there are no sounds")
    for i, text in enumerate(texts):
        if missing(text) or (isinstance(text, str) and not text.strip()):
            raise DataError(f"{place(where, i)}: the transcript is empty; write it down or leave the record out")
        if not isinstance(text, str):
            raise DataError(f"{place(where, i)}: a transcript is a text, not {type(text).__name__}")
    sounds = read_sounds(options, data, rate)
    return Speech(sounds, [tokens_of(options, text) for text in texts], lambda i: place(where, i))


def tokens_of(options: TranscriberOptions, text: str) -> list[str]:
    """The tokens of a transcript: with single spaces, and in lower case where case is ignored."""
    text = " ".join(text.split())
    return tokenize(text.lower() if options.lower else text, options.level)


def text_of(options: TranscriberOptions, tokens: list[str]) -> str:
    """A transcript of tokens, with single spaces."""
    return " ".join(detokenize(tokens, options.level).split())


def _table(options: TranscriberOptions, data: Any) -> tuple[Any, Table | str]:
    """What the user gave, as a table where it is one, and where it comes from for messages."""
    data = sound_table(data, options.input, options.target) if isinstance(data, Path) else as_table(data)
    return data, data if isinstance(data, Table) else "the sounds"
