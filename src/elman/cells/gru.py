"""Gated recurrent units: the update gate alone, the reset gate before and after the recurrent matrix."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from typing import Any

from elman.cells.language import cell, sigmoid, tanh


@cell(source="Cho et al. 2014, Learning phrase representations, without the reset gate")
def gru_simplified(x: Any, h: Any, W: Any) -> Any:
    """Simplified GRU: an update gate only."""
    u = sigmoid(W.u(x, h))
    n = tanh(W.n(x, h))
    h = u * n + (1 - u) * h
    return h


@cell(source="Cho et al. 2014, Learning phrase representations using RNN encoder-decoder")
def gru_reset_before(x: Any, h: Any, W: Any) -> Any:
    """Full GRU: the reset (relevance) gate acts on the state before the matrix."""
    r = sigmoid(W.r(x, h))
    u = sigmoid(W.u(x, h))
    n = tanh(W.n(x, r * h))
    h = u * n + (1 - u) * h
    return h


@cell(source="Cho et al. 2014; reset after the matrix as in cuDNN (Chetlur et al. 2014) and torch.nn.GRU")
def gru(x: Any, h: Any, W: Any) -> Any:
    """GRU whose reset gate acts after the recurrent matrix."""
    r = sigmoid(W.r(x, h))
    z = sigmoid(W.z(x, h))
    n = tanh(W.n(x) + r * W.m(h))
    h = (1 - z) * n + z * h
    return h
