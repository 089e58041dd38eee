"""The reference back end: its adjoint equals autograd for any cell, and it equals torch's fused operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from elman import cells
from elman.cells import cell, exp, maximum, normalize, sigmoid, softplus, tanh
from elman.compiler.ir import Program, resolve
from elman.compiler.verify import verify_cell
from elman.nn import Recurrent
from elman.nn.reference import Scan, scan

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

T, B, IN, H, OUT = 5, 3, 3, 4, 2


@cell
def layer_norm_lstm(x: Any, h: Any, c: Any, W: Any) -> Any:
    i = sigmoid(W.s_i * normalize(W.i(x, h)) + W.t_i)
    f = sigmoid(W.s_f * normalize(W.f(x, h)) + W.t_f)
    g = tanh(W.g(x, h, bias=False))
    c = f * c + i * g
    h = sigmoid(W.o(x, h)) * tanh(W.s_c * normalize(c) + W.t_c)
    return h, c


@cell
def indrnn(x: Any, h: Any, W: Any) -> Any:
    return softplus(W.h(x) + W.u * h)


@cell
def odd(x: Any, h: Any, n: Any, m: Any, W: Any) -> Any:
    """Everything that the catalogue does not do: the input twice, maps of computed, swapped and constant vectors."""
    a = W.a(x, h, x) + W.b(h, x, bias=False) * W.c(2 * x)
    n = maximum(n, W.d(W.p * W.q, h))
    m = W.r * 1.0  # a state that depends on no vector
    h = tanh(a) / (1 + exp(-n)) + W.e(W.s * W.r, bias=False) + m
    return h, n, m


OWN = {c.name: c for c in (layer_norm_lstm, indrnn, odd)}
EVERY = {**cells.CATALOGUE, **OWN}


def problem(program: Program) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Random input, first states and weights in float64."""
    sizes = resolve(IN, H, OUT)
    x = torch.randn(T, B, IN, dtype=torch.float64, requires_grad=True)
    states = [torch.randn(B, sizes[s], dtype=torch.float64, requires_grad=True) for s in program.state_sizes().values()]
    shapes = program.parameter_shapes(IN, H, OUT)
    weights = {n: torch.randn(s, dtype=torch.float64, requires_grad=True) for n, s in shapes.items()}
    return x, states, weights


@pytest.mark.parametrize("name", EVERY)
def test_the_adjoint_is_autograd_through_the_scan(name: str) -> None:
    program = EVERY[name].program
    x, states, weights = problem(program)
    leaves = [x, *states, *weights.values()]
    wanted, _ = scan(program, weights, x, states)
    found = Scan.apply(program, tuple(weights), None, x, *states, *weights.values())
    shares = [torch.randn_like(s) for s in wanted]
    gradients = []
    for sequences in (found, wanted):
        loss = sum(((s * w).sum() for s, w in zip(sequences, shares, strict=True)), torch.zeros(()).double())
        gradients.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    for ours, theirs in zip([*found, *gradients[0]], [*wanted, *gradients[1]], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("name", EVERY)
def test_the_scan_is_the_cell_called_step_by_step(name: str) -> None:
    """The equations themselves, run on tensors, are the judge."""
    one = EVERY[name]
    x, states, weights = problem(one.program)
    found, _ = scan(one.program, weights, x, states)
    current: Any = states
    for t in range(T):
        current = one(x[t], *current, weights)
        current = current if isinstance(current, tuple) else (current,)
        for sequence, state in zip(found, current, strict=True):
            torch.testing.assert_close(sequence[t], state.expand(B, -1), rtol=1e-11, atol=1e-12)


def test_a_gradient_of_some_states_alone() -> None:
    """Only the second state's sequence enters the loss; the others' gradients come as None."""
    program = cells.lstm_peephole.program
    x, states, weights = problem(program)
    found = Scan.apply(program, tuple(weights), None, x, *states, *weights.values())[1][2]
    wanted = scan(program, weights, x, states)[0][1][2]
    leaves = [x, *states, *weights.values()]
    for ours, theirs in zip(*(torch.autograd.grad(s.sum(), leaves, materialize_grads=True) for s in (found, wanted))):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


def test_the_input_need_not_be_the_first_node() -> None:
    """A program from a file may hold its nodes in another order than the tracer leaves them in."""
    program = cells.rnn.program
    x_node, h_node, *rest = program.nodes
    assert (x_node.op, h_node.op) == ("input", "state")
    place = {0: 1, 1: 0}
    turned = replace(
        program, nodes=(h_node, x_node, *(replace(n, args=tuple(place.get(a, a) for a in n.args)) for n in rest))
    )
    verify_cell(turned)
    x, states, weights = problem(program)
    leaves = [x, *states, *weights.values()]
    results = [Scan.apply(p, tuple(weights), None, x, *states, *weights.values())[0] for p in (program, turned)]
    assert torch.equal(*results)
    for a, b in zip(*(torch.autograd.grad(r.square().sum(), leaves) for r in results)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["rnn", "rnn_relu", "lstm", "lstm_projected", "gru"])
def test_the_back_ends_are_the_reference(name: str) -> None:
    """Values and gradients of `native`, `torch` and `reference`, over a ragged batch in both directions."""
    torch.manual_seed(3)
    size = {"output_size": OUT} if name == "lstm_projected" else {}
    layers = [
        Recurrent(name, IN, H, 2, bidirectional=True, backend=backend, dtype=torch.float64, **size)
        for backend in ("reference", "torch", "native")
    ]
    for weight in layers[0].parameters():
        torch.nn.init.normal_(weight)
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
    x = torch.randn(T, B, IN, dtype=torch.float64, requires_grad=True)
    results = []
    for layer in layers:
        output, state = layer(x, lengths=[2, 5, 4])
        loss = output.square().sum() + sum(s.sin().sum() for part in state for s in part)
        results.append(
            [output, *(s for part in state for s in part), *torch.autograd.grad(loss, [x, *layer.parameters()])]
        )
    for wanted, *found in zip(*results, strict=True):
        for ours in found:
            torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-12)
