"""Cells on numbers: function and program, numpy and torch agree, also with torch's cells and equations written anew."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_kit import ALL, OUTPUT, SIZES, tensors, vectors_for, weights_for
from elman import cells
from elman.cells import CATALOGUE, Cell, TracedCell, cell, named
from elman.compiler.interpret import NUMPY, Split, Stacked, run, torch_table
from elman.compiler.ir import Node, resolve
from elman.errors import CellError, OptionError, ProgramError
from test_cells_family import PAPERS

Arrays = dict[str, np.ndarray]


def new_states(one: Cell, vectors: Arrays, weights: Arrays, split: bool, i: int, h: int) -> Arrays:
    sizes = resolve(i, h, OUTPUT)
    return run(one.program, vectors, Split(one.program, weights, sizes) if split else Stacked(weights), sizes)


@pytest.mark.parametrize("name", ALL)
def test_function_program_numpy_and_torch_agree(name: str) -> None:
    one = ALL[name]
    for b, i, h in SIZES:
        vectors, weights = vectors_for(one.program, b, i, h, OUTPUT), weights_for(one.program, i, h, OUTPUT)
        wanted = new_states(one, vectors, weights, False, i, h)
        assert list(wanted) == list(one.states)
        results = one(*vectors.values(), weights)
        direct = dict(zip(one.states, results if isinstance(results, tuple) else (results,)))
        for state, value in wanted.items():
            assert value.shape == (b, resolve(i, h, OUTPUT)[one.program.state_sizes()[state]])
            # the same operations in the same order: equal up to the rounding of one matrix product
            np.testing.assert_allclose(direct[state], value, rtol=1e-13, atol=1e-14)
        for split in (False, True):
            theirs = new_states(one, tensors(vectors), tensors(weights), split, i, h)
            for state, value in wanted.items():
                np.testing.assert_allclose(theirs[state].numpy(), value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_float32_stays_float32(name: str) -> None:
    one = ALL[name]
    vectors = {n: v.astype(np.float32) for n, v in vectors_for(one.program, 3, 7, 5, OUTPUT).items()}
    weights = {n: w.astype(np.float32) for n, w in weights_for(one.program, 7, 5, OUTPUT).items()}
    for state, value in new_states(one, vectors, weights, False, 7, 5).items():
        assert value.dtype == np.float32
        theirs = new_states(one, tensors(vectors), tensors(weights), False, 7, 5)[state]
        assert theirs.dtype == torch.float32
        np.testing.assert_allclose(theirs.numpy(), value, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ALL)
def test_one_sequence_without_a_batch(name: str) -> None:
    one = ALL[name]
    vectors, weights = vectors_for(one.program, 2, 7, 5, OUTPUT), weights_for(one.program, 7, 5, OUTPUT)
    many = new_states(one, vectors, weights, False, 7, 5)
    for row in range(2):
        alone = new_states(one, {n: v[row] for n, v in vectors.items()}, weights, False, 7, 5)
        for state, value in many.items():
            np.testing.assert_allclose(
                np.broadcast_to(alone[state], value[row].shape), value[row], rtol=1e-12, atol=1e-13
            )


SMALL = st.integers(1, 9)


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(ALL)), st.integers(1, 4), SMALL, SMALL, SMALL, st.integers(0, 2**16), st.floats(0.01, 2.0)
)
def test_stacked_and_split_agree(name: str, b: int, i: int, h: int, o: int, seed: int, scale: float) -> None:
    program, sizes = ALL[name].program, resolve(i, h, o)
    vectors, weights = vectors_for(program, b, i, h, o, seed), weights_for(program, i, h, o, seed + 1, scale)
    one = run(program, vectors, Stacked(weights), sizes)
    other = run(program, vectors, Split(program, weights, sizes), sizes)
    for state, value in one.items():
        # layer normalisation may divide a rounding error by a small deviation, at most 1/sqrt(eps) of about 300 times
        np.testing.assert_allclose(other[state], value, rtol=1e-9, atol=1e-10)


def test_the_large_stacked_matrix() -> None:
    """H = 100 and I = 10,000: W is 100 x 10,100 and gives the numbers of W_ax·x + W_aa·a + b."""
    program, sizes = cells.rnn.program, resolve(10_000, 100)
    assert program.parameter_shapes(10_000, 100) == {"weight_h": (100, 10_100), "bias_h": (100,)}
    weights = weights_for(program, 10_000, 100, 100, scale=0.01)
    vectors = vectors_for(program, 2, 10_000, 100, 100)
    stacked = run(program, vectors, Stacked(weights), sizes)["h"]
    split = run(program, vectors, Split(program, weights, sizes), sizes)["h"]
    by_hand = vectors["x"] @ weights["weight_h"][:, :10_000].T + vectors["h"] @ weights["weight_h"][:, 10_000:].T
    np.testing.assert_allclose(split, stacked, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(np.tanh(by_hand + weights["bias_h"]), stacked, rtol=1e-11, atol=1e-13)


def torch_cell_weights(theirs: torch.nn.Module, from_input: str, from_state: str, i: int) -> dict[str, torch.Tensor]:
    """The weights of one of torch's cells under the names of ours."""
    named_parts: dict[str, list[torch.Tensor]] = {}
    biases: dict[str, list[torch.Tensor]] = {}
    for names, matrix, bias in (
        (from_input, theirs.weight_ih, theirs.bias_ih),
        (from_state, theirs.weight_hh, theirs.bias_hh),
    ):
        for name, block, shift in zip(names, matrix.chunk(len(names)), bias.chunk(len(names))):
            named_parts.setdefault(name, []).append(block)
            biases.setdefault(name, []).append(shift)
    weights = {f"weight_{n}": torch.cat(blocks, 1) for n, blocks in named_parts.items()}
    return weights | {f"bias_{n}": torch.stack(shifts).sum(0) for n, shifts in biases.items()}


@pytest.mark.parametrize(
    ("name", "make", "from_input", "from_state"),
    [
        ("rnn", lambda i, h: torch.nn.RNNCell(i, h), "h", "h"),
        ("rnn_relu", lambda i, h: torch.nn.RNNCell(i, h, nonlinearity="relu"), "h", "h"),
        ("lstm", torch.nn.LSTMCell, "ifgo", "ifgo"),
        ("gru", torch.nn.GRUCell, "rzn", "rzm"),
    ],
)
def test_equal_to_torch_cells(name: str, make: Any, from_input: str, from_state: str) -> None:
    for b, i, h in SIZES:
        theirs = make(i, h).double()
        vectors = tensors(vectors_for(CATALOGUE[name].program, b, i, h, h))
        x, *states = vectors.values()
        with torch.no_grad():
            wanted = theirs(x, tuple(states) if len(states) > 1 else states[0])
            ours = CATALOGUE[name](x, *states, torch_cell_weights(theirs, from_input, from_state, i))
        for a, w in zip(ours if len(states) > 1 else [ours], wanted if len(states) > 1 else [wanted]):
            torch.testing.assert_close(a, w, rtol=1e-12, atol=1e-13)


def logistic(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


class Textbook:
    """The equations written a second time, from the papers, for one sequence: maps as sums of products."""

    def __init__(self, w: Arrays) -> None:
        self.w = w

    def a(self, name: str, *vectors: np.ndarray) -> np.ndarray:
        first, total = 0, self.w.get(f"bias_{name}", 0.0)
        for v in vectors:
            total = total + self.w[f"weight_{name}"][:, first : first + len(v)] @ v
            first += len(v)
        return total

    def carousel(self, x, h):  # type: ignore[no-untyped-def]
        return (h + self.a("h", x),)

    def lstm_1997(self, x, h, c):  # type: ignore[no-untyped-def]
        i, o = logistic(self.a("i", x, h)), logistic(self.a("o", x, h))
        c = c + i * np.tanh(self.a("g", x, h))
        return o * np.tanh(c), c

    def lstm_peephole(self, x, h, c):  # type: ignore[no-untyped-def]
        i = logistic(self.a("i", x, h) + self.w["p_i"] * c)
        f = logistic(self.a("f", x, h) + self.w["p_f"] * c)
        new = f * c + i * np.tanh(self.a("g", x, h))
        return logistic(self.a("o", x, h) + self.w["p_o"] * new) * np.tanh(new), new

    def lstm_coupled(self, x, h, c):  # type: ignore[no-untyped-def]
        f, o = logistic(self.a("f", x, h)), logistic(self.a("o", x, h))
        c = f * c + (1 - f) * np.tanh(self.a("g", x, h))
        return o * np.tanh(c), c

    def lstm_projected(self, x, h, c):  # type: ignore[no-untyped-def]
        i, f, o = (logistic(self.a(n, x, h)) for n in "ifo")
        c = f * c + i * np.tanh(self.a("g", x, h))
        return self.w["weight_r"] @ (o * np.tanh(c)), c

    def gru_simplified(self, x, h):  # type: ignore[no-untyped-def]
        u = logistic(self.a("u", x, h))
        return (u * np.tanh(self.a("n", x, h)) + (1 - u) * h,)

    def gru_reset_before(self, x, h):  # type: ignore[no-untyped-def]
        u, r = logistic(self.a("u", x, h)), logistic(self.a("r", x, h))
        return (u * np.tanh(self.a("n", x, r * h)) + (1 - u) * h,)

    def jordan(self, x, y):  # type: ignore[no-untyped-def]
        return (self.a("y", np.tanh(self.a("h", x, y))),)

    def rnn_output(self, x, y, h):  # type: ignore[no-untyped-def]
        new = np.tanh(self.a("h", x, h))
        return logistic(self.a("y", new)), new

    def rnn_sigmoid(self, x, h):  # type: ignore[no-untyped-def]
        return (logistic(self.a("h", x, h)),)

    def rnn_identity(self, x, h):  # type: ignore[no-untyped-def]
        return (self.a("h", x, h),)


AGAINST_TORCH = {"rnn", "rnn_relu", "lstm", "gru"}


def test_every_cell_of_the_catalogue_has_a_second_opinion() -> None:
    textbook = {name for name in CATALOGUE if hasattr(Textbook, name)}
    assert textbook | set(AGAINST_TORCH) | set(PAPERS) == set(CATALOGUE)


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n not in AGAINST_TORCH and hasattr(Textbook, n)])
def test_equal_to_the_textbook(name: str) -> None:
    """Three steps on, so that a state that is read where it should be written would show."""
    program = CATALOGUE[name].program
    for _, i, h in SIZES:
        weights = weights_for(program, i, h, OUTPUT)
        x, *states = (v[0] for v in vectors_for(program, 1, i, h, OUTPUT).values())
        ours, theirs = tuple(states), tuple(states)
        for _ in range(3):
            found = CATALOGUE[name](x, *ours, weights)
            ours = found if isinstance(found, tuple) else (found,)
            theirs = getattr(Textbook(weights), name)(x, *theirs)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_the_carousel_keeps_the_error() -> None:
    """∂h'/∂h = 1 exactly."""
    h = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    weights = tensors(weights_for(cells.carousel.program, 4, 3, 3))
    jacobian = torch.autograd.functional.jacobian(lambda s: cells.carousel(torch.ones(2, 4).double(), s, weights), h)
    assert torch.equal(jacobian.reshape(6, 6), torch.eye(6, dtype=torch.float64))


EXTREMES = [-1e4, -745.0, -90.0, -1e-8, 0.0, 1e-8, 90.0, 745.0, 1e4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["sigmoid", "tanh", "softplus"])
def test_extreme_arguments(op: str, dtype: str) -> None:
    """Against extended precision: tails keep their relative accuracy down to the smallest normal number."""
    exact = np.array(EXTREMES, dtype).astype(np.longdouble)
    true = {
        "sigmoid": lambda v: np.exp(-np.logaddexp(np.longdouble(0), -v)),
        "tanh": np.tanh,
        "softplus": lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))),
    }[op](exact)
    tiny, eps = float(np.finfo(dtype).tiny), float(np.finfo(dtype).eps)
    ours = NUMPY[op](np.array(EXTREMES, dtype))
    x = torch.tensor(EXTREMES, dtype=getattr(torch, dtype), requires_grad=True)
    theirs = torch_table()[op](x)
    for found in (ours, theirs.detach().numpy()):
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype(np.longdouble), true, rtol=4 * eps, atol=tiny)
    (slope,) = torch.autograd.grad(theirs.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    slopes = {"sigmoid": true * (1 - true), "tanh": 1 - true**2, "softplus": np.exp(exact - true)}[op]
    np.testing.assert_allclose(slope.detach().numpy().astype(np.longdouble), slopes, rtol=8 * eps, atol=max(tiny, eps))
    assert torch.isfinite(second).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_saturated_cells_stay_finite(name: str, dtype: torch.dtype) -> None:
    program, sizes = CATALOGUE[name].program, resolve(3, 4, OUTPUT)
    for scale in (-1e4, -90.0, 0.0, 90.0, 1e4):
        vectors = {
            n: scale * torch.ones(v.shape, dtype=dtype) for n, v in vectors_for(program, 2, 3, 4, OUTPUT).items()
        }
        weights = {n: w.to(dtype).requires_grad_() for n, w in tensors(weights_for(program, 3, 4, OUTPUT)).items()}
        outputs = run(program, vectors, Stacked(weights), sizes)
        assert all(torch.isfinite(v).all() for v in outputs.values())
        loss = sum((v.sum() for v in outputs.values()), torch.zeros(()))
        for grad in torch.autograd.grad(loss, list(weights.values())):
            assert torch.isfinite(grad).all()


def test_functions_on_plain_numbers_and_arrays() -> None:
    h = np.array([-1.0, 0.5])
    assert cells.minimum(1.5, 0.5) == 0.5
    assert cells.tanh(0.0) == 0
    for backend in (np.asarray, torch.tensor):
        v = backend(h)
        assert np.asarray(cells.minimum(v, 0)).tolist() == [-1.0, 0.0]
        assert np.asarray(cells.maximum(0.25, v)).tolist() == [0.25, 0.5]
        assert np.asarray(cells.mean(v)).tolist() == [-0.25]
        assert np.asarray(cells.abs(v)).tolist() == [1.0, 0.5]
        assert np.asarray(cells.normalize(v, eps=0.0)).tolist() == pytest.approx([-1.0, 1.0])
        assert np.asarray(cells.exp(cells.log(cells.softplus(v)))) == pytest.approx(np.log1p(np.exp(h)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode calls it
def test_second_derivatives_vmap_and_forward_mode() -> None:
    """Nothing hides a gradient: torch's transforms pass through the interpreter."""
    program, sizes = ALL["every_function"].program, resolve(3, 4)
    weights = tensors(weights_for(program, 3, 4, 4))
    vectors = tensors(vectors_for(program, 5, 3, 4, 4))

    def step(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return run(program, {"x": x, "h": h, "c": c}, Stacked(weights), sizes)["h"]

    inputs = tuple(vectors.values())
    torch.testing.assert_close(torch.func.vmap(step)(*inputs), step(*inputs))
    _, forward = torch.func.jvp(step, inputs, inputs)
    _, pull = torch.func.vjp(step, *inputs)
    ones = torch.ones_like(forward)
    backward = sum((g * v).sum() for g, v in zip(pull(ones), inputs))
    torch.testing.assert_close(forward.sum(), backward)
    assert torch.autograd.gradgradcheck(step, tuple(v.requires_grad_() for v in inputs))


def test_missing_and_misfitting_values_are_named() -> None:
    program, weights = cells.lstm.program, weights_for(cells.lstm.program, 2, 3, 3)
    vectors = vectors_for(program, 1, 2, 3, 3)
    with pytest.raises(ProgramError, match=r"'lstm' is not given c; given: x, h"):
        run(program, {n: vectors[n] for n in "xh"}, Stacked(weights), resolve(2, 3))
    with pytest.raises(ProgramError, match="'lstm' is not given c, h, x; given: nothing"):
        run(program, {}, Stacked(weights), resolve(2, 3))
    weights.pop("bias_o")
    with pytest.raises(ProgramError, match="weight 'bias_o' is missing; given: weight_i"):
        run(program, vectors, Stacked(weights), resolve(2, 3))
    weights.pop("weight_f")
    with pytest.raises(CellError, match="neither weight_f nor f; given: weight_i"):
        cells.lstm(*vectors.values(), weights)
    weights["weight_f"] = np.zeros((3, 4))
    with pytest.raises(CellError, match=r"weight_f has 4 columns, but the vectors of W.f\(...\) have 5 units"):
        cells.lstm(*vectors.values(), weights)
    with pytest.raises(CellError, match="cell 'lstm' takes x, h, c and W, but got 3 arguments"):
        cells.lstm(vectors["x"], vectors["h"], weights)
    back = Node("transpose", (0,), name="q")
    with pytest.raises(ProgramError, match="vector 0 of the map 'q' does not exist"):
        Split(program, weights, resolve(2, 3)).transpose(back, vectors["h"])
    with pytest.raises(ProgramError, match="use Split"):
        Stacked(weights).transpose(back, vectors["h"])


def test_named_and_families() -> None:
    assert named("lstm") is cells.lstm
    assert named(cells.gru) is cells.gru
    with pytest.raises(OptionError, match=r"unknown cell 'lsmt' \(did you mean 'lstm'\?\)"):
        named("lsmt")
    with pytest.raises(OptionError, match=r"unknown activation 'thanh' \(did you mean 'tanh'\?\)"):
        cells.elman_rnn("thanh")
    assert cells.elman_rnn("relu").program.same_step(cells.rnn_relu.program)
    with pytest.raises(OptionError, match="cell 'jordan' has a state y already"):
        cells.with_output(cells.jordan)


def test_an_output_unit_on_any_cell() -> None:
    on_lstm = cells.with_output(cells.lstm, "identity")
    assert (on_lstm.name, on_lstm.states) == ("lstm_output", ("y", "h", "c"))
    assert on_lstm.program.state_sizes() == {"y": "O", "h": "H", "c": "H"}
    weights = weights_for(on_lstm.program, 3, 4, OUTPUT)
    x, y, h, c = vectors_for(on_lstm.program, 2, 3, 4, OUTPUT).values()
    new_y, new_h, new_c = on_lstm(x, y, h, c, weights)
    np.testing.assert_array_equal((new_h, new_c), cells.lstm(x, h, c, weights))
    np.testing.assert_allclose(new_y, new_h @ weights["weight_y"].T + weights["bias_y"], rtol=1e-14)


def test_a_copied_or_pickled_cell_is_its_program() -> None:
    for copied in (copy.copy(cells.lstm), copy.deepcopy(cells.lstm), pickle.loads(pickle.dumps(cells.lstm))):
        assert isinstance(copied, TracedCell)
        assert copied.program == cells.lstm.program
        assert (copied.name, copied.states, copied.source) == (cells.lstm.name, ("h", "c"), cells.lstm.source)
    assert repr(cells.lstm) == "<cell lstm(h, c)>"
    assert repr(copy.copy(cells.gru)) == "<cell gru(h), from its program>"


def test_name_source_and_doc() -> None:
    @cell(name="own", source="Someone\n   1990", doc="First line.\nSecond line.")
    def function(x, h, W):  # type: ignore[no-untyped-def]
        return W.h(x, h)

    assert (function.name, function.__name__, function.source) == ("own", "own", "Someone 1990")
    assert (function.program.doc, function.program.source) == ("First line.", "Someone 1990")
    assert cells.lstm.program.doc == "Long short-term memory with a forget gate."
    assert all(c.source and c.doc for c in CATALOGUE.values()), "each entry names its paper and says what it is"
