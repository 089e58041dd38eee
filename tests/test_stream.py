"""Streaming: compiled steps against the reference in float64, whole models against the estimators, no torch loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from elman import cells
from elman.cells import CATALOGUE, cell, exp, log, maximum, minimum, normalize, relu, softplus, tanh
from elman.data import make
from elman.engine import native
from elman.errors import DataError, ModelFileError
from elman.models import LanguageModel, SequenceClassifier, SequenceTagger
from elman.nn import Recurrent
from elman.runtime.stream import Stream


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


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path_factory.getbasetemp() / "cells"))


needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler on this machine")


@needs_compiler
@pytest.mark.parametrize("name", [*CATALOGUE, "normalized", "odd"])
def test_a_compiled_step_is_the_reference(name: str) -> None:
    own = CATALOGUE.get(name) or {"normalized": normalized, "odd": odd}[name]
    code = native.library(own.program)
    assert code is not None
    for inputs, hidden, outputs in [(1, 1, 1), (7, 13, 5), (16, 16, 16), (33, 200, 17)]:
        free = "O" in own.program.state_sizes().values()
        layer = Recurrent(own, inputs, hidden, output_size=outputs if free else None, dtype=torch.float64)
        for weight in layer.parameters():
            torch.nn.init.normal_(weight, std=0.3 / hidden**0.5)
        (part,) = layer.parts()
        weights = {n: w.detach().numpy() for n, w in part.weights.items()}
        step = native.Step(code, own.program, weights, (inputs, hidden, part.output_size))
        room = np.zeros(20 * inputs + native.L, np.float32)
        x, out = room[: 20 * inputs].reshape(20, inputs), np.zeros((20, part.output_size), np.float32)
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
        values = values[np.abs(values) < 85]
    code = native.library(only.program)
    assert code is not None
    step = native.Step(code, only.program, {"weight_a": np.ones((1, 1)), "bias_a": np.zeros(1)}, (1, 1, 1))
    room = np.zeros(len(values) + native.L, np.float32)
    x, out = room[: len(values)].reshape(-1, 1), np.zeros((len(values), 1), np.float32)
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
        monkeypatch.setattr("elman.runtime.stream.library", lambda program: None)
    elif native.compiler() is None:
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
    np.testing.assert_allclose(logits, expected, atol=1e-5)
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


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    SequenceClassifier(hidden_size=4, epochs=1).fit(make("parity", 40, 5, seed=1)).save(tmp_path / "both.elman")
    with pytest.raises(ModelFileError, match="train it with --no-bidirectional"):
        Stream(tmp_path / "both.elman")
    words = SequenceTagger(hidden_size=4, epochs=1, valid_fraction=0.0).fit([["a", "b"]] * 4, [["x", "y"]] * 4)
    words.save(tmp_path / "tag.elman")
    with pytest.raises(ModelFileError, match="whole sequences"):
        Stream(tmp_path / "tag.elman")


def test_wrong_steps_and_states_are_one_sentence(tmp_path: Path) -> None:
    LanguageModel(hidden_size=4, epochs=1, bptt=10).fit("abc " * 60).save(tmp_path / "m.elman")
    stream = Stream(tmp_path / "m.elman")
    for wrong in (99, -1, 1.5, True, None):
        with pytest.raises(DataError, match="takes a token"):
            stream.step(wrong)  # type: ignore[arg-type]
    assert np.array_equal(stream.step("?"), Stream(tmp_path / "m.elman").step("<unk>"))  # a letter never seen
    with pytest.raises(DataError, match="parts"):
        stream.state = []
    with pytest.raises(DataError, match="shapes"):
        stream.state = [[np.zeros(3)], *stream.state[1:]]


def test_without_a_compiler_one_warning_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    native.library.cache_clear()
    with pytest.warns(RuntimeWarning, match="install g\\+\\+"):
        assert native.library(cells.gru.program) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library(cells.gru.program) is None  # said once
    native.library.cache_clear()


def test_a_step_that_would_need_an_order_of_copies_is_not_compiled() -> None:
    assert native.library(swapping.program) is None


@needs_compiler
def test_a_compiled_cell_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    native.library.cache_clear()
    assert native.library(cells.rnn.program) is not None
    (made,) = tmp_path.iterdir()
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled twice"))
    native.library.cache_clear()
    assert native.library(cells.rnn.program) is not None
    assert made.name.startswith("rnn-")
    native.library.cache_clear()


def test_streaming_loads_neither_torch_nor_sympy(tmp_path: Path) -> None:
    LanguageModel(hidden_size=4, epochs=1, bptt=10).fit("abc " * 60).save(tmp_path / "m.elman")
    code = (
        "import sys; from elman.runtime.stream import Stream; s = Stream('m.elman'); s.step('a');"
        "assert not {'torch', 'sympy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
