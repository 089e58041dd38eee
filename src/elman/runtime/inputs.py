"""What enters the recurrent layers at a step: a token's vector, a word's with its letters, sets, or scaled numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from elman.errors import DataError, ModelFileError
from elman.runtime import claims
from elman.runtime.claims import Array, Floats
from elman.runtime.document import Document
from elman.runtime.layers import Running, Stack

LETTERS = 100
"""A longer word is read by so many of its first and of its last letters: one freak must not widen a whole batch."""
_RUN = re.compile(r"(.)\1\1+", re.DOTALL)
_LARGEST = float(np.finfo(np.float32).max)


def spelled(word: str) -> str:
    """The letters of a word that are read."""
    return word if len(word) <= 2 * LETTERS else word[:LETTERS] + word[-LETTERS:]


def shape(word: str) -> str:
    """X for each capital, x for each other letter, 0 for each digit, signs as they are, and of a run only two.

    McDonald -> XxXxx, U.S. -> X.X., 1,024 -> 0,00, don't -> xx'x.
    """
    kinds = "".join("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word)
    return _RUN.sub(r"\1\1", kinds)


class Input(Protocol):
    """Writes a step's vector into a row (I,); DataError for what does not fit."""

    def read(self, x: Any, row: Floats) -> None: ...


class Numbers:
    """A step of a series: scaled as in training."""

    def __init__(self, document: Document, size: int) -> None:
        self._size, (self._mean, self._scale) = size, claims.scaling(document, size)
        self._values = np.empty(size)

    def read(self, x: Any, row: Floats) -> None:
        try:
            values = np.asarray(x, np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise DataError(f"a step of this model takes {self._size} numbers") from None
        if values.shape != (self._size,):
            raise DataError(f"a step of this model takes {self._size} numbers, not {values.size}")
        if not np.abs(values, out=self._values).max() <= _LARGEST:  # the state would be lost for good
            raise DataError("a step holds a number that is not finite, or too large for float32; leave it out")
        row[:] = values
        row -= self._mean
        row /= self._scale


class Tokens:
    """A step is a token: its text, or its number."""

    def __init__(
        self, document: Document, tensors: Mapping[str, Array], vocabulary: str, weight: str, size: int, *, lower: bool
    ) -> None:
        self.tokens = claims.tokens(document, vocabulary)
        self._embedding = claims.weight(tensors, weight, (len(self.tokens), size))
        self._lower = lower
        self._number = {token: number for number, token in enumerate(self.tokens)}
        unknown = claims.unknown(document, vocabulary)
        self._unknown = None if unknown is None else self._number.get(unknown)

    def read(self, x: Any, row: Floats) -> None:
        row[:] = self._embedding[self.place(x)]

    def place(self, x: Any) -> int:
        """The number of the token."""
        if isinstance(x, str):
            number = self._number.get(x.lower() if self._lower else x, self._unknown)
            if number is None:
                raise DataError(f"the model never saw {x[:40]!r}, and has no token for unknown ones")
            return number
        if isinstance(x, bool) or not isinstance(x, int | np.integer) or not 0 <= x < len(self._embedding):
            raise DataError(f"a step of this model takes a token, or its number from 0 to {len(self._embedding) - 1}")
        return int(x)


class Sets:
    """A step is a set of labels, or an array (K,) of 0 and 1."""

    def __init__(self, labels: Sequence[str], size: int) -> None:
        if len(labels) != size:
            raise ModelFileError(f"the layers read {size} labels, and {len(labels)} are named")
        self._places = {label: place for place, label in enumerate(labels)}

    def read(self, x: Any, row: Floats) -> None:
        row[:] = 0
        if isinstance(x, np.ndarray):
            if x.shape != row.shape or not np.isin(x, (0, 1)).all():
                raise DataError(f"a step of this model takes labels, or an array ({len(row)},) of 0 and 1")
            row[:] = x
            return
        if isinstance(x, str | bytes) or not isinstance(x, Iterable):
            raise DataError(f"a step of this model takes labels such as [60, 64], not {type(x).__name__}")
        for label in x:
            if str(label) not in self._places:
                raise DataError(f"the model knows no label {str(label)[:40]!r}")
            row[self._places[str(label)]] = 1


class Words:
    """A step is a word: as a whole, by its letters, which are all there at its step and are read both ways, and by its
    shape."""

    def __init__(self, document: Document, tensors: Mapping[str, Array], size: int, *, lower: bool) -> None:
        layers = document.networks.get("characters", ())
        self._ways: list[tuple[Running, Stack]] = []
        letters_size = 0
        if layers:
            if len(layers) != 1 or layers[0].direction != "both":
                raise ModelFileError("the network 'characters' must be one layer in both directions")
            (layer,) = layers
            letters_size = 2 * layer.output_size
            self._letters = Tokens(document, tensors, "letters", "letters.weight", layer.input_size, lower=False)
            for direction in layer.directions:
                way = Running.of(layer, tensors, ("characters", 0, direction), 1)
                self._ways.append((way, Stack([way], 1, last_residual=False)))
        wide = document.options.get("shape_size", 0)
        if type(wide) is not int or not 0 <= wide < size - letters_size:
            raise ModelFileError("the network 'recurrent' has no input left for the words beside letters and shapes")
        self._shapes = Tokens(document, tensors, "shapes", "shapes.weight", wide, lower=False) if wide else None
        self._size = size - letters_size - wide
        self._words = Tokens(document, tensors, "words", "words.weight", self._size, lower=lower)
        self.tokens = self._words.tokens

    def read(self, x: Any, row: Floats) -> None:
        if not isinstance(x, str):
            raise DataError(f"a step of this model takes a word, not {type(x).__name__}")
        at = self._size
        self._words.read(x, row[:at])
        word = spelled(x)
        for (way, stack), letters in zip(self._ways, (word, word[::-1])):
            way.reset()
            for letter in letters:
                self._letters.read(letter, stack.x[0])
                stack.run()
            state = way.step.states[0]
            row[at : at + state.size] = state
            at += state.size
        if self._shapes is not None:
            self._shapes.read(shape(x), row[at:])


def input_of(
    document: Document, tensors: Mapping[str, Array], level: str, size: int
) -> Numbers | Sets | Tokens | Words:
    """What the model's first layer of `size` inputs reads."""
    if level == "sets":
        return Sets(claims.tokens(document, "labels"), size)
    if level == "series":
        return Numbers(document, size)
    lower = document.options.get("lower") is True
    if document.task == "tag":
        return Words(document, tensors, size, lower=lower)
    return Tokens(document, tensors, "tokens", "embedding.weight", size, lower=lower)
