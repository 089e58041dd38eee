"""Streaming: compiled steps against the reference in float64, whole models against the estimators, no torch loaded."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from elman import cells
from elman.cells import CATALOGUE, cell, exp, log, maximum, minimum, normalize, relu, softplus, tanh
from elman.compiler.cpp import as_cpp
from elman.compiler.ir import Program
from elman.data import make
from elman.engine import build, plans
from elman.engine.step import Interpreted, Step, compiled
from elman.errors import DataError, ModelFileError, OptionError, ProgramError
from elman.models import LabelSetModel, LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.nn import Recurrent
from elman.nn.label_sets import Nade
from elman.runtime.stream import Stream
from forge import resealed, sealed, split


@cell
def normalized(x, h, W):  # type: ignore[no-untyped-def]
    return tanh(normalize(W.a(x, h)) * W.scale + W.shift)


@cell
def odd(x, h, c, W):  # type: ignore[no-untyped-def]
    """Every other function of the language, and three products after one another."""
    u = minimum(softplus(W.a(x, h)), 1.5)
    e = exp(-cells.abs(W.b(x, c))) + log(1 + u * u)
    c = maximum(c * W.p, e) / (1 + u) - W.q
    h = relu(W.d(c, u, x)) * 0.3 + c**2 * 0.01
    return h, c


@cell
def swapping(x, h, c, W):  # type: ignore[no-untyped-def]
    h, c = c, tanh(W.a(x, h, c))
    return h, c


@cell
def squaring(x, h, W):  # type: ignore[no-untyped-def]
    """The input is read by vectors too, where nothing follows its last row."""
    return tanh(W.a(x * cells.abs(x) - W.p, h))


OWN = {c.name: c for c in (normalized, odd, swapping, squaring)}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path_factory.getbasetemp() / "cells"))


def library(program: Program) -> object:
    """The compiled loops of a cell, or None."""
    return plans.cell_code(program, build.chosen_isa(), "float")


def forget() -> None:
    """As in a new process, where nothing is loaded yet."""
    for cached in (plans.engine, plans.cell_code, plans.planned):
        cached.cache_clear()


needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler on this machine")


@needs_compiler
@pytest.mark.parametrize("name", [*CATALOGUE, *OWN])
def test_a_compiled_step_is_the_reference(name: str) -> None:
    own = CATALOGUE.get(name) or OWN[name]
    for inputs, hidden, outputs in [(1, 1, 1), (7, 13, 5), (16, 16, 16), (33, 200, 17)]:
        free = "O" in own.program.state_sizes().values()
        layer = Recurrent(own, inputs, hidden, output_size=outputs if free else None, dtype=torch.float64)
        for weight in layer.parameters():
            torch.nn.init.normal_(weight, std=0.3 / hidden**0.5)
        (part,) = layer.parts()
        weights = {n: w.detach().numpy() for n, w in part.weights.items()}
        step = Step(own.program, weights, (inputs, hidden, part.output_size))
        x, out = np.zeros((20, inputs), np.float32), np.zeros((20, part.output_size), np.float32)
        x[:] = np.random.default_rng(1).normal(size=x.shape)
        step.call(step.bind(x, out))
        expected, state = layer(torch.from_numpy(x).double())
        np.testing.assert_allclose(out, expected.detach(), rtol=1e-5, atol=2e-6)
        for got, wanted in zip(step.states, state[0], strict=True):
            np.testing.assert_allclose(got, wanted.detach(), rtol=1e-5, atol=2e-6)


@needs_compiler
@pytest.mark.parametrize("function", ["sigmoid", "tanh", "exp", "softplus", "relu", "log"])
def test_functions_over_their_whole_range(function: str) -> None:
    @cell(name=f"only_{function}")
    def only(x, h, W):  # type: ignore[no-untyped-def]
        return getattr(cells, function)(W.a(x)) + 0 * h

    values = np.concatenate(
        [np.linspace(-100, 100, 4001), np.geomspace(1e-30, 1, 500), -np.geomspace(1e-30, 1, 500), [0.0]]
    )
    if function == "log":
        values = np.geomspace(1e-30, 1e30, 2000)
    if function == "exp":
        values = values[(values > -85) & (values < 88.7)]
    step = Step(only.program, {"weight_a": np.ones((1, 1)), "bias_a": np.zeros(1)}, (1, 1, 1))
    x, out = np.zeros((len(values), 1), np.float32), np.zeros((len(values), 1), np.float32)
    x[:, 0] = values
    step.call(step.bind(x, out))
    exact = {
        "sigmoid": lambda v: np.exp(-np.logaddexp(0, -v)), "tanh": np.tanh, "exp": np.exp, "log": np.log,
        "softplus": lambda v: np.logaddexp(0, v), "relu": lambda v: np.maximum(v, 0),
    }[function](x[:, 0].astype(np.float64))  # fmt: skip
    # 4 units in the last place of float32; softplus adds two terms, and its smallest values lose what 1 + e does
    np.testing.assert_allclose(out[:, 0], exact, rtol=5e-7, atol=1.2e-7 if function == "softplus" else 1e-37)


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of running the layers."""
    if request.param == "numpy":
        monkeypatch.setattr("elman.runtime.layers.compiled", lambda *_: None)
    elif build.compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return str(request.param)


def test_a_language_model_streams_as_it_was_trained(way: str, tmp_path: Path) -> None:
    text = "to be, or not to be: that is the question. " * 20
    model = LanguageModel(cell=["lstm", "gru"], num_layers=2, hidden_size=20, bptt=30, epochs=1, dropout=0.2).fit(text)
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    logits = np.array([stream.step(letter) for letter in ["<s>", *text[:50]]])
    numbers = torch.tensor([[0]] * 51)
    numbers[:, 0] = torch.tensor([stream.tokens.index("<s>"), *model.vocabulary_.encode(text[:50])])
    with torch.no_grad():
        expected = model.module_(numbers)[0][:, 0]
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    stream.reset()
    np.testing.assert_array_equal(stream.run(["<s>", *text[:50]]), logits)
    kept = stream.state
    after = stream.run("to be")
    stream.state = kept
    np.testing.assert_array_equal(stream.run("to be"), after)


@pytest.mark.parametrize("pooling", ["last", "mean", "sum", "max"])
def test_a_classifier_streams_as_it_was_trained(way: str, pooling: str, tmp_path: Path) -> None:
    table = make("parity", 60, (1, 9), seed=1)
    model = SequenceClassifier(
        cell="lstm_peephole", hidden_size=9, bidirectional=False, pooling=pooling, head_sizes=(7,), epochs=1
    ).fit(table)
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    for text in table.column("text")[:10]:
        stream.reset()
        logits = stream.run(text)[-1]
        shares = np.exp(logits - logits.max())
        np.testing.assert_allclose(shares / shares.sum(), model.predict_proba([text])[0], atol=1e-5)
    assert stream.labels == model.classes_


@pytest.mark.parametrize(("level", "order"), [("char", 1), ("char", 4), ("word", 2)])
def test_n_grams_stream_as_they_were_trained(way: str, level: str, order: int, tmp_path: Path) -> None:
    """At every step what the whole model says of the text so far; the state has what the n-grams gathered."""
    texts = ["ab ba a a", "ba ab b", "b a ab ab ba", "a ba"] * 5
    model = SequenceClassifier(
        level=level, ngrams=order, ngram_rows=50, hidden_size=5, bidirectional=False, pooling="mean", epochs=3, lr=0.05
    ).fit(texts, ["x", "y", "x", "y"] * 5)
    assert model.module_.direct is not None
    torch.nn.init.normal_(model.module_.direct.weight)
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    steps = list(texts[2]) if level == "char" else [*texts[2].split(), "new"]
    logits = np.array([stream.step(step) for step in steps])
    join = "" if level == "char" else " "
    expected = model._output(model._read([join.join(steps[: n + 1]) for n in range(len(steps))]))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    stream.reset()
    first = stream.run(steps[:2])
    kept = stream.state
    np.testing.assert_array_equal([*first, *stream.run(steps[2:])], logits)
    stream.state = kept
    np.testing.assert_array_equal(stream.run(steps[2:]), logits[2:])
    kept[-1][2][:] = -1  # no tokens before: n-grams are then others
    stream.state = kept
    assert order == 1 or not np.allclose(stream.run(steps[2:]), logits[2:])
    before = stream.state
    for part, value in ((1, np.nan), (1, np.inf), (1, -100), (2, np.nan), (2, np.inf)):
        kept[-1] = [own.copy() for own in before[-1]]
        kept[-1][part][:] = value
        kept[0][0][:] += 1
        with pytest.raises(DataError, match="the state of the n-grams must be one that a stream of this model gave"):
            stream.state = kept
    np.testing.assert_array_equal(stream.state[0][0], before[0][0])  # nothing was set


def test_a_regressor_streams_its_number(way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    series = [rng.normal(size=(n, 2)) for n in range(3, 23)]
    model = SequenceRegressor(bidirectional=False, hidden_size=5, epochs=1, pooling="max")
    model.fit(series, [1000.0 + 7 * len(s) for s in series]).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    np.testing.assert_allclose(stream.run(series[7])[-1], model.predict([series[7]]), rtol=1e-6)


def test_series_are_scaled_as_in_training(way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 3)) * [1, 10, 100] + 5 for n in range(3, 23)]
    model = SequenceClassifier(bidirectional=False, hidden_size=8, epochs=1, num_layers=2, residual=True)
    model.fit(series, ["a", "b"] * 10).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    logits = [stream.step(row) for row in series[5]][-1]
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(shares / shares.sum(), model.predict_proba([series[5]])[0], atol=1e-5)
    with pytest.raises(DataError, match="takes 3 numbers, not 2"):
        stream.step([1.0, 2.0])


SENTENCES = [["the", "cat", "sat"], ["a", "dog", "sat", "down"], ["the", "dog"]] * 6
TAGS = [["x", "y", "z"], ["x", "y", "z", "z"], ["x", "y"]] * 6


@pytest.mark.parametrize(("letters", "shapes"), [(0, 0), (5, 0), (0, 2), (5, 2)])
def test_a_tagger_streams_as_it_was_trained(way: str, letters: int, shapes: int, tmp_path: Path) -> None:
    """Words are read forward; the letters of a word are all there at its step, and read both ways."""
    model = SequenceTagger(
        cell=["gru", "lstm"], hidden_size=9, num_layers=2, bidirectional=False, letter_hidden_size=letters,
        word_size=4, shape_size=shapes, head_sizes=(6,), epochs=1, lower=True,
    ).fit(SENTENCES, TAGS)  # fmt: skip
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    assert (stream.labels, stream.level) == (model.classes_, "word")
    sentence = ["The", "dog", "unheard-of", "", "é", "ab" * 150]  # longer than what is read of a word
    logits = np.array([stream.step(word) for word in sentence])
    with torch.no_grad():
        trained = model.module_(model.batch([sentence]))[:, 0]
    np.testing.assert_allclose(logits, trained, atol=1e-6)
    stream.reset()
    np.testing.assert_array_equal(stream.run(sentence), logits)
    for wrong in (3, None, ["the"]):
        with pytest.raises(DataError, match="takes a word"):
            stream.step(wrong)  # type: ignore[arg-type]


def along_the_likeliest(head: Nade, h: torch.Tensor) -> np.ndarray:
    """The logits of each label (T, K), float64, given that those before it with a logit above 0 are there: label by
    label from the definition."""
    head, h = head.double(), h.double()
    rows = []
    for b, c in zip(head.visible(h), head.hidden(h)):
        row: list[float] = []
        for k, out in enumerate(head.outputs):
            there = sum((head.inputs[j] for j in range(k) if row[j] > 0), torch.zeros_like(c))
            row.append(float(b[k] + torch.sigmoid(c + there) @ out))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("kind", ["nade", "independent"])
def test_sets_of_labels_stream_as_they_were_trained(way: str, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pieces = [[rng.choice(9, rng.integers(0, 5), replace=False).tolist() for _ in range(12)] for _ in range(9)]
    model = LabelSetModel(head=kind, head_units=7, hidden_size=8, num_layers=2, residual=True, epochs=1, labels="0-8")
    model.fit(pieces)
    for weight in model.module_.head.parameters():  # so that some labels are likely, and depend on each other
        torch.nn.init.normal_(weight, std=0.8)
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    assert (stream.labels, stream.tokens) == (model.classes_, [])
    logits = np.array([stream.step(step) for step in [[], *pieces[0]]])
    sets = torch.zeros(13, 1, 9)
    for t, step in enumerate(pieces[0]):
        sets[t + 1, 0, step] = 1
    with torch.no_grad():
        h = model.module_(sets)[0][:, 0]
        head = copy.deepcopy(model.module_.head)
        expected = along_the_likeliest(head, h) if isinstance(head, Nade) else head.logits(h)
    np.testing.assert_allclose(logits, expected, atol=2e-6)
    assert 0.1 < (logits > 0).mean() < 0.9
    stream.reset()
    np.testing.assert_array_equal(stream.run(sets[:, 0].numpy()), logits)
    stream.reset()
    found, step = [], np.zeros(9)
    for _ in range(20):
        step = (stream.step(step) > 0).astype(int)
        found.append([stream.labels[k] for k in np.flatnonzero(step)])
    assert found == model.generate(length=20, temperature=0.0)
    for wrong, said in (([9], "no label '9'"), (np.ones(3), r"an array \(9,\)"), (np.full(9, 0.5), "of 0 and 1"),
                        ("12", "labels such as"), (7, "labels such as")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            stream.step(wrong)


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_stacks_of_every_kind_stream(way: str, pooling: str, tmp_path: Path) -> None:
    """A residual stack of mixed cells, one with a projection."""
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 7)) for n in range(3, 23)]
    model = SequenceClassifier(
        bidirectional=False, cell=["lstm", "rhn", "gru"], hidden_size=7, num_layers=3, residual=True, pooling=pooling,
        epochs=1,
    )  # fmt: skip
    model.fit(series, ["a", "b"] * 10).save(tmp_path / "m.elman")
    logits = Stream(tmp_path / "m.elman").run(series[5])[-1]
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(shares / shares.sum(), model.predict_proba([series[5]])[0], atol=1e-6)


@needs_compiler
def test_a_step_allocates_nothing_once_it_has_been_taken(tmp_path: Path) -> None:
    series = [np.ones((4, 600)), np.zeros((4, 600))] * 6
    model = SequenceClassifier(
        bidirectional=False, hidden_size=600, num_layers=2, residual=True, pooling="mean", head_sizes=(600,), epochs=1
    )
    model.fit(series, ["a", "b"] * 6).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    x, out = np.ones(600), np.zeros(2, np.float32)
    first = stream.step(x, out).copy()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            assert stream.step(x, out) is out
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 2000  # less than one vector of 600 units: Python's own numbers and views
    assert not np.array_equal(first, out)
    for wrong in (np.zeros(3, np.float32), np.zeros(2)):
        with pytest.raises(DataError, match="out must be"):
            stream.step(x, wrong)


def random_weights(program: Program, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    shapes = program.parameter_shapes(*sizes)
    rng = np.random.default_rng(3)
    return {name: rng.normal(0, 0.5 / sizes[1] ** 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


@needs_compiler
@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_layer_norm"])
@pytest.mark.parametrize("sizes", [(5, 7, 7), (33, 701, 701)])
def test_threads_and_lengths_change_no_bit(name: str, sizes: tuple[int, int, int]) -> None:
    """Calls of all lengths in turn, each with its own packing of the weights, by one thread and by three."""
    program = CATALOGUE[name].program
    weights = random_weights(program, sizes)
    lengths = [1, 3, 4, 1, 9, 2, 600 if sizes[1] < 100 else 11, 1]
    x = np.random.default_rng(4).normal(size=(sum(lengths), sizes[0])).astype(np.float32)
    one, many = Step(program, weights, sizes), Step(program, weights, sizes, threads=3)
    steps, pieces = np.zeros((len(x), sizes[1]), np.float32), np.zeros((len(x), sizes[1]), np.float32)
    for t in range(len(x)):
        one.call(one.bind(x[t : t + 1], steps[t : t + 1]))
    at = 0
    for length in lengths:
        many.call(many.bind(x[at : at + length], pieces[at : at + length]))
        at += length
    np.testing.assert_array_equal(pieces, steps)
    for a, b in zip(one.states, many.states, strict=True):
        np.testing.assert_array_equal(a, b)
    slow = Interpreted(program, weights, sizes)
    out = np.zeros_like(steps)
    slow.call(slow.bind(x, out))
    np.testing.assert_allclose(steps, out, atol=2e-5)


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    SequenceClassifier(hidden_size=4, epochs=1).fit(make("parity", 40, 5, seed=1)).save(tmp_path / "both.elman")
    SequenceTagger(hidden_size=4, epochs=1, valid_fraction=0.0).fit(SENTENCES, TAGS).save(tmp_path / "tag.elman")
    SequenceTagger(hidden_size=4, epochs=1, bidirectional=False, crf=True).fit(SENTENCES, TAGS).save(
        tmp_path / "crf.elman"
    )
    for name, advice in (("both", "bidirectional"), ("tag", "bidirectional"), ("crf", "crf")):
        with pytest.raises(ModelFileError, match=f"train it with --no-{advice}"):
            Stream(tmp_path / f"{name}.elman")
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(OptionError, match="threads must be"):
            Stream(tmp_path / "both.elman", threads=wrong)  # type: ignore[arg-type]


def test_wrong_steps_and_states_are_one_sentence(tmp_path: Path) -> None:
    LanguageModel(hidden_size=4, epochs=1, bptt=10).fit("abc " * 60).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    for wrong in (99, -1, 1.5, True, None):
        with pytest.raises(DataError, match="takes a token"):
            stream.step(wrong)  # type: ignore[arg-type]
    assert np.array_equal(stream.step("?"), Stream(tmp_path / "m.elman").step("<unk>"))  # a letter never seen
    with pytest.raises(DataError, match="parts"):
        stream.state = []
    before = stream.state
    for odd_state in ([[np.zeros(3)], *before[1:]], [*before[:-1], [np.zeros(())]], [*before[:-1], []]):
        with pytest.raises(DataError, match="shapes"):
            stream.state = odd_state
    for no_state in (3, [3, 4], [["a"], ["b"]]):
        with pytest.raises(DataError, match="a stream of this model gave"):
            stream.state = no_state  # type: ignore[assignment]
    for kept, now in zip(before, stream.state, strict=True):  # nothing was taken of what was refused
        np.testing.assert_equal(kept, now)


def test_a_text_is_not_read_by_letters_where_the_model_reads_words(tmp_path: Path) -> None:
    model = LanguageModel(hidden_size=4, epochs=1, bptt=10, level="word").fit("to be or not to be\n" * 20)
    model.save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    with pytest.raises(DataError, match="give a list of its steps"):
        stream.run("to be")
    assert stream.run(["to", "be"]).shape == (2, len(stream.tokens))


def test_case_is_ignored_where_the_model_ignores_it(way: str, tmp_path: Path) -> None:
    model = SequenceClassifier(bidirectional=False, hidden_size=4, epochs=1, lower=True)
    model.fit(["ab", "ba", "aab", "bba"] * 10, ["x", "y"] * 20).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    small = stream.run("ab")
    stream.reset()
    np.testing.assert_array_equal(stream.run("AB"), small)


def test_numbers_that_would_spoil_the_state_are_refused(tmp_path: Path) -> None:
    series = [np.ones((4, 2)), np.zeros((4, 2))] * 6
    SequenceClassifier(bidirectional=False, hidden_size=4, epochs=1).fit(series, ["a", "b"] * 6).save(tmp_path / "m")
    stream = Stream(tmp_path / "m")
    for wrong in (np.nan, np.inf, -np.inf, 1e300):
        with pytest.raises(DataError, match="not finite"):
            stream.step([0.0, wrong])
    for odd_step in ("ab", ["a", "b"], [[1.0], [1.0, 2.0]], object()):
        with pytest.raises(DataError, match="takes 2 numbers"):
            stream.step(odd_step)  # type: ignore[arg-type]
    assert not any(s.any() for part in stream.state[:-1] for s in part)


def _texts(folder: Path) -> bytes:
    model = SequenceClassifier(bidirectional=False, hidden_size=4, epochs=1, head_sizes=(3,), ngrams=2, ngram_rows=20)
    model.fit(["ab", "ba", "aab"] * 8, ["x", "y", "x"] * 8).save(folder / "m.elman")
    return (folder / "m.elman").read_bytes()


def test_hostile_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """Every checksum is right and every layer sound; what is wrong is what only the streaming reads."""
    header, data = split(_texts(tmp_path))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    whole = json.loads(header["__metadata__"]["elman"])
    changes: list[tuple[tuple[str, ...], object]] = [
        (("vocabularies", "tokens"), {}),
        (("vocabularies", "tokens", "tokens"), [1, 2]),
        (("vocabularies", "tokens", "tokens"), [["a"], ["b"]]),
        (("vocabularies", "tokens", "tokens"), ["a", "a"]),
        (("vocabularies", "tokens", "tokens"), ["a"]),
        (("vocabularies", "labels"), {}),
        (("vocabularies", "labels", "tokens"), ["x", "y", "z"]),
        (("vocabularies", "level"), {}),
        (("vocabularies", "level", "level"), "series"),
        (("vocabularies", "level", "level"), ["char"]),
        (("options", "pooling"), "attention"),
        (("options", "pooling"), 3),
        (("options", "pooling"), None),
        (("options", "head_sizes"), [2]),
        (("options", "head_sizes"), "3"),
        (("options", "head_sizes"), [3, 3]),
        *((("options", "ngrams"), value) for value in (9, -1, "2", True, None, 0, False)),
        *((("options", "ngram_rows"), value) for value in (0, 21, 10**12, "20", None)),
    ]
    path = tmp_path / "hostile.elman"
    for place, value in changes:
        document = json.loads(json.dumps(whole))
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        path.write_bytes(sealed(json.dumps(document), entries, data))
        with pytest.raises(ModelFileError, match="cannot stream"):
            Stream(path)
    for name in [name for name in entries if not name.startswith("recurrent")]:
        renamed = {("other" if key == name else key): entry for key, entry in entries.items()}
        path.write_bytes(sealed(json.dumps(whole), renamed, data))
        with pytest.raises(ModelFileError, match="cannot stream"):
            Stream(path)
    spoiled = data[:-4] + np.float32(np.nan).tobytes()
    path.write_bytes(sealed(json.dumps(whole), entries, spoiled))
    with pytest.raises(ModelFileError, match="cannot hold"):
        Stream(path)


def test_hostile_sets_are_refused_in_one_sentence(tmp_path: Path) -> None:
    LabelSetModel(hidden_size=4, head_units=3, epochs=1).fit([[[1, 2], [3]]] * 9).save(tmp_path / "m")
    header, _ = split((tmp_path / "m").read_bytes())
    changes = [("options", "head_units", units) for units in (0, 2, 10**12, None, True, "3")]
    changes += [("options", "head", "independent"), ("vocabularies", "labels", {"tokens": ["1", "2"]})]
    changes += [("vocabularies", "labels", {"tokens": ["1", "2", "3", "4"]}), ("vocabularies", "labels", {})]
    for part, name, value in changes:
        document = json.loads(header["__metadata__"]["elman"])
        document[part][name] = value
        (tmp_path / "hostile").write_bytes(resealed((tmp_path / "m").read_bytes(), json.dumps(document)))
        with pytest.raises(ModelFileError, match="cannot stream"):
            Stream(tmp_path / "hostile")


def test_hostile_scalings_are_refused_in_one_sentence(tmp_path: Path) -> None:
    series = [np.ones((4, 2)), np.zeros((4, 2))] * 6
    SequenceClassifier(bidirectional=False, hidden_size=4, epochs=1).fit(series, ["a", "b"] * 6).save(tmp_path / "m")
    header, _ = split((tmp_path / "m").read_bytes())
    for scaling in ({}, {"mean": [0.0], "scale": [1.0]}, {"mean": [0, 0], "scale": [1, 0]}, {"mean": [0, 1e300]}):
        document = json.loads(header["__metadata__"]["elman"])
        document["scaling"] = scaling
        (tmp_path / "hostile").write_bytes(resealed((tmp_path / "m").read_bytes(), json.dumps(document)))
        with pytest.raises(ModelFileError, match="the scaling"):
            Stream(tmp_path / "hostile")


def test_without_a_compiler_one_warning_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compiler", lambda: None)
    forget()
    with pytest.warns(RuntimeWarning, match="install g\\+\\+") as said:
        assert compiled(cells.gru.program, {}, (1, 1, 1)) is None
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for own in (cells.gru, cells.lstm):  # said once
            assert compiled(own.program, {}, (1, 1, 1)) is None
    forget()


@needs_compiler
@pytest.mark.parametrize(
    "function", ["sigmoid", "tanh", "exp", "softplus", "relu", "log", "abs", "minimum", "maximum", "normalize"]
)
def test_what_is_not_a_number_stays_so(function: str) -> None:
    """As in the reference: a broken sensor must not look like a number."""

    @cell(name=f"nan_{function}")
    def only(x, h, W):  # type: ignore[no-untyped-def]
        a = W.a(x)
        return (
            getattr(cells, function)(a, W.p) if function in ("minimum", "maximum") else getattr(cells, function)(a)
        ) + h

    weights = {"weight_a": np.eye(2), "bias_a": np.zeros(2), "p": np.ones(2)}
    step = Step(only.program, weights, (2, 2, 2))
    x, out = np.array([[np.nan, 1.0]], np.float32), np.zeros((1, 2), np.float32)
    step.call(step.bind(x, out))
    assert np.isnan(out[0, 0])


@pytest.mark.parametrize("kind", [pytest.param(Step, marks=needs_compiler), Interpreted])
def test_arrays_that_a_step_cannot_take_are_refused(kind: type[Step] | type[Interpreted]) -> None:
    step = kind(cells.rnn.program, {"weight_h": np.ones((3, 5)), "bias_h": np.ones(3)}, (2, 3, 3))
    x, out = np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)
    step.bind(x, out)
    for wrong in ((x[:3], out), (x.T, out), (x.astype(np.float64), out), (x, out[:, :2]), (x[::2], out[:2])):
        with pytest.raises(DataError, match="takes float32 arrays"):
            step.bind(*wrong)


def test_no_text_of_a_program_but_its_names_becomes_code() -> None:
    """A doc or source may hold what ends a comment; names are checked before anything is printed."""
    texts = ["*/ int evil;", "ends with a backslash \\", "??/", "#include <evil>"]
    plain = as_cpp(cells.gru.program)
    for text in texts:
        assert as_cpp(replace(cells.gru.program, doc=text, source=text, labels=())) == plain
    for name in ("../gru", "a;b", "a\nb", "é", ""):
        with pytest.raises(ProgramError):
            compiled(replace(cells.gru.program, name=name), {}, (1, 1, 1))


def test_a_cell_of_hundreds_of_maps_is_not_compiled() -> None:
    @cell
    def long(x, h, W):  # type: ignore[no-untyped-def]
        for n in range(300):
            h = tanh(getattr(W, f"a{n}")(x, h))
        return h

    with pytest.warns(RuntimeWarning, match="too long|no C\\+\\+ compiler"):
        assert compiled(long.program, {}, (1, 1, 1)) is None


@needs_compiler
def test_nothing_that_others_could_have_written_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget()
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "new"))
    assert library(cells.rnn.program) is not None
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (made,) = (tmp_path / "new").iterdir()
    made.unlink()  # it is loaded: a process dies whose library is written over
    made.write_bytes(b"planted")
    made.chmod(0o777)
    forget()
    assert library(cells.rnn.program) is not None  # compiled anew
    assert not made.read_bytes().startswith(b"planted")
    for mode in (0o777, 0o770, 0o1777):
        (tmp_path / "new").chmod(mode)
        forget()
        with pytest.warns(RuntimeWarning, match="others may write into .* set ELMAN_CACHE"):
            assert library(cells.rnn.program) is None
    (tmp_path / "new").chmod(0o700)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    forget()
    if user:  # what the administrator wrote may be run
        with pytest.warns(RuntimeWarning, match="others may write"):
            assert library(cells.rnn.program) is None
    forget()


@needs_compiler
def test_without_a_home_one_sentence_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ELMAN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    forget()
    with pytest.warns(RuntimeWarning, match="set ELMAN_CACHE"):
        assert library(cells.rnn.program) is None
    forget()


@needs_compiler
def test_a_compiled_cell_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    forget()
    assert library(cells.rnn.program) is not None
    (made,) = tmp_path.iterdir()
    monkeypatch.setattr(build, "compile_to", lambda *_: pytest.fail("compiled twice"))
    forget()
    assert library(cells.rnn.program) is not None
    assert made.name.startswith("rnn-")
    forget()


def test_streaming_loads_neither_torch_nor_sympy(tmp_path: Path) -> None:
    LanguageModel(hidden_size=4, epochs=1, bptt=10).fit("abc " * 60).save(tmp_path / "m.elman")
    code = (
        "import sys; from elman.runtime.stream import Stream; s = Stream('m.elman'); s.step('a');"
        "assert not {'torch', 'sympy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
