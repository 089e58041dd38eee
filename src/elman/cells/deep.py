"""Cells that do more within a step: maps after one another or multiplied, normalised gates, exponential gates."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from typing import Any

from elman.cells.language import Cell, cell, exp, maximum, normalize, sigmoid, softplus, tanh
from elman.errors import OptionError


@cell(source="Krause et al. 2016, Multiplicative LSTM for sequence modelling")
def lstm_multiplicative(x: Any, h: Any, c: Any, W: Any) -> Any:
    """Multiplicative LSTM: the input chooses the recurrent matrix, by a product of two maps."""
    m = W.mx(x, bias=False) * W.mh(h, bias=False)
    i = sigmoid(W.i(x, m))
    f = sigmoid(W.f(x, m))
    g = tanh(W.g(x, m))
    o = sigmoid(W.o(x, m))
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


def recurrent_highway(depth: int = 3, name: str | None = None) -> Cell:
    """The recurrent highway network with `depth` highway layers inside a step (deep transition)."""
    if depth < 1:
        raise OptionError(f"a recurrent highway cell needs a depth of 1 or more, not {depth}")

    @cell(
        name=name or f"rhn_{depth}",
        source="Zilly et al. 2017, Recurrent highway networks",
        doc=f"Recurrent highway network, {depth} highway layers a step.",
    )
    def rhn(x: Any, h: Any, W: Any) -> Any:
        for layer in range(1, depth + 1):
            seen = (x, h) if layer == 1 else (h,)  # the input enters at the first layer
            n = tanh(getattr(W, f"n{layer}")(*seen))
            u = sigmoid(getattr(W, f"u{layer}")(*seen))
            h = u * n + (1 - u) * h
        return h

    return rhn


rhn = recurrent_highway(3, name="rhn")


@cell(source="Ba, Kiros & Hinton 2016, Layer normalization; one normalisation a gate, forget bias 1 built in")
def lstm_layer_norm(x: Any, h: Any, c: Any, W: Any) -> Any:
    """Layer-normalised LSTM: each gate and the cell are normalised over the units."""
    i = sigmoid(normalize(W.i(x, h, bias=False)) * W.s_i + W.b_i)
    f = sigmoid(normalize(W.f(x, h, bias=False)) * W.s_f + W.b_f + 1)
    g = tanh(normalize(W.g(x, h, bias=False)) * W.s_g + W.b_g)
    o = sigmoid(normalize(W.o(x, h, bias=False)) * W.s_o + W.b_o)
    c = f * c + i * g
    h = o * tanh(normalize(c) * W.s_c + W.b_c)
    return h, c


@cell(source="Ba, Kiros & Hinton 2016, Layer normalization, on the GRU with the reset gate after the matrix")
def gru_layer_norm(x: Any, h: Any, W: Any) -> Any:
    """Layer-normalised GRU: gates and both parts of the candidate are normalised over the units."""
    r = sigmoid(normalize(W.r(x, h, bias=False)) * W.s_r + W.b_r)
    z = sigmoid(normalize(W.z(x, h, bias=False)) * W.s_z + W.b_z)
    m = normalize(W.m(h, bias=False)) * W.s_m + W.b_m
    n = tanh(normalize(W.n(x, bias=False)) * W.s_n + W.b_n + r * m)
    h = (1 - z) * n + z * h
    return h


@cell(source="Beck et al. 2024, xLSTM: extended long short-term memory (sLSTM), one head, sigmoid forget gate")
def slstm(x: Any, h: Any, c: Any, n: Any, m: Any, W: Any) -> Any:
    """sLSTM: an exponential input gate, a normaliser n, and m, which keeps the exponentials in range."""
    i = W.i(x, h)
    f = -softplus(-W.f(x, h))
    g = tanh(W.g(x, h))
    o = sigmoid(W.o(x, h))
    top = maximum(f + m, i)
    take = exp(i - top)
    keep = exp(f + m - top)
    c = keep * c + take * g
    n = keep * n + take
    h = o * c / n
    return h, c, n, top
