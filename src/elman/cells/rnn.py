"""Simple recurrent networks: Elman's, an output unit on any cell, the constant error flow, Jordan's."""

# ruff: noqa: RET504 (equations give what they return its name)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from elman.cells.language import Cell, cell, identity, relu, sigmoid, tanh
from elman.errors import OptionError, did_you_mean

ELMAN = "Elman 1990, Finding structure in time"

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"tanh": tanh, "sigmoid": sigmoid, "relu": relu, "identity": identity}


def activation_named(name: str) -> Callable[[Any], Any]:
    """The activation function called `name`; OptionError for an unknown one."""
    if name not in ACTIVATIONS:
        raise OptionError(f"unknown activation {name!r}{did_you_mean(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def elman_rnn(activation: str = "tanh", name: str | None = None) -> Cell:
    """The vanilla RNN with activation tanh, sigmoid, relu or identity."""
    g = activation_named(activation)

    @cell(
        name=name or f"rnn_{activation}",
        source=ELMAN,
        doc=f"Vanilla (Elman) recurrent network, activation {activation}.",
    )
    def rnn(x: Any, h: Any, W: Any) -> Any:
        h = g(W.h(x, h))
        return h

    return rnn


def with_output(inner: Cell, activation: str = "sigmoid", name: str | None = None) -> Cell:
    """`inner` with an output unit y = g(W_y·h + b_y) at every step: y becomes the output, inner states follow it."""
    g = activation_named(activation)
    if "y" in inner.states:
        raise OptionError(f"cell {inner.name!r} has a state y already: it needs no output unit of that name")

    def output(x: Any, y: Any, *states_and_W: Any) -> Any:
        *states, W = states_and_W
        new = inner(x, *states, W)
        new = new if isinstance(new, tuple) else (new,)
        y = g(W.y(new[0]))
        return (y, *new)

    doc = f"An output unit ({activation}) at every step of {inner.name}."
    return Cell(output, name=name or f"{inner.name}_output", source=inner.source, doc=doc, states=("y", *inner.states))


rnn = elman_rnn("tanh", name="rnn")
rnn_sigmoid = elman_rnn("sigmoid")
rnn_relu = elman_rnn("relu")
rnn_identity = elman_rnn("identity")
rnn_output = with_output(rnn, name="rnn_output")


@cell(source="Hochreiter & Schmidhuber 1997, Long short-term memory, section 3.2")
def carousel(x: Any, h: Any, W: Any) -> Any:
    """Identity recurrence: the naive constant error carousel, whose error flows back unchanged (∂h'/∂h = 1)."""
    h = h + W.h(x)
    return h


@cell(source="Jordan 1986, Serial order: a parallel distributed processing approach")
def jordan(x: Any, y: Any, W: Any) -> Any:
    """Jordan network: the recurrence is from the output, not from the hidden units."""
    h = tanh(W.h(x, y))
    y = W.y(h)
    return y
