"""Connectionist temporal classification: beam search against the sum over every alignment, alone and with language."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from elman.errors import OptionError
from elman.models import LanguageModel
from elman.models.speech.ctc import Prefix, beam_search, greedy, steps_needed
from elman.models.speech.fusion import LanguageScorer
from elman.models.speech.transcriber import ctc_loss


def made(steps: int, classes: int, seed: int = 0, sharp: float = 2.0) -> np.ndarray:
    """Log probabilities (T, 1 + V)."""
    logits = sharp * np.random.default_rng(seed).normal(size=(steps, classes))
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


def collapsed(path: Sequence[int]) -> Prefix:
    return tuple(v - 1 for v, _ in itertools.groupby(path) if v)


def every_transcript(rows: np.ndarray) -> dict[Prefix, float]:
    """The probability of every transcript: the sum over all paths that collapse to it."""
    found: defaultdict[Prefix, float] = defaultdict(float)
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        found[collapsed(path)] += math.exp(sum(rows[t, v] for t, v in enumerate(path)))
    return found


CASES = [(1, 2, 0), (2, 2, 1), (5, 2, 2), (4, 3, 3), (6, 3, 4), (5, 4, 5), (7, 3, 6)]


@pytest.mark.parametrize(("steps", "classes", "seed"), CASES)
def test_a_wide_beam_sums_over_all_alignments(steps: int, classes: int, seed: int) -> None:
    rows = made(steps, classes, seed)
    true = every_transcript(rows)
    found = beam_search(rows, 10_000, least=-math.inf)
    assert {one.tokens for one in found} == set(true)
    for one in found:
        assert math.isclose(math.exp(one.log_probability), true[one.tokens], rel_tol=1e-12)
        assert one.score == one.log_probability
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert math.isclose(sum(true.values()), 1, rel_tol=1e-12)


@pytest.mark.parametrize(("steps", "classes", "seed"), CASES)
def test_torch_gives_transcripts_the_same_probabilities(steps: int, classes: int, seed: int) -> None:
    rows = made(steps, classes, seed)
    for one in beam_search(rows, 10_000, least=-math.inf):
        if one.tokens:
            nats = ctc_loss(torch.from_numpy(rows)[:, None], [steps], [np.array(one.tokens)])
            assert math.isclose(float(nats), -one.log_probability, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_a_narrow_beam_never_claims_too_much(width: int) -> None:
    for seed in range(10):
        rows = made(6, 3, seed)
        true = every_transcript(rows)
        found = beam_search(rows, width)
        assert len(found) <= width
        assert all(one.log_probability <= math.log(true[one.tokens]) + 1e-12 for one in found)
    assert beam_search(rows, 8)[0].tokens == max(true, key=lambda tokens: true[tokens])


def test_search_finds_what_the_best_path_does_not() -> None:
    """Blank is the likeliest at each step, but "a" has three alignments: the example of Graves 2012, section 7.5."""
    rows = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(rows) == []
    best = beam_search(rows, 4)[0]
    assert best.tokens == (0,)
    assert math.isclose(math.exp(best.log_probability), 0.64)


def test_the_best_path() -> None:
    for seed in range(20):
        rows = made(9, 4, seed)
        assert tuple(greedy(rows)) == collapsed(rows.argmax(1).tolist())
    path = [1, 1, 0, 1, 2, 2, 0, 0, 3]
    assert greedy(np.log(np.eye(4)[path] + 1e-9)) == [0, 0, 1, 2]
    assert beam_search(np.log(np.eye(4)[path] + 1e-9), 4)[0].tokens == (0, 0, 1, 2)


def test_steps_needed() -> None:
    """Against the shortest path that collapses to the transcript."""
    for tokens in itertools.chain.from_iterable(itertools.product(range(2), repeat=n) for n in range(5)):
        needed = next(
            steps
            for steps in range(9)
            if any(collapsed(path) == tokens for path in itertools.product(range(3), repeat=steps))
        )
        assert steps_needed(tokens) == needed


@pytest.mark.parametrize(("weight", "bonus"), [(1.0, 0.0), (0.3, 0.7), (2.0, -0.5), (0.0, 1.0)])
def test_language_ranks_as_it_should(weight: float, bonus: float) -> None:
    """A made bigram model with an end, against the formula over every transcript."""
    rows, random = made(5, 3, 7), np.random.default_rng(3)
    bigram = np.log(random.dirichlet(np.ones(3), size=3))  # [before: start, 0, 1][next: 0, 1, end]
    asked: list[Prefix] = []

    def following(prefixes: Sequence[Prefix]) -> np.ndarray:
        asked.extend(prefixes)
        return np.stack([bigram[prefix[-1] + 1 if prefix else 0] for prefix in prefixes])

    def expected(tokens: Prefix, probability: float) -> float:
        language = sum(bigram[a + 1, b] for a, b in zip((-1, *tokens), tokens)) + bigram[(-1, *tokens)[-1] + 1, 2]
        return math.log(probability) + weight * language + bonus * len(tokens)

    found = beam_search(rows, 10_000, language=following, weight=weight, bonus=bonus, least=-math.inf)
    true = every_transcript(rows)
    assert len(found) == len(true)
    for one in found:
        assert math.isclose(one.score, expected(one.tokens, true[one.tokens]), rel_tol=1e-9)
    assert found[0].tokens == max(true, key=lambda tokens: expected(tokens, true[tokens]))
    assert len(asked) == len(set(asked))  # what was asked once is kept


# -- a language model of ours ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def language() -> LanguageModel:
    model = LanguageModel(
        cell="gru", hidden_size=8, embedding_size=5, num_layers=2, epochs=2, batch_size=4, lines=True,
        valid_fraction=0.0, lr=0.02,
    )  # fmt: skip
    return model.fit(["ab", "abab", "ba", "abba"] * 10)


def test_the_language_model_scores_prefixes_as_it_scores_texts(language: LanguageModel) -> None:
    scorer = LanguageScorer(language, ["b", "a"], "char")  # the transcriber's numbers are others
    rows = {(): scorer([()])[0]}
    for length in (1, 2, 3):
        fresh = list(itertools.product(range(2), repeat=length))
        rows |= zip(fresh, scorer(fresh))
    for prefix, row in rows.items():
        text = "".join("ba"[v] for v in prefix)
        total = sum(rows[prefix[:k]][v] for k, v in enumerate(prefix)) + row[-1]
        assert math.isclose(total, language.score([text])[0]["log_probability"], rel_tol=1e-5)
    again = scorer([()])  # a new sound
    assert np.allclose(again[0], rows[()])


def test_the_language_model_decides_where_the_sound_does_not(language: LanguageModel) -> None:
    """Two letters that sound alike: the likelier spelling wins, also where the sound speaks a little for another."""
    scorer = LanguageScorer(language, ["a", "b"], "char")
    texts = {two: language.score([two])[0]["log_probability"] for two in ("aa", "ab", "ba", "bb")}
    best, worst = max(texts, key=lambda text: texts[text]), min(texts, key=lambda text: texts[text])
    blank = [0.98, 0.01, 0.01]
    letters = [[0.02, *((0.52, 0.46) if letter == "a" else (0.46, 0.52))] for letter in worst]
    rows = np.log([letters[0], blank, letters[1], blank])
    assert "".join("ab"[v] for v in beam_search(rows, 8)[0].tokens) == worst
    helped = beam_search(rows, 100, language=scorer, weight=3.0)
    scores = {"".join("ab"[v] for v in one.tokens): one.score for one in helped}
    assert max(texts, key=lambda text: scores[text]) == best


def test_language_models_that_do_not_fit(language: LanguageModel) -> None:
    with pytest.raises(OptionError, match=r"the language model's tokens are 'char' and the transcriber's 'word'"):
        LanguageScorer(language, ["a"], "word")
    with pytest.raises(OptionError, match="knows none of the transcriber's tokens"):
        LanguageScorer(language, ["7", "8"], "char")
    with pytest.raises(OptionError, match="has no weights yet"):
        LanguageScorer(LanguageModel(), ["a"], "char")
