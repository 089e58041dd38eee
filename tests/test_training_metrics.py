"""The metrics against scikit-learn and seqeval, on labels and tags of every odd kind."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import DataError
from elman.training import metrics

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)
TAG = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "I-b-c", "B", "I", "E-a", "S-b", "O-a"])
PAIRS = st.lists(st.lists(st.tuples(TAG, TAG), max_size=12), min_size=1, max_size=4)


@given(LABELS)
@settings(max_examples=60, deadline=None)
def test_accuracy_and_macro_f1_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    true, predicted = [t for t, _ in pairs], [p for _, p in pairs]
    assert metrics.accuracy(true, predicted) == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    with warnings.catch_warnings():  # about a single label
        warnings.simplefilter("ignore")
        expected = f1_score(true, predicted, average="macro", zero_division=0.0)
        table = confusion_matrix(true, predicted, labels=sorted({*true, *predicted}))
    assert metrics.macro_f1(true, predicted) == pytest.approx(expected, abs=1e-12)
    labels, counts = metrics.confusion_matrix(true, predicted)
    assert labels.tolist() == sorted({*true, *predicted})
    np.testing.assert_array_equal(counts, table)


@given(PAIRS)
@settings(max_examples=400, deadline=None)
def test_span_f1_is_seqevals(pairs: list[list[tuple[str, str]]]) -> None:
    true = [[t for t, _ in sequence] for sequence in pairs]
    predicted = [[p for _, p in sequence] for sequence in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

        expected = precision_recall_fscore_support(true, predicted, average="micro", zero_division=0)
        entities = [get_entities(tags) for tags in true]
    assert metrics.span_f1(true, predicted) == pytest.approx(
        {"precision": expected[0], "recall": expected[1], "f1": expected[2], "support": expected[3]}, abs=1e-12
    )
    assert [metrics.spans(tags) for tags in true] == entities


def test_span_f1_by_hand() -> None:
    true = [["B-PER", "I-PER", "O", "B-LOC"]]
    assert metrics.span_f1(true, [["B-PER", "I-PER", "O", "I-LOC"]])["f1"] == 1.0  # conlleval: I- begins a span
    assert metrics.span_f1(true, [["B-PER", "O", "O", "B-LOC"]]) == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "support": 2.0,
    }
    assert metrics.span_f1([["O"]], [["O"]]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0.0}


def test_losses() -> None:
    assert metrics.bits(math.log(2)) == pytest.approx(1.0)
    assert metrics.perplexity(math.log(50)) == pytest.approx(50)
    assert metrics.perplexity(1e9) == math.inf
    assert metrics.accuracy([], []) == metrics.macro_f1([], []) == 0.0


def test_many_labels_need_no_large_matrix() -> None:
    labels = np.arange(200_000)
    assert metrics.macro_f1(labels, labels) == 1.0
    with pytest.raises(DataError, match="200,000 different labels"):
        metrics.confusion_matrix(labels, labels)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.accuracy([1, 2], [1]), r"shape \(2,\)"),
        (lambda: metrics.span_f1([["O"]], []), "1 sequences of tags against 0"),
        (lambda: metrics.span_f1([["O"], ["O", "O"]], [["O"], ["O"]]), "sequence 2 has 2 tags but 1"),
        (lambda: metrics.span_f1([["O"]], [[""]]), "sequence 1 has an empty tag"),
        (lambda: metrics.spans(["O", ""]), "tag 2 of 2 is empty"),
    ],
)
def test_what_cannot_be_compared_is_said(call: object, match: str) -> None:
    with pytest.raises(DataError, match=match):
        call()  # type: ignore[operator]
