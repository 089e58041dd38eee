"""Classifiers: every kind of input, poolings, class weights by hand, scaling, wrong data, learning."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.data import Table, read_table
from elman.data.made import make
from elman.errors import DataError, OptionError, TrainingError
from elman.models import SequenceClassifier, inputs
from elman.models.inputs import fitting
from elman.models.sequence.ngrams import Direct
from elman.models.sequence.sequence import _Trainee
from elman.nn.head import POOLINGS
from elman.runtime import ngrams

SMALL: dict[str, Any] = {"cell": "gru", "hidden_size": 8, "epochs": 1, "valid_fraction": 0.0, "patience": None}
QUICK: dict[str, Any] = {**SMALL, "epochs": 25, "lr": 0.02}

TEXTS = ["good fine film", "bad poor film", "good nice plot", "poor bad plot"] * 6
SENSE = ["pos", "neg", "pos", "neg"] * 6


def ramps(count: int, channels: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Rising and falling series of 3 to 9 steps."""
    generator = np.random.default_rng(seed)
    rows, labels = [], []
    for i in range(count):
        steps = np.arange(generator.integers(3, 10), dtype=np.float32)[:, None] * (1 if i % 2 else -1)
        rows.append(steps + generator.normal(0, 0.1, (len(steps), channels)).astype(np.float32))
        labels.append("up" if i % 2 else "down")
    return rows, labels


# -- every kind of input -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("texts", "level", "tokens"),
    [
        (["abc", "bcd"], "char", "c"),
        (["a good film", "one bad, bad film"], "word", "film"),
        (["two words", "only two"], "char", " "),  # fewer than three words on average: names, codes
    ],
)
def test_the_level_is_found(texts: list[str], level: str, tokens: str) -> None:
    model = SequenceClassifier(**SMALL, min_count=1).fit(texts, ["x", "y"])
    assert model.level_ == level
    assert tokens in model.vocabulary_
    assert model.module_.pool.kind == ("max" if level == "word" else "last")


def test_n_grams_by_definition() -> None:
    """The sum of the rows of all n-grams, the edges among them, over the root of their number, times the scale."""
    torch.manual_seed(0)
    lengths, tokens = [1, 2, 5, 3, 7], torch.randint(0, 1000, (7, 5))
    for order in (1, 2, 3, 4, 8):
        direct = Direct(order, 97, 3, 0.5).eval()
        torch.nn.init.normal_(direct.weight)
        for length, got, column in zip(lengths, direct(tokens, np.array(lengths)), tokens.T.tolist()):
            read = [ngrams.EDGE, *(token + 1 for token in column[:length]), ngrams.EDGE]
            found = [read[end - n : end] for end in range(2, len(read) + 1) for n in range(1, min(order, end) + 1)]
            rows = direct.weight[[ngrams.row(ngram, 97) for ngram in found]]
            torch.testing.assert_close(got, rows.sum(0) / math.sqrt(len(found)) * ngrams.SCALE, atol=1e-5, rtol=1e-5)
        assert torch.equal(direct(tokens.int(), lengths), direct(tokens, lengths))


def test_n_grams_have_rows_of_their_own() -> None:
    found = {ngrams.row(ngram, 1 << 20) for n in (1, 2, 3) for ngram in itertools.product(range(12), repeat=n)}
    assert len(found) > 0.995 * (12 + 12**2 + 12**3)  # by chance 0.9991


def test_n_grams_tell_what_recurrent_layers_learn_late() -> None:
    """Which of two pairs of letters stands in a text: one unit does not learn that in three epochs, bigrams do."""
    generator = np.random.default_rng(0)
    texts, labels = [], []
    for k in range(300):
        letters = generator.choice(list("cdefgh"), 12).tolist()
        place = generator.integers(0, 10)
        letters[place : place + 2] = "ab" if k % 2 else "ba"
        texts.append("".join(letters))
        labels.append("x" if k % 2 else "y")
    options = {**SMALL, "hidden_size": 1, "epochs": 3, "lr": 0.01}
    with_ngrams = SequenceClassifier(**options, ngrams=2).fit(texts[:200], labels[:200])
    without = SequenceClassifier(**options).fit(texts[:200], labels[:200])
    assert with_ngrams.score(texts[200:], labels[200:]) > 0.95
    assert without.score(texts[200:], labels[200:]) < 0.7


def test_n_grams_are_of_texts() -> None:
    with pytest.raises(OptionError, match="--ngrams is for texts, but the sequences are series of numbers"):
        SequenceClassifier(**SMALL, ngrams=2).fit([[1, 2, 3], [4.5, 5]], ["x", "y"])
    for wrong, problem in (({"ngrams": 9}, "can be 8 at most, not 9"), ({"ngrams": -1}, "0 or more"),
                           ({"ngrams": True}, "0 or more"), ({"ngram_rows": 0}, "1 or more"),
                           ({"ngram_rows": 10**20}, "16,777,216 at most")):  # fmt: skip
        with pytest.raises(OptionError, match=problem):
            SequenceClassifier(**{**SMALL, **wrong}).fit(TEXTS, SENSE)


def test_numbers_are_series() -> None:
    model = SequenceClassifier(**SMALL).fit([[1, 2, 3], [4.5, 5]], ["x", "y"])
    assert (model.level_, model.vocabulary_) == ("series", None)


@pytest.mark.parametrize("level", ["word", "space", "char"])
def test_texts_are_learnt(level: str) -> None:
    model = SequenceClassifier(**QUICK, level=level).fit(TEXTS, SENSE)
    assert model.score(TEXTS, SENSE) == 1.0
    assert model.predict(["nice fine plot", "poor film"]) == ["pos", "neg"]


@pytest.mark.parametrize("channels", [1, 3])
def test_ragged_series_are_learnt(channels: int) -> None:
    model = SequenceClassifier(**QUICK).fit(*ramps(40, channels))
    assert model.score(*ramps(40, channels, seed=1)) == 1.0


def test_gates_may_start_with_long_memories(tmp_path: Path) -> None:
    rows, labels = ramps(8, 1)
    still = {**SMALL, "cell": "lstm", "lr": 1e-9, "hidden_size": 64}  # as good as untrained
    model = SequenceClassifier(**still, chrono=50).fit(rows, labels)
    (part, *_) = model.module_.recurrent.parts()
    spans = part.weights["bias_f"].detach().exp()
    assert 1 <= float(spans.min()) < 5
    assert 40 < float(spans.max()) <= 49
    model.save(tmp_path / "a.elman")
    assert SequenceClassifier.load(tmp_path / "a.elman").chrono == 50
    with pytest.raises(OptionError, match="no gate of memory in rnn"):
        SequenceClassifier(**{**still, "cell": "rnn"}, chrono=50).fit(rows, labels)
    with pytest.raises(OptionError, match="--chrono must be a whole number, 3 or more, or none, not 2"):
        SequenceClassifier(**still, chrono=2).fit(rows, labels)


def test_lists_arrays_and_one_dimension_are_the_same() -> None:
    rows, labels = ramps(8, 1)
    model = SequenceClassifier(**SMALL).fit(rows, labels)
    expected = model.predict_proba(rows)
    for same in ([row.tolist() for row in rows], [row[:, 0] for row in rows], [row[:, 0].tolist() for row in rows]):
        assert np.array_equal(model.predict_proba(same), expected)
    whole = np.stack([rows[0][:3], rows[1][:3]])
    assert np.array_equal(model.predict_proba(whole), model.predict_proba(list(whole)))
    assert len(model.predict([[1.0]])) == 1


def test_words_ignore_case_where_asked() -> None:
    model = SequenceClassifier(**SMALL, lower=True).fit(TEXTS, SENSE)
    assert np.array_equal(model.predict_proba(["GOOD Film"]), model.predict_proba(["good film"]))
    other = SequenceClassifier(**SMALL).fit(TEXTS, SENSE)
    assert not np.array_equal(other.predict_proba(["GOOD Film"]), other.predict_proba(["good film"]))


def test_predictions_are_independent_of_batching_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SequenceClassifier(**SMALL, level="char").fit(TEXTS, SENSE)
    texts = ["", "a", "good fine film " * 4, "bad", "", "plot plot"]
    expected = np.concatenate([model.predict_proba([text]) for text in texts])
    assert np.allclose(model.predict_proba(texts), expected, atol=1e-6)
    assert np.allclose(model.predict_proba(texts[::-1])[::-1], expected, atol=1e-6)
    monkeypatch.setattr("elman.models.sequence.sequence.MAX_STEPS", 20)
    assert np.allclose(model.predict_proba(texts), expected, atol=1e-6)
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 2)


class Frame:
    """What a data frame of pandas or polars has of what is used."""

    def __init__(self, **columns: Any) -> None:
        self.values, self.columns = columns, list(columns)

    def __getitem__(self, name: str) -> Any:
        return np.array(self.values[name], object)


def test_tables_files_and_data_frames(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("note,mood\n" + "".join(f"{t},{s}\n" for t, s in zip(TEXTS, SENSE)))
    options = {**SMALL, "input": "note", "target": "mood", "level": "word"}
    lists = SequenceClassifier(**options).fit(TEXTS, SENSE, valid=(TEXTS[:4], SENSE[:4]))
    path = tmp_path / "train.csv"
    frame = Frame(note=TEXTS, mood=SENSE)
    held = Table("held", {"note": TEXTS[:4], "mood": SENSE[:4]}, [1, 2, 3, 4])
    for data, valid in ((path, path), (read_table(path), held), (frame, (TEXTS[:4], SENSE[:4]))):
        model = SequenceClassifier(**options).fit(data, valid=valid)
        assert np.array_equal(model.predict_proba(data), lists.predict_proba(TEXTS))
        assert model.evaluate(data) == lists.evaluate(TEXTS, SENSE)
        judged = model.score(*valid) if isinstance(valid, tuple) else model.score(valid)
        assert model.summary_.best["accuracy"] == judged


def test_columns_as_the_steps_of_a_series() -> None:
    table = Table("t", {"a": ["1", "5"], "b": ["2", "4"], "label": ["up", "down"]}, [2, 3])
    for columns in ("a,b", "*"):
        model = SequenceClassifier(**SMALL, input=columns).fit(table)
        assert model.level_ == "series"
        assert np.array_equal(model.predict_proba(table), model.predict_proba([[1, 2], [5, 4]]))


# -- the network -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_is_learnt_and_kept(pooling: str, tmp_path: Path) -> None:
    model = SequenceClassifier(**QUICK, pooling=pooling, head_sizes=[5]).fit(TEXTS, SENSE)
    assert model.module_.pool.kind == pooling
    assert model.score(TEXTS, SENSE) == 1.0
    model.save(tmp_path / "model.elman")
    again = SequenceClassifier.load(tmp_path / "model.elman")
    assert np.array_equal(again.predict_proba(TEXTS), model.predict_proba(TEXTS))


def test_deep_heads() -> None:
    model = SequenceClassifier(**SMALL, head_sizes=(7, 5), bidirectional=False).fit(TEXTS, SENSE)
    shapes = [tuple(m.weight.shape) for m in model.module_.head if isinstance(m, torch.nn.Linear)]
    assert shapes == [(7, 8), (5, 7), (2, 5)]


def test_probabilities_sum_to_one_and_follow_the_classes() -> None:
    model = SequenceClassifier(**QUICK).fit([*TEXTS, "so so film"], [*SENSE, "meh"])
    shares = model.predict_proba(TEXTS)
    assert shares.shape == (len(TEXTS), 3)
    assert np.allclose(shares.sum(1), 1, atol=1e-12)
    assert sorted(model.classes_) == ["meh", "neg", "pos"]
    assert model.predict(TEXTS) == [model.classes_[i] for i in shares.argmax(1)]
    assert model.predict(TEXTS) == SENSE


def test_figures_by_hand() -> None:
    model = SequenceClassifier(**SMALL).fit(TEXTS, SENSE)
    labels = ["pos", "pos", "neg", "neg"]
    shares, figures = model.predict_proba(TEXTS[:4]), model.evaluate(TEXTS[:4], labels)
    right = [shares[i, model.classes_.index(label)] for i, label in enumerate(labels)]
    assert figures["loss"] == pytest.approx(-np.log(right).mean(), rel=1e-9)
    assert figures["accuracy"] == np.mean([a == b for a, b in zip(model.predict(TEXTS[:4]), labels)])
    assert model.score(TEXTS[:4], labels) == figures["accuracy"]


# -- class weights -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("balanced", {"a": 12 / (3 * 8), "b": 12 / (3 * 3), "c": 12 / (3 * 1)}),
        ({"a": 0.25, "c": 4}, {"a": 0.25, "b": 1.0, "c": 4.0}),
    ],
)
def test_class_weights_change_the_loss(given: Any, weights: dict[str, float], tmp_path: Path) -> None:
    texts, labels = ["abc", "cba", "aab"] * 4, ["a"] * 8 + ["b"] * 3 + ["c"]
    model = SequenceClassifier(**SMALL, class_weight=given).fit(texts, labels)
    rows = model._rows(model._tokens(texts, "here"))
    one = _Trainee(model, rows, model._numbers(labels, "here"), [], np.zeros(0, np.int64))
    batch = np.array([0, 9, 11, 3])
    loss, units, _ = one.loss(batch, None)
    shares = torch.from_numpy(np.log(model.predict_proba(texts)))
    each = [-shares[i, model.classes_.index(labels[i])].item() * weights[labels[i]] for i in batch]
    assert loss.item() == pytest.approx(sum(each) / sum(weights[labels[i]] for i in batch), rel=1e-5)
    assert units == 4
    model.save(tmp_path / "weighted.elman")
    again = SequenceClassifier.load(tmp_path / "weighted.elman")
    assert again.class_weight == given
    assert torch.equal(again.class_weights(one.numbers), model._class_weights)


def test_a_balanced_loss_finds_the_rare_class() -> None:
    texts, labels = ["ab", "ba"] * 3 + ["ab"] * 54, ["rare", "often"] * 3 + ["often"] * 54
    plain = SequenceClassifier(**{**SMALL, "epochs": 10, "lr": 0.02}).fit(texts, labels)
    weighted = SequenceClassifier(**{**SMALL, "epochs": 10, "lr": 0.02}, class_weight={"rare": 50}).fit(texts, labels)
    assert (plain.predict(["ab"]), weighted.predict(["ab"])) == (["often"], ["rare"])


# -- scaling, vocabularies: of the training data only ------------------------------------------------------------------
def test_scaling_is_learnt_on_training_data_only_and_applied() -> None:
    rows = [np.array([[10.0, 5, 1e-12], [30, 5, 3e-12]]), np.array([[20.0, 5, 2e-12]]), np.array([[40.0, 5, 0]])]
    held = ([np.array([[1e6, -3, 7]])], ["b"])
    model = SequenceClassifier(**SMALL).fit(rows, ["a", "b", "a"], valid=held)
    every = np.concatenate(rows)
    mean, scale = every.mean(0), every.std(0)
    assert np.allclose(model.module_.mean, mean)
    assert np.allclose(model.module_.scale, [scale[0], 1.0, scale[2]])  # a constant stays, units do not matter
    seen: list[torch.Tensor] = []
    hook = model.module_.recurrent.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.predict([rows[0]])
    hook.remove()
    assert np.allclose(seen[0][:, 0], (rows[0] - mean) / [scale[0], 1.0, scale[2]], atol=1e-4)


def test_shifted_and_scaled_data_give_the_same_model() -> None:
    rows, labels = ramps(12, 2)
    one = SequenceClassifier(**SMALL).fit(rows, labels)
    moved = [row * np.float32(64) + np.float32(32) for row in rows]
    two = SequenceClassifier(**SMALL).fit(moved, labels)
    assert np.allclose(one.predict_proba(rows), two.predict_proba(moved), atol=1e-3)


def test_the_held_out_part_gives_no_tokens_and_no_scaling() -> None:
    texts = [chr(ord("a") + i) for i in range(20)]  # every text has a character of its own
    model = SequenceClassifier(**{**SMALL, "valid_fraction": 0.25}).fit(texts, ["x", "y"] * 10)
    assert len(model.vocabulary_) == 1 + 15
    rows = [[float(2**i)] for i in range(20)]
    series = SequenceClassifier(**{**SMALL, "valid_fraction": 0.25}).fit(rows, ["x", "y"] * 10)
    kept = [row for text, row in zip(texts, rows) if text in model.vocabulary_]
    assert series.module_.mean.item() == pytest.approx(np.mean(kept), rel=1e-6)


def test_the_fraction_held_out_decides_the_weights_kept() -> None:
    model = SequenceClassifier(**{**SMALL, "valid_fraction": 0.5}).fit(TEXTS, SENSE)
    assert set(model.summary_.best) == {"loss", "accuracy", "macro_f1"}
    assert SequenceClassifier(**SMALL).fit(TEXTS, SENSE).summary_.best == {}


# -- wrong data --------------------------------------------------------------------------------------------------------
def test_unknown_labels_at_evaluation() -> None:
    model = SequenceClassifier(**SMALL).fit(TEXTS, SENSE)
    with pytest.raises(DataError, match=r"number 2: unknown label 'poss' \(did you mean 'pos'\?\)"):
        model.evaluate(TEXTS[:2], ["pos", "poss"])
    with pytest.raises(DataError, match="number 1: unknown label 'meh'"):
        model.fit(TEXTS, SENSE, valid=(["x"], ["meh"]))
    table = Table("test.csv", {"text": ["x"], "label": ["meh"]}, [7])
    with pytest.raises(DataError, match=r"test.csv, line 7: unknown label 'meh' \(known: neg, pos\)"):
        SequenceClassifier(**SMALL).fit(TEXTS, SENSE).evaluate(table)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, None, "labels are missing: give y beside X"),
        (TEXTS, ["pos"] * 24, "all labels are 'pos'; a classifier needs two or more"),
        (TEXTS, SENSE[:-1], "24 inputs and 23 labels"),
        (TEXTS, [*SENSE[:-1], None], "number 24: the label is missing"),
        (TEXTS, [*SENSE[:-1], ""], "number 24: the label is missing"),
        (TEXTS, [*SENSE[:-1], math.nan], "number 24: the label is missing"),
        (TEXTS, "labels", "the labels must come as a list"),
        ([], [], "there are no sequences"),
        ("one text", ["pos"], "the inputs must come as a list, a table or a Path, not str"),
        (5, ["pos"], "the inputs must come as a list"),
        (None, ["pos"], "the inputs must come as a list"),
        ([*TEXTS[:-1], 5], SENSE, "number 24: expected a text, got int"),
        ([*TEXTS[:-1], None], SENSE, "number 24: expected a text, got NoneType"),
        ([[1.0], "text"], ["a", "b"], "record 2: expected a series of numbers"),
        ([[1.0], [math.nan]], ["a", "b"], "record 2: step 1, channel 1 of the series is NaN"),
        ([[1.0], []], ["a", "b"], "record 2: the series is empty"),
        ([[[1.0, 2.0]], [[1.0]]], ["a", "b"], "record 2: the series has 1 channels"),
        (Table("t.csv", {"txt": ["a"]}, [2]), None, "t.csv has no column 'text'"),
        (Table("t.csv", {"text": ["a"]}, [2]), None, "t.csv has no column 'label'"),
        (Table("t.csv", {"text": ["a", "b"], "label": ["x", ""]}, [2, 4]), None, "t.csv, line 4: the label is missing"),
    ],
)
def test_wrong_data(texts: Any, labels: Any, message: str) -> None:
    model = SequenceClassifier(**SMALL)
    with pytest.raises(DataError, match=message):
        model.fit(texts, labels)
    assert not model.fitted


def test_texts_for_a_model_of_series_and_the_other_way_round() -> None:
    rows, labels = ramps(4, 2)
    series = SequenceClassifier(**SMALL).fit(rows, labels)
    texts = SequenceClassifier(**SMALL).fit(TEXTS, SENSE)
    with pytest.raises(DataError, match="number 1: expected a series of numbers, got a text"):
        series.predict(["some text"])
    with pytest.raises(DataError, match="number 1: expected a text, got ndarray; --level series reads numbers"):
        texts.predict(rows)
    with pytest.raises(DataError, match="the series have 3 channels; the model was trained on 2"):
        series.predict(ramps(4, 3)[0])
    with pytest.raises(DataError, match="the series have 3 channels; the model was trained on 2"):
        series.fit(rows, labels, valid=ramps(4, 3))
    with pytest.raises(DataError, match="expected a text"):
        SequenceClassifier(**SMALL, level="word").fit(rows, labels)
    with pytest.raises(DataError, match="expected a series"):
        SequenceClassifier(**SMALL, level="series").fit(TEXTS, SENSE)


def test_one_record_cannot_be_split() -> None:
    with pytest.raises(DataError, match="all labels are 'x'"):
        SequenceClassifier(**{**SMALL, "valid_fraction": 0.1}).fit(["a"], ["x"])
    model = SequenceClassifier(**{**SMALL, "valid_fraction": 0.9}).fit(["a", "b"], ["x", "y"])
    assert model.summary_.best["accuracy"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "maximum"}, "--pooling is 'maximum'"),
        ({"level": "words"}, r"--level is 'words', which is not known \(did you mean 'word'"),
        ({"class_weight": "balance"}, "--class-weight is 'balance'; it can be 'balanced'"),
        ({"class_weight": {"pos": "much"}}, "--class-weight"),
        ({"class_weight": {"pos": 0}}, "weights above 0"),
        ({"class_weight": {"pos": math.nan}}, "weights above 0"),
        ({"class_weight": 3}, "--class-weight"),
        ({"class_weight": {"poss": 2.0}}, r"unknown label 'poss' \(did you mean 'pos'"),
        ({"embedding_size": -1}, "--embedding-size"),
        ({"min_count": 0}, "--min-count"),
        ({"head_sizes": (3, 0)}, "--head-sizes must be whole numbers such as 64,32"),
        ({"head_sizes": "64"}, "--head-sizes"),
        ({"head_sizes": 64}, "--head-sizes"),
        ({"cell": "grru"}, "did you mean 'gru'"),
        ({"epochs": 0}, "--epochs"),
        ({"max_vocabulary": 1}, "no room"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SequenceClassifier(**{**SMALL, **options}).fit(TEXTS, SENSE)


# -- memory ------------------------------------------------------------------------------------------------------------
def test_a_batch_that_is_too_large_is_cut() -> None:
    lengths = np.array([3, 50, 1, 2, 4, 3])
    batch = np.arange(6)
    assert [b.tolist() for b in fitting([batch], lengths, 300)] == [[0, 1, 2, 3, 4, 5]]  # 6 times 50
    assert [b.tolist() for b in fitting([batch], lengths, 60)] == [[1], [4, 0, 5, 3, 2]]
    assert [b.tolist() for b in fitting([batch], lengths, 1)] == [[1], [4], [0], [5], [3], [2]]
    assert [b.tolist() for b in fitting([batch[:0], batch[:1]], lengths, 9)] == [[0]]
    assert [b.tolist() for b in fitting([batch[:3]], np.zeros(6, int), 2)] == [[0, 1], [2]]


def test_a_sequence_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_STEPS", 100)
    model = SequenceClassifier(**SMALL).fit(TEXTS, SENSE)
    with pytest.raises(DataError, match="number 2: the sequence has 101 steps; at most 100 are taken, so cut it"):
        model.predict(["fine", "word " * 101])
    with pytest.raises(DataError, match="number 1: the sequence has 101 steps"):
        SequenceClassifier(**SMALL).fit([[0.0] * 101, [0.0]], ["a", "b"])


# -- scikit-learn's manners --------------------------------------------------------------------------------------------
def test_options_in_the_manner_of_scikit_learn() -> None:
    from sklearn.base import clone

    model = SequenceClassifier(**SMALL, head_sizes=[4], class_weight={"pos": 2.0})
    copy = clone(model.fit(TEXTS, SENSE))
    assert copy.get_params() == model.get_params()
    assert not copy.fitted
    assert copy.set_params(hidden_size=3, pooling="mean").get_params()["hidden_size"] == 3
    with pytest.raises(OptionError, match="no option 'hidden'"):
        model.set_params(hidden=3)
    with pytest.raises(OptionError, match="call fit, or load a model file"):
        copy.predict(TEXTS)
    assert "hidden_size=8" in repr(model)


def test_two_fits_give_the_same_weights() -> None:
    options = {**SMALL, "epochs": 3, "dropout": 0.3, "valid_fraction": 0.2}
    one, two, other = (SequenceClassifier(**options, seed=seed).fit(TEXTS, SENSE) for seed in (3, 3, 4))
    again = other.set_params(seed=3).fit(TEXTS, SENSE)
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name)), name
        assert torch.equal(weight, again.module_.get_parameter(name)), name
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    SequenceClassifier(**options).fit(TEXTS, SENSE)
    assert torch.rand(1) == before  # the global generator is left as it was


def test_a_run_is_not_resumed_with_other_labels(tmp_path: Path) -> None:
    SequenceClassifier(**SMALL).fit(TEXTS, SENSE, folder=tmp_path / "run")
    for labels in ([*SENSE[2:], "pos", "pos"], ["good" if s == "pos" else "bad" for s in SENSE]):
        with pytest.raises(TrainingError):
            SequenceClassifier(**SMALL).fit(TEXTS, labels, folder=tmp_path / "run", resume=True)


# -- pretrained embeddings ---------------------------------------------------------------------------------------------
def test_pretrained_embeddings_are_used(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2 3\nbad -1 -2 -3\nelsewhere 9 9 9\n")
    model = SequenceClassifier(**SMALL, level="word", lr=1e-30, embeddings=str(path)).fit(TEXTS, SENSE)
    weight = model.module_.embedding.weight.detach().numpy()
    assert weight.shape == (len(model.vocabulary_), 3)  # as wide as the file's
    assert weight[model.vocabulary_.index("good")] == pytest.approx([1, 2, 3])
    assert weight[model.vocabulary_.index("bad")] == pytest.approx([-1, -2, -3])
    others = [weight[model.vocabulary_.index(word)] for word in ("film", "plot", "<unk>")]
    assert all(0 < np.abs(row).max() < 1 for row in others)
    wide = SequenceClassifier(**SMALL, level="word", embeddings=str(path), embedding_size=4)
    with pytest.raises(OptionError, match="has vectors of 3; set --embedding-size 3"):
        wide.fit(TEXTS, SENSE)
    assert not wide.fitted
    with pytest.raises(OptionError, match="--embeddings is for texts"):
        SequenceClassifier(**SMALL, embeddings=str(path)).fit(*ramps(4, 1))
    with pytest.raises(DataError, match="nowhere"):
        SequenceClassifier(**SMALL, embeddings=str(tmp_path / "nowhere")).fit(TEXTS, SENSE)


# -- learning ----------------------------------------------------------------------------------------------------------
def test_learns_parity_and_goes_on_with_longer_strings() -> None:
    table = make("parity", 1500, (1, 10), seed=0)
    model = SequenceClassifier(
        cell="rnn", hidden_size=8, bidirectional=False, embedding_size=4, epochs=60, lr=0.02, batch_size=64,
        patience=None, valid_fraction=0.1, seed=1,
    ).fit(table)  # fmt: skip
    assert model.score(make("parity", 200, 100, seed=1)) == 1.0


def test_names_tell_their_language(shared_data: Path) -> None:
    table = read_table(shared_data / "names" / "train.tsv", columns=["name", "language"])
    table = table.select(np.random.default_rng(0).permutation(len(table))[:1500])
    learn, test = table.select(range(1200)), table.select(range(1200, 1500))
    model = SequenceClassifier(cell="gru", hidden_size=24, epochs=8, lr=0.01, input="name", target="language")
    model.fit(learn)
    found, true = model.predict(test), test.column("language")
    right = np.mean([a == b for a, b in zip(found, true)])
    assert right > Counter(true).most_common(1)[0][1] / len(true) + 0.1


def test_japanese_vowels_tell_their_speaker(shared_data: Path) -> None:
    folder = shared_data / "japanese_vowels"
    table = read_table(folder / "train.jsonl.gz")
    column = next(n for n in table.names if isinstance(table.column(n)[0], list))
    target = next(n for n in table.names if n != column)
    model = SequenceClassifier(cell="gru", hidden_size=24, epochs=4, lr=0.01, input=column, target=target)
    model.fit(table)
    test = read_table(folder / "test.jsonl.gz").select(range(0, 370, 3))
    assert model.score(test) > 0.6  # nine speakers


def test_of_equally_right_weights_the_surer_ones_are_kept(tmp_path: Path) -> None:
    model = SequenceClassifier(**{**QUICK, "valid_fraction": 0.2, "patience": 3})
    model.fit(*ramps(60, 1), folder=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    found = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    checks = [(one["accuracy"], -one["loss"], step) for step, one in found]
    assert sum(accuracy == 1.0 for accuracy, _, _ in checks) > 3  # with the first of them it would have stopped
    assert model.summary_.best_step == max(checks)[2]
