"""Sequences of sets of labels, such as the notes of each step of a piece, as arrays (T, K) of 0 and 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError, OptionError, did_you_mean

Roll = npt.NDArray[np.bool_]
MAX_LABELS = 4096
"""K at most: an array holds a number for every label at every step."""


def named_labels(text: str) -> list[str]:
    """The labels that an option names: all whole numbers as 21-108, or a,b,c. Raises OptionError."""
    first, dash, last = text.partition("-")
    if dash and first.isdecimal() and last.isdecimal() and len(first) < 10 and len(last) < 10:
        names = [str(number) for number in range(int(first), min(int(last), int(first) + MAX_LABELS) + 1)]
    else:
        names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) != len(names) or not 1 <= len(names) <= MAX_LABELS:
        raise OptionError(
            f"--labels must be numbers such as 21-108, or names such as a,b,c, at most {MAX_LABELS:,} and each once, "
            f"not {brief(text)}"
        )
    return names


def label_names(pieces: Sequence[Any], where: Table | str) -> list[str]:
    """The labels that occur, numbers by size, else names by the alphabet; of arrays (T, K): "0" to "K-1"."""
    if isinstance(pieces[0], np.ndarray):
        wide = pieces[0].shape[1] if pieces[0].ndim == 2 else 0
        names = [str(number) for number in range(min(wide, MAX_LABELS + 1))]
    else:
        found = {label for i, piece in enumerate(pieces) for step in _steps(piece, _place(where, i)) for label in step}
        names = sorted(found, key=lambda name: (0, int(name), "") if _number(name) else (1, 0, name))
    if not names:
        raise DataError(f"{where if isinstance(where, str) else where.source}: there is no label in any step")
    if len(names) > MAX_LABELS:
        raise DataError(f"there are {len(names):,} labels; at most {MAX_LABELS:,} are taken")
    return names


def rolls(pieces: Sequence[Any], names: Sequence[str], where: Table | str) -> list[Roll]:
    """Every piece as an array (T, K). A piece is an array (T, K) of 0 and 1, or a list of steps, each a list or set of
    labels (whole numbers or texts). Raises DataError, naming the piece and the step."""
    index = {name: place for place, name in enumerate(names)}
    return [_roll(piece, index, _place(where, number)) for number, piece in enumerate(pieces)]


def _roll(piece: Any, index: dict[str, int], where: str) -> Roll:
    if isinstance(piece, np.ndarray):
        if piece.ndim != 2 or piece.shape[1] != len(index) or piece.dtype.kind not in "biuf":
            shape = f"{piece.shape} of {piece.dtype}"
            raise DataError(f"{where}: expected an array (T, {len(index)}) of 0 and 1, one column a label, got {shape}")
        if not np.isin(piece, (0, 1)).all():
            raise DataError(f"{where}: the array holds other numbers than 0 and 1")
        return piece.astype(bool)
    steps = _steps(piece, where)
    roll = np.zeros((len(steps), len(index)), bool)
    for number, step in enumerate(steps):
        for label in step:
            if label not in index:
                near = did_you_mean(label, index) if len(index) <= 50 else ""
                raise DataError(
                    f"{where}, step {number + 1}: unknown label {brief(label)}{near}; the model knows those it was "
                    "trained on, and --labels can name more"
                )
            roll[number, index[label]] = True
    return roll


def _steps(piece: Any, where: str) -> list[list[str]]:
    """The labels of every step, as texts."""
    if not isinstance(piece, list | tuple):
        raise DataError(f"{where}: expected a list of steps such as [[60, 64], [], [62]], got {type(piece).__name__}")
    return [_labels(step, f"{where}, step {number + 1}") for number, step in enumerate(piece)]


def _labels(step: Any, where: str) -> list[str]:
    if isinstance(step, str | bytes) or not isinstance(step, Iterable):
        raise DataError(f"{where}: expected a list of labels such as [60, 64], got {brief(step)}")
    labels = []
    for label in step:
        if not isinstance(label, str | int | np.integer) or isinstance(label, bool):
            raise DataError(f"{where}: a label is a whole number or a text, not {brief(label)}")
        labels.append(str(label))
    return labels


def _number(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and len(name) < 20


def _place(where: Table | str, index: int) -> str:
    return where.place(index) if isinstance(where, Table) else f"{where}, number {index + 1}"
