"""BLEU and error rates: against the libraries' own figures, several references, texts and references of any shape."""

from __future__ import annotations

import sys

import jiwer
import pytest
import sacrebleu

from elman.errors import DataError, OptionError
from elman.training.text_metrics import bleu, error_rate, exact

TEXTS = ["the cat sat on the mat .", "a man is reading a book", "hello"]
ONE = [["The cat sits on the mat."], ["a man reads a big book"], ["hello there"]]


def test_one_reference_is_the_libraries_own_figure() -> None:
    references = [own[0] for own in ONE]
    assert bleu(TEXTS, ONE, lower=True) == sacrebleu.corpus_bleu(TEXTS, [references], lowercase=True).score
    assert bleu(TEXTS, ONE) < bleu(TEXTS, ONE, lower=True)
    assert error_rate(TEXTS, ONE) == pytest.approx(jiwer.wer(references, TEXTS))
    assert error_rate(TEXTS, ONE, characters=True) == pytest.approx(jiwer.cer(references, TEXTS))


def test_the_nearest_of_several_references_counts() -> None:
    several = [[*ONE[0], "the cat sat on the mat ."], ONE[1], ["bye", *ONE[2]]]
    assert error_rate(TEXTS, several) == pytest.approx((0 + 3 + 1) / (7 + 6 + 2))  # of 1/1 and 1/2 the latter
    assert bleu(TEXTS, several) > bleu(TEXTS, ONE)
    assert exact(TEXTS, several) == 1 / 3
    assert exact(["a", "b"], [["x", "a"], ["a"]]) == 0.5


def test_empty_texts_and_none_at_all() -> None:
    assert error_rate(["", "x"], [["a b"], [""]]) == pytest.approx(3 / 2)
    assert (bleu([], []), error_rate([], []), exact([], [])) == (0.0, 0.0, 0.0)
    assert bleu([""], [["a b c d"]]) == 0.0


def test_what_cannot_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for figure in (bleu, error_rate, exact):
        with pytest.raises(DataError, match="1 texts against 0 lists of references"):
            figure(["a"], [])
        with pytest.raises(DataError, match="a text has no reference to be judged by"):
            figure(["a"], [[]])
    for name, figure in (("sacrebleu", bleu), ("jiwer", error_rate)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(OptionError, match=rf"the library {name}; install it with: pip install 'elman\[data\]'"):
            figure(["a"], [["a"]])
