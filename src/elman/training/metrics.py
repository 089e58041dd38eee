"""Figures by which predictions are judged: pure functions of labels, tags and losses. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError

MAX_LABELS = 4096


def bits(loss: float) -> float:
    """A loss in nats per unit as bits per unit."""
    return loss / math.log(2.0)


def in_nats(unit: str | None) -> bool:
    """Whether a loss per unit is one of probabilities; per "values" it may be any error of numbers."""
    return unit not in ("value", "values")


def perplexity(loss: float) -> float:
    """exp(loss), loss in nats per unit; infinite where that is too large for a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def accuracy(true: ArrayLike, predicted: ArrayLike) -> float:
    """The share of labels predicted right; 0 where there are none. Raises DataError for unequal lengths."""
    expected, given = _pair(true, predicted)
    return float(np.mean(expected == given)) if expected.size else 0.0


def confusion_matrix(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The labels that occur, sorted, and the counts: row the true label, column the predicted one."""
    labels, expected, given = _codes(true, predicted)
    size = len(labels)
    if size > MAX_LABELS:
        raise DataError(f"{size:,} different labels make too large a confusion matrix; {MAX_LABELS:,} are allowed")
    counts = np.bincount(expected * size + given, minlength=size * size)
    return labels, counts.reshape(size, size).astype(np.int64)


def macro_f1(true: ArrayLike, predicted: ArrayLike) -> float:
    """F1 of each label that occurs, true or predicted, averaged without weights; a label never hit counts 0."""
    labels, expected, given = _codes(true, predicted)
    if not len(labels):
        return 0.0
    hits, rows, columns = (
        np.bincount(c, minlength=len(labels)) for c in (expected[expected == given], expected, given)
    )
    # 2·hits/(true + predicted): the harmonic mean of precision and recall; the sum is above 0 for a label that occurs.
    return float(np.mean(2.0 * hits / (rows + columns)))


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans (type, first, last) of one sequence of BIO tags ('B-PER', 'I-PER', 'O'; IOBES 'E-', 'S-' as well).

    As conlleval reads them: an I- that follows nothing of its type begins a span, a change of type ends one.
    """
    found: list[tuple[str, int, int]] = []
    before, before_kind, first = "O", "", 0
    for position, full in enumerate([*tags, "O"]):
        if not full:
            raise DataError(f"tag {position + 1} of {len(tags)} is empty; expected 'O', 'B-...' or 'I-...'")
        tag, kind = full[0], full[1:].split("-", maxsplit=1)[-1] or "_"
        changes = before_kind != kind
        if before in "ES" or (before in "BI" and tag in "BSO") or (before not in "O." and changes):
            found.append((before_kind, first, position - 1))
        if tag in "BS" or (before in "ESO" and tag in "EI") or (tag not in "O." and changes):
            first = position
        before, before_kind = tag, kind
    return found


def span_f1(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall, F1 and support (true spans) over all spans of all sequences: a span is right when its type,
    first and last position are; the numbers of conlleval and of seqeval's default. Raises DataError for wrong lengths.
    """
    if len(true) != len(predicted):
        raise DataError(f"{len(true)} sequences of tags against {len(predicted)} predicted: they must be as many")
    flat: tuple[list[str], list[str]] = ([], [])
    for number, pair in enumerate(zip(true, predicted, strict=True), 1):
        if len(pair[0]) != len(pair[1]):
            raise DataError(f"sequence {number} has {len(pair[0])} tags but {len(pair[1])} predicted")
        if not all(pair[0]) or not all(pair[1]):
            raise DataError(f"sequence {number} has an empty tag; expected 'O', 'B-...' or 'I-...'")
        for tags, line in zip(pair, flat, strict=True):
            line += [*tags, "O"]
    expected, given = set(spans(flat[0])), set(spans(flat[1]))
    hits = len(expected & given)
    precision = hits / len(given) if given else 0.0
    recall = hits / len(expected) if expected else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": float(len(expected))}


def edit_distance(true: Sequence[Any], found: Sequence[Any]) -> int:
    """The least number of insertions, deletions and substitutions that make one sequence the other (Levenshtein)."""
    numbers: dict[Any, int] = {}
    a, b = (np.array([numbers.setdefault(token, len(numbers)) for token in part]) for part in (true, found))
    steps = np.arange(len(b) + 1)
    row = steps
    for place, token in enumerate(a, 1):  # row[j]: from the first `place` tokens to the first j of b
        best = np.minimum(row[1:] + 1, row[:-1] + (b != token))
        row = np.minimum.accumulate(np.concatenate([[place], best]) - steps) + steps  # then insertions from the left
    return int(row[-1])


def error_rate(true: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> float:
    """Edits over all sequences for each token of the true ones: the word error rate, or that of characters; above 1
    where much is inserted. Raises DataError for another number of sequences."""
    if len(true) != len(found):
        raise DataError(f"{len(true)} sequences against {len(found)} found: they must be as many")
    edits = sum(edit_distance(a, b) for a, b in zip(true, found, strict=True))
    return edits / max(1, sum(len(a) for a in true))


def _pair(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    expected, given = np.asarray(true), np.asarray(predicted)
    if expected.shape != given.shape or expected.ndim != 1:
        raise DataError(
            f"labels of shape {expected.shape} against predictions of shape {given.shape}: both must be (B,)"
        )
    return expected, given


def _codes(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    expected, given = _pair(true, predicted)
    labels, codes = np.unique(np.concatenate([expected, given]), return_inverse=True)
    return labels, codes[: len(expected)], codes[len(expected) :]
