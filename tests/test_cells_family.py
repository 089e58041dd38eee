"""The cells beyond the classics, against their papers' equations written anew in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from elman.cells import CATALOGUE, recurrent_highway
from elman.errors import OptionError

Array = np.ndarray
Map = Callable[..., Array]
UNITS, INPUTS, BATCH = 5, 3, 4


def sig(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def norm(v: Array) -> Array:
    return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)


def slstm(a: Map, p: dict[str, Array], x: Array, h: Array, c: Array, n: Array, m: Array) -> list[Array]:
    log_f = np.log(sig(a("f", x, h)))
    top = np.maximum(log_f + m, a("i", x, h))
    f, i = np.exp(log_f + m - top), np.exp(a("i", x, h) - top)
    c, n = f * c + i * np.tanh(a("g", x, h)), f * n + i
    return [sig(a("o", x, h)) * c / n, c, n, top]


def rhn(a: Map, p: dict[str, Array], x: Array, h: Array) -> list[Array]:
    for k in (1, 2, 3):
        seen = (x, h) if k == 1 else (h,)
        t = sig(a(f"u{k}", *seen))
        h = t * np.tanh(a(f"n{k}", *seen)) + (1 - t) * h
    return [h]


def layer_norm_lstm(a: Map, p: dict[str, Array], x: Array, h: Array, c: Array) -> list[Array]:
    def gate(k: str) -> Array:
        return norm(a(k, x, h)) * p[f"s_{k}"] + p[f"b_{k}"]

    c = sig(gate("f") + 1) * c + sig(gate("i")) * np.tanh(gate("g"))
    return [sig(gate("o")) * np.tanh(norm(c) * p["s_c"] + p["b_c"]), c]


def layer_norm_gru(a: Map, p: dict[str, Array], x: Array, h: Array) -> list[Array]:
    r, z = (sig(norm(a(k, x, h)) * p[f"s_{k}"] + p[f"b_{k}"]) for k in "rz")
    n = np.tanh(norm(a("n", x)) * p["s_n"] + p["b_n"] + r * (norm(a("m", h)) * p["s_m"] + p["b_m"]))
    return [(1 - z) * n + z * h]


def multiplicative(a: Map, p: dict[str, Array], x: Array, h: Array, c: Array) -> list[Array]:
    m = a("mx", x) * a("mh", h)
    c = sig(a("f", x, m)) * c + sig(a("i", x, m)) * np.tanh(a("g", x, m))
    return [sig(a("o", x, m)) * np.tanh(c), c]


def mgu(a: Map, p: dict[str, Array], x: Array, h: Array) -> list[Array]:
    f = sig(a("u", x, h))
    return [(1 - f) * h + f * np.tanh(a("n", x, f * h))]


def minlstm(a: Map, p: dict[str, Array], x: Array, h: Array) -> list[Array]:
    f, i = sig(a("f", x)), sig(a("i", x))
    return [f / (f + i) * h + i / (f + i) * a("n", x)]


def gated(candidate: Callable[[Array], Array]) -> Callable[..., list[Array]]:
    def step(a: Map, p: dict[str, Array], x: Array, h: Array) -> list[Array]:
        z = sig(a("z", x, h))
        return [z * h + (1 - z) * candidate(a("n", x, h))]

    return step


PAPERS: dict[str, Callable[..., list[Array]]] = {
    "irnn": lambda a, p, x, h: [np.maximum(a("h", x, h), 0)],
    "indrnn": lambda a, p, x, h: [np.maximum(a("h", x) + p["r"] * h, 0)],
    "mgu": mgu,
    "ligru": gated(lambda v: np.maximum(v, 0)),
    "ugrnn": gated(np.tanh),
    "janet": lambda a, p, x, h: [sig(a("f", x, h)) * h + (1 - sig(a("f", x, h) - 1)) * np.tanh(a("g", x, h))],
    "mingru": lambda a, p, x, h: [(1 - sig(a("u", x))) * h + sig(a("u", x)) * a("n", x)],
    "minlstm": minlstm,
    "lstm_multiplicative": multiplicative,
    "rhn": rhn,
    "lstm_layer_norm": layer_norm_lstm,
    "gru_layer_norm": layer_norm_gru,
    "slstm": slstm,
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_step_is_that_of_the_paper(name: str) -> None:
    rng = np.random.default_rng(7)
    cell = CATALOGUE[name]
    weights = {n: rng.normal(size=shape) for n, shape in cell.program.parameter_shapes(INPUTS, UNITS).items()}
    x = rng.normal(size=(BATCH, INPUTS))
    states = [rng.normal(size=(BATCH, UNITS)) for _ in cell.states]
    if name == "slstm":
        states[2] = abs(states[2]) + 0.1  # the normaliser is a sum of exponentials

    def affine(k: str, *vectors: Array) -> Array:
        return np.concatenate(vectors, -1) @ weights[f"weight_{k}"].T + weights.get(f"bias_{k}", 0.0)

    new = cell(x, *states, weights)
    for got, wanted in zip(
        new if isinstance(new, tuple) else [new], PAPERS[name](affine, weights, x, *states), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_slstm_starts_from_zeros_without_dividing_by_them() -> None:
    cell = CATALOGUE["slstm"]
    weights = {n: np.zeros(shape) for n, shape in cell.program.parameter_shapes(INPUTS, UNITS).items()}
    weights["bias_i"] -= 50.0  # an input gate that is as good as closed
    new = cell(np.ones((BATCH, INPUTS)), *(np.zeros((BATCH, UNITS)) for _ in cell.states), weights)
    assert all(np.isfinite(value).all() for value in new)


def test_a_deeper_highway_has_more_maps() -> None:
    assert recurrent_highway(1).program.gates == ("n1", "u1")
    assert len(recurrent_highway(5).program.gates) == 10
    with pytest.raises(OptionError, match="depth of 1 or more"):
        recurrent_highway(0)
