"""Every number of a diagnosis against brute force by autograd in float64, for every cell of the catalogue."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elman
from elman.cells import CATALOGUE
from elman.compiler.interpret import column_ranges
from elman.diagnosis import Report, Sampling
from elman.nn import Recurrent, step_gradients
from elman.nn.recurrent import State

T, B, INPUT, HIDDEN = 5, 2, 2, 3
LENGTHS = [5, 0, 3]
WHOLE = Sampling.whole(shown=2)
LEAST = Sampling(sequences=1, ends=1, vectors=1, places=1, exponents=1)


def loss(output: Tensor, state: State) -> Tensor:
    weights = torch.linspace(0.5, 2.0, output.numel(), dtype=output.dtype).view_as(output)
    return (output.square() * weights).sum() + sum(s.sin().sum() for part in state for s in part)


def close(found: Any, wanted: Any, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=1e-12)


@cache
def single(name: str) -> tuple[Recurrent, Tensor, Report]:
    """One layer, whole sequences."""
    torch.manual_seed(3)
    layer = Recurrent(name, INPUT, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    x = torch.randn(T, B, INPUT, dtype=torch.float64)
    return layer, x, elman.diagnose(layer, x, loss=loss, sampling=WHOLE)


def unrolled(name: str, layer: Recurrent, x: Tensor) -> tuple[list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
    """(states before each step, states after it) by the cell's own function, as one would write it."""
    (part,) = layer.parts()
    states, before, after = part.zeros(B), [], []
    for x_t in x:
        before.append(states)
        new = CATALOGUE[name](x_t, *states, part.weights)
        states = new if isinstance(new, tuple) else (new,)
        after.append(states)
    return before, after


def jacobians(name: str, layer: Recurrent, x: Tensor) -> Tensor:
    """J (T, B, N, N) by autograd, one step and sequence at a time."""
    (part,) = layer.parts()
    before, _ = unrolled(name, layer, x)
    found = torch.zeros(T, B, *[sum(part.state_sizes)] * 2, dtype=torch.float64)
    for t in range(T):
        for b in range(B):

            def step(states: Tensor, t: int = t, b: int = b) -> Tensor:
                new = CATALOGUE[name](x[t, b], *states.split(part.state_sizes), part.weights)
                return torch.cat(new if isinstance(new, tuple) else (new,))

            at = torch.cat([s[b] for s in before[t]]).detach()
            found[t, b] = torch.autograd.functional.jacobian(step, at)
    return found


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_flow_is_autograds(name: str) -> None:
    layer, x, report = single(name)
    _, after = unrolled(name, layer, x)
    total = loss(torch.stack([states[0] for states in after]), (after[-1],))
    flat = [s for states in after for s in states]
    grads = torch.autograd.grad(total, flat, allow_unused=True, materialize_grads=True)
    close(report.loss, total.item())
    flow = report.layers[0].flow
    for number, state in enumerate(layer.layers[0].program.states):
        norms = torch.stack(grads[number :: len(after[0])]).norm(dim=-1).numpy()  # (T, B)
        close(flow.states[state].mean, norms.mean(1))
        close(flow.states[state].lower, np.quantile(norms, 0.25, axis=1))
        close(flow.states[state].median, np.median(norms, axis=1))
        close(flow.states[state].upper, np.quantile(norms, 0.75, axis=1))


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_shares_sum_to_the_gradient_in_ragged_stacks(name: str) -> None:
    layer = Recurrent(name, INPUT, HIDDEN, 2, bidirectional=True, residual=True, dtype=torch.float64)
    x = torch.randn(T, 3, INPUT, dtype=torch.float64)
    report = elman.diagnose(layer, x, loss=loss, lengths=LENGTHS, sampling=LEAST)
    own = x.clone().requires_grad_()
    loss(*layer(own, lengths=LENGTHS)).backward()
    assert own.grad is not None
    input_norms = own.grad.norm(dim=-1)  # (T, B)
    close(report.networks[0].input.mean, [input_norms[t, [n > t for n in LENGTHS]].mean() for t in range(T)])
    close(report.gradient_norm, torch.cat([p.grad.flatten() for p in layer.parameters()]).norm())  # type: ignore[union-attr]
    shares = step_gradients(layer, x, loss, lengths=LENGTHS)
    for found, part, of in zip(report.layers, layer.parts(), shares, strict=True):
        for weight, share in of.items():
            close(found.flow.shares[weight], share.flatten(1).norm(dim=1), 1e-7)
            close(found.flow.gradients[weight], part.weights[weight].grad.norm())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_jacobians_are_autograds(name: str) -> None:
    layer, x, report = single(name)
    wanted, found = jacobians(name, layer, x), report.layers[0].jacobian
    assert len(found.steps) == T * B
    for p, (t, b) in enumerate(zip(found.steps, found.sequences)):
        close(found.singular_values[p], torch.linalg.svdvals(wanted[t, b]))
        eigenvalues = np.linalg.eigvals(wanted[t, b].numpy())
        close(found.radius[p], np.abs(eigenvalues).max(), 1e-6)
        close(np.hypot(*found.eigenvalues[p].T), np.sort(np.abs(eigenvalues))[::-1], 1e-6)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_memory_is_that_of_products_of_jacobians(name: str) -> None:
    layer, x, report = single(name)
    steps, found = jacobians(name, layer, x), report.layers[0].memory
    (part,) = layer.parts()
    units = part.state_sizes[0]
    for lag in range(T):
        gains = []
        for end in range(lag, T):
            for b in range(B):
                product = torch.eye(steps.shape[-1], dtype=torch.float64)[:units]
                for t in range(end, end - lag, -1):
                    product = product @ steps[t, b]
                gains.append(product.norm() / units**0.5)
        close(found.gain[lag], torch.stack(gains).mean(), 1e-8)
    assert not found.error.any()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_exponents_are_those_of_qr(name: str) -> None:
    layer, x, report = single(name)
    steps, found = jacobians(name, layer, x).numpy(), report.layers[0].lyapunov
    assert found.steps == T
    sums = np.zeros((B, steps.shape[-1]))
    with np.errstate(divide="ignore"):
        for b in range(B):
            q = np.eye(steps.shape[-1])
            for t in reversed(range(T)):
                q, r = np.linalg.qr(steps[t, b].T @ q)
                sums[b] += np.log(np.abs(np.diag(r))) / T
    alive = sums.min(0) > -10  # a direction that a step erases is log 0, which rounding decides
    wanted = np.sort(sums.mean(0)[alive])[::-1]
    close(np.sort(found.exponents)[::-1][: len(wanted)], wanted, 1e-6)
    assert (np.sort(found.exponents)[::-1][len(wanted) :] < -6).all()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_sensitivity_is_autograds_in_ragged_stacks(name: str) -> None:
    layer = Recurrent(name, INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(T, 3, INPUT, dtype=torch.float64)
    every = Sampling(sequences=3, ends=T, vectors=2 * HIDDEN, places=1, exponents=1)
    found = elman.diagnose(layer, x, lengths=LENGTHS, sampling=every).networks[0].sensitivity
    whole = torch.autograd.functional.jacobian(lambda own: layer(own, lengths=LENGTHS)[0], x)  # (T, B, 2H, T, B, INPUT)
    norms = torch.stack([whole[:, b, :, :, b].square().sum((1, 3)).sqrt() for b in range(3)], -1)  # (T, T, B)
    running = torch.tensor([[n > t for n in LENGTHS] for t in range(T)])
    both = running[:, None] & running[None]
    close(found.map, ((norms * both).sum(-1) / both.sum(-1))[found.steps], 1e-8)
    assert not found.error.any()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_matrices_are_the_columns_of_the_states(name: str) -> None:
    layer, _, report = single(name)
    (part,) = layer.parts()
    found = iter(report.layers[0].matrices)
    program = part.program
    for node in program.nodes:
        if node.op == "affine":
            for argument, (a, b) in zip(node.args, column_ranges(program, node, part.sizes)):
                if program.nodes[argument].op != "input":
                    _same_matrix(next(found), part.weights[f"weight_{node.name}"][:, a:b].detach().numpy())
        elif node.op == "mul" and sorted(program.nodes[a].op for a in node.args) == ["parameter", "state"]:
            name = next(program.nodes[a].name for a in node.args if program.nodes[a].op == "parameter")
            _same_matrix(next(found), np.diag(part.weights[name].detach().numpy()))
    assert next(found, None) is None


def _same_matrix(found: Any, block: np.ndarray[Any, Any]) -> None:
    close(found.singular_values, np.linalg.svd(block, compute_uv=False))
    if block.shape[0] == block.shape[1]:
        eigenvalues = np.linalg.eigvals(block)
        close(np.hypot(*found.eigenvalues.T), np.sort(np.abs(eigenvalues))[::-1], 1e-6)
        close(found.radius, np.abs(eigenvalues).max(), 1e-6)
    else:
        assert np.isnan(found.radius)


def test_activity_is_counted_by_hand() -> None:
    layer, x, report = single("lstm")
    (part,) = layer.parts()
    before, after = unrolled("lstm", layer, x)
    gates = {}
    for gate in "ifgo":
        joined = torch.cat([x, torch.stack([states[0] for states in before])], -1)
        raw = joined @ part.weights[f"weight_{gate}"].T + part.weights[f"bias_{gate}"]
        gates[gate] = (raw.tanh() if gate == "g" else raw.sigmoid()).detach().numpy()
    gates["h"], gates["c"] = (torch.stack([s[k] for s in after]).detach().numpy() for k in (0, 1))
    found = {one.name: one for one in report.layers[0].activity}
    assert set(found) == {*gates, "tanh(c)"}
    for name, values in gates.items():
        one = found[name]
        flat = values.reshape(-1, HIDDEN)
        close(one.mean, flat.mean(0))
        close(one.variance, flat.var(0))
        close(one.values, values.astype(np.float32))
        assert one.state == (name in "hc")
        if name in "ifo":
            close(one.low, (flat < 0.05).mean(0))
            close(one.high, (flat > 0.95).mean(0))
            close(one.slope, (flat * (1 - flat)).mean(0))
            assert one.steepest == 0.25
            assert one.slope.max() <= 0.25
        if name == "g":
            close(one.low, (flat < -0.95).mean(0))
            close(one.slope, (1 - flat**2).mean(0))
            assert one.steepest == 1.0
    assert found["o"].saturated == pytest.approx((found["o"].low + found["o"].high).mean())
    assert found["f"].saturated == pytest.approx(found["f"].low.mean())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lstm", {"i": "low", "f": "high"}),
        ("lstm_1997", {"i": "low"}),
        ("lstm_coupled", {"f": "high"}),
        ("gru", {"z": "high"}),
        ("gru_reset_before", {"u": "low"}),
        ("rnn", {}),
    ],
)
def test_the_ends_that_keep_the_state(name: str, wanted: dict[str, str]) -> None:
    report = elman.diagnose(Recurrent(name, 2, 3), torch.randn(4, 2, 2))
    ends = {one.name: one.keeps for one in report.layers[0].activity}
    assert {gate: end for gate, end in ends.items() if end} == wanted
