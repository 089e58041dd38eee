"""Long short-term memory: of 1997, with a forget gate, with peepholes, with coupled gates, with a projection."""

from __future__ import annotations

from typing import Any

from elman.cells.language import cell, sigmoid, tanh


@cell(source="Hochreiter & Schmidhuber 1997, Long short-term memory")
def lstm_1997(x: Any, h: Any, c: Any, W: Any) -> Any:
    """The first LSTM: input and output gate around a constant error carousel, no forget gate."""
    i = sigmoid(W.i(x, h))
    g = tanh(W.g(x, h))
    o = sigmoid(W.o(x, h))
    c = c + i * g
    h = o * tanh(c)
    return h, c


@cell(source="Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000, Learning to forget")
def lstm(x: Any, h: Any, c: Any, W: Any) -> Any:
    """Long short-term memory with a forget gate."""
    i = sigmoid(W.i(x, h))
    f = sigmoid(W.f(x, h))
    g = tanh(W.g(x, h))
    o = sigmoid(W.o(x, h))
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(source="Gers & Schmidhuber 2000, Recurrent nets that time and count")
def lstm_peephole(x: Any, h: Any, c: Any, W: Any) -> Any:
    """LSTM with peepholes: the gates also see the memory cell, the output gate the new one."""
    i = sigmoid(W.i(x, h) + W.p_i * c)
    f = sigmoid(W.f(x, h) + W.p_f * c)
    g = tanh(W.g(x, h))
    c = f * c + i * g
    o = sigmoid(W.o(x, h) + W.p_o * c)
    h = o * tanh(c)
    return h, c


@cell(source="Greff et al. 2017, LSTM: a search space odyssey (CIFG)")
def lstm_coupled(x: Any, h: Any, c: Any, W: Any) -> Any:
    """LSTM with coupled input and forget gate: what is let in is what is let go."""
    f = sigmoid(W.f(x, h))
    g = tanh(W.g(x, h))
    o = sigmoid(W.o(x, h))
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return h, c


@cell(source="Sak, Senior & Beaufays 2014, Long short-term memory recurrent neural network architectures")
def lstm_projected(x: Any, h: Any, c: Any, W: Any) -> Any:
    """LSTM with a projection: what recurs, and is put out, is a smaller linear image of the units."""
    i = sigmoid(W.i(x, h))
    f = sigmoid(W.f(x, h))
    g = tanh(W.g(x, h))
    o = sigmoid(W.o(x, h))
    c = f * c + i * g
    h = W.r(o * tanh(c), bias=False)
    return h, c
