"""Light cells: fewer gates, per-unit recurrence, or gates that see the input alone."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from typing import Any

from elman.cells.language import cell, relu, sigmoid, softplus, tanh


@cell(source="Le, Jaitly & Hinton 2015, A simple way to initialize recurrent networks of rectified linear units")
def irnn(x: Any, h: Any, W: Any) -> Any:
    """IRNN: the relu network, to be started from the identity (`elman.nn.init.identity_`)."""
    h = relu(W.h(x, h))
    return h


@cell(source="Li et al. 2018, Independently recurrent neural network (IndRNN)")
def indrnn(x: Any, h: Any, W: Any) -> Any:
    """Independently recurrent network: each unit sees only itself of the step before."""
    h = relu(W.h(x) + W.r * h)
    return h


@cell(source="Zhou et al. 2016, Minimal gated unit for recurrent neural networks")
def mgu(x: Any, h: Any, W: Any) -> Any:
    """Minimal gated unit: one gate that lets in and resets."""
    u = sigmoid(W.u(x, h))
    n = tanh(W.n(x, u * h))
    h = (1 - u) * h + u * n
    return h


@cell(source="Ravanelli et al. 2018, Light gated recurrent units for speech recognition, without batch normalisation")
def ligru(x: Any, h: Any, W: Any) -> Any:
    """Li-GRU: no reset gate, relu for the candidate."""
    z = sigmoid(W.z(x, h))
    n = relu(W.n(x, h))
    h = z * h + (1 - z) * n
    return h


@cell(source="van der Westhuizen & Lasenby 2018, The unreasonable effectiveness of the forget gate, with β = 1")
def janet(x: Any, h: Any, W: Any) -> Any:
    """JANET: an LSTM with a forget gate only, which forgets less than it lets in."""
    s = W.f(x, h)
    g = tanh(W.g(x, h))
    h = sigmoid(s) * h + (1 - sigmoid(s - 1)) * g
    return h


@cell(source="Collins, Sohl-Dickstein & Sussillo 2017, Capacity and trainability in recurrent neural networks")
def ugrnn(x: Any, h: Any, W: Any) -> Any:
    """Update gate RNN: a gate between the old state and a vanilla step."""
    z = sigmoid(W.z(x, h))
    n = tanh(W.n(x, h))
    h = z * h + (1 - z) * n
    return h


@cell(source="Feng et al. 2024, Were RNNs all we needed?")
def mingru(x: Any, h: Any, W: Any) -> Any:
    """minGRU: gate and candidate see the input alone, so that training may run parallel in time."""
    u = sigmoid(W.u(x))
    h = (1 - u) * h + u * W.n(x)
    return h


@cell(source="Feng et al. 2024, Were RNNs all we needed?")
def minlstm(x: Any, h: Any, W: Any) -> Any:
    """minLSTM: gates that see the input alone and share out what there is: f / (f + i) of the old, the rest new."""
    f = W.f(x)
    i = W.i(x)
    keep = sigmoid(softplus(-i) - softplus(-f))  # σ(f) / (σ(f) + σ(i)), also where both are as good as 0
    h = keep * h + (1 - keep) * W.n(x)
    return h
