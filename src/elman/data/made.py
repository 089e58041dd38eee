"""Made tasks: data sets of any length by name and seed, for what real data cannot ask: how far a network remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.batching import random
from elman.data.files import PREFIX
from elman.data.stories import stories
from elman.data.table import Table
from elman.errors import DataError, OptionError, did_you_mean

Columns = dict[str, list[Any]]
Lengths = npt.NDArray[np.int64]

_MOST_STEPS = 10**8
_MODULUS = 5
_COPIED = 10  # symbols to remember
_ALPHABET = "abcdefgh"
_BLANK, _DELIMITER = "_", ":"


def make(name: str, count: int, length: int | tuple[int, int], seed: int) -> Table:
    """`count` records of the made task `name` ("parity" or "made:parity").

    Each is of `length`, or of a random one from low to high: as many from 1 to 2 as from 10 to 20, so that there are
    short ones on which a rule can be found. What the length counts is in the task's own docstring. The same arguments
    give the same table.
    """
    name = name.removeprefix(PREFIX)
    if name not in TASKS:
        raise DataError(
            f"there is no made task {PREFIX}{name}{did_you_mean(name, TASKS)}; write for example {PREFIX}parity"
        )
    task, shortest = TASKS[name]
    low, high = (length, length) if isinstance(length, int) else length
    if low < shortest:
        raise OptionError(f"length {low} is too short for {PREFIX}{name}; its shortest is {shortest}")
    if high < low:
        raise OptionError(f"length {low}-{high} cannot be: the shortest comes first, then the longest")
    if count < 1:
        raise OptionError(f"count {count} cannot be; make at least one record")
    if count * high > _MOST_STEPS:
        raise OptionError(
            f"{count:,} records of up to {high:,} steps are too many; count times length may be at most {_MOST_STEPS:,}"
        )
    # the name is part of the seed, so that two tasks do not share their random numbers
    generator = random(seed, int.from_bytes(name.encode(), "little"))
    spread = low * ((high + 1) / low) ** generator.random(count)  # uniform on a logarithmic scale
    columns = task(generator, np.minimum(spread.astype(np.int64), high))
    return Table(PREFIX + name, columns, list(range(1, count + 1)), "record")


def _balanced(generator: np.random.Generator, count: int, classes: int) -> npt.NDArray[np.int64]:
    """Class numbers in random order, each class as often as any other (or once more)."""
    return generator.permutation(np.arange(count, dtype=np.int64) % classes)


def parity(generator: np.random.Generator, lengths: Lengths) -> Columns:
    """Whether a string of bits has an even (0) or odd (1) number of ones; the length counts bits. Classes balanced.

    Minsky & Papert 1969; for recurrent networks Hochreiter & Schmidhuber 1997, section 5.
    """
    return _digit_sums(generator, lengths, 2)


def modular(generator: np.random.Generator, lengths: Lengths) -> Columns:
    """The sum of digits 0 to 4 modulo 5; the length counts digits. Classes balanced.

    After modular arithmetic and cycle navigation in Delétang et al. 2023, Neural networks and the Chomsky hierarchy.
    """
    return _digit_sums(generator, lengths, _MODULUS)


def _digit_sums(generator: np.random.Generator, lengths: Lengths, modulus: int) -> Columns:
    labels = _balanced(generator, len(lengths), modulus)
    texts = []
    for length, label in zip(lengths, labels):
        digits = generator.integers(0, modulus, size=length, dtype=np.uint8)
        # the last digit makes the sum: all strings of this label stay equally likely
        digits[-1] = (label - digits[:-1].sum(dtype=np.int64)) % modulus
        texts.append((digits + ord("0")).tobytes().decode("ascii"))
    return {"text": texts, "label": [str(label) for label in labels]}


def adding(generator: np.random.Generator, lengths: Lengths) -> Columns:
    """The sum of the two marked numbers of a series (T, 2): numbers from 0 to 1, and marks; the length counts steps.

    Hochreiter & Schmidhuber 1997, section 5.4, in the form of Le, Jaitly & Hinton 2015: one mark in each half, always
    guessing 1 has a mean squared error of 1/6.
    """
    columns: Columns = {"series": [], "target": []}
    for length in lengths.tolist():
        series = np.zeros((length, 2), np.float32)  # (T, 2)
        series[:, 0] = generator.random(length, np.float32)
        marks = [generator.integers(0, length // 2), generator.integers(length // 2, length)]
        series[marks, 1] = 1
        columns["series"].append(series)
        columns["target"].append(float(series[marks, 0].sum(dtype=np.float64)))
    return columns


def copy(generator: np.random.Generator, lengths: Lengths) -> Columns:
    """Tag every step: ten symbols are shown, then blanks; after the delimiter they must be told again, in order.

    The length counts the blank steps to remember over, so a sequence has 20 steps more. Remembering nothing, the best
    loss is 10 ln 8 / (length + 20) nats a step. Hochreiter & Schmidhuber 1997; as in Arjovsky, Shah & Bengio 2016.
    """
    columns: Columns = {"tokens": [], "tags": []}
    for length in lengths.tolist():
        symbols = [_ALPHABET[index] for index in generator.integers(0, len(_ALPHABET), size=_COPIED)]
        columns["tokens"].append([*symbols, *[_BLANK] * (length - 1), _DELIMITER, *[_BLANK] * _COPIED])
        columns["tags"].append([*[_BLANK] * (length + _COPIED), *symbols])
    return columns


_NOUNS = (
    ("author", "authors"), ("child", "children"), ("doctor", "doctors"), ("farmer", "farmers"), ("guard", "guards"),
    ("king", "kings"), ("man", "men"), ("mouse", "mice"), ("pilot", "pilots"), ("senator", "senators"),
    ("tree", "trees"), ("wolf", "wolves"), ("woman", "women"),
)  # fmt: skip
_VERBS = (("admires", "admire"), ("fears", "fear"), ("likes", "like"), ("sees", "see"), ("watches", "watch"))
_PREPOSITIONS = ("behind", "beside", "near", "with")
_ADJECTIVES = ("clever", "new", "old", "quiet", "small", "tall")
_NUMBERS = ("singular", "plural")


def agreement(generator: np.random.Generator, lengths: Lengths) -> Columns:
    """Is the verb that comes next singular or plural? The subject decides, the nouns between are of the other number.

    The length counts those nouns. Columns text (the sentence up to its verb), label, distractors. Classes balanced, and
    the nearest noun is always wrong. After Linzen, Dupoux & Goldberg 2016.
    """
    labels = _balanced(generator, len(lengths), 2).tolist()
    texts = [_prefix(generator, label, count) for label, count in zip(labels, lengths.tolist())]
    return {"text": texts, "label": [_NUMBERS[label] for label in labels], "distractors": lengths.tolist()}


def _prefix(generator: np.random.Generator, number: int, distractors: int) -> str:
    """A sentence such as: the old author that the guards admire near the kings. `number` 1: a plural subject."""

    def pick(words: tuple[Any, ...]) -> Any:
        return words[generator.integers(len(words))]

    def noun_phrase(form: int) -> list[str]:
        adjective = [pick(_ADJECTIVES)] if generator.random() < 0.3 else []
        return ["the", *adjective, pick(_NOUNS)[form]]

    words = noun_phrase(number)
    for position in range(distractors):
        other = noun_phrase(1 - number)
        if position == 0 and generator.random() < 0.5:
            words += ["that", *other, pick(_VERBS)[1 - number]]
        else:
            words += [pick(_PREPOSITIONS), *other]
    return " ".join(words)


TASKS: dict[str, tuple[Callable[[np.random.Generator, Lengths], Columns], int]] = {
    "parity": (parity, 1),
    "adding": (adding, 2),
    "copy": (copy, 1),
    "modular": (modular, 1),
    "agreement": (agreement, 1),
    "stories": (stories, 1),
}
"""The made tasks by name, each with its shortest length."""
