"""Initialisers: what a new layer has, and what each of them leaves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import elman.nn
from elman import cells
from elman.cells import cell, normalize, tanh
from elman.errors import OptionError
from elman.nn import Recurrent, init

IN, H = 7, 6


def state_columns(layer: Recurrent) -> list[tuple[str, Tensor]]:
    """(name, the columns that multiply a state) of every map of cells whose maps take (x, h)."""
    return [(name, weight[:, IN:]) for name, weight in layer.named_parameters() if "weight_" in name]


def test_a_new_lstm_has_orthogonal_recurrent_matrices_and_forget_bias_1() -> None:
    layer = Recurrent("lstm", IN, H, bidirectional=True)
    assert len(state_columns(layer)) == 8
    for name, block in state_columns(layer):
        torch.testing.assert_close(block @ block.T, torch.eye(H), rtol=0, atol=1e-5, msg=name)
    bound = math.sqrt(6 / (IN + H))
    for name, weight in layer.named_parameters():
        if "bias" in name:
            assert torch.equal(weight, torch.full((H,), 1.0 if name.endswith("bias_f") else 0.0)), name
        else:
            largest = float(weight[:, :IN].detach().abs().max())
            assert 0.7 * bound < largest <= bound, name
    assert not torch.equal(layer.layers[0].forward_weight_i, layer.layers[0].backward_weight_i)


def test_projections_and_jordan_have_orthogonal_rows_or_columns() -> None:
    layer = Recurrent("lstm_projected", IN, H, output_size=2)
    for name, weight in layer.named_parameters():
        if name.endswith("weight_r"):
            torch.testing.assert_close(weight @ weight.T, torch.eye(2), rtol=0, atol=1e-5)
        elif "weight" in name:
            torch.testing.assert_close(weight[:, IN:].T @ weight[:, IN:], torch.eye(2), rtol=0, atol=1e-5)


def test_per_unit_parameters_start_at_zero_but_scales_at_one() -> None:
    @cell
    def normed(x: Any, h: Any, W: Any) -> Any:
        return tanh(W.scale * normalize(W.h(x, h)) + W.shift + W.peep * h)

    weights = dict(Recurrent(normed, IN, H).named_parameters())
    of = {name.rpartition("_")[2]: weight for name, weight in weights.items() if weight.dim() == 1}
    assert {name: weight.unique().tolist() for name, weight in of.items()} == {
        "scale": [1.0], "shift": [0.0], "peep": [0.0], "h": [0.0],
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        layer = Recurrent("gru", IN, H, 2)
        init.chrono_(layer, 50)
        made.append(torch.cat([w.flatten() for w in layer.parameters()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    layer.reset_parameters()
    assert not torch.equal(made[2], torch.cat([w.flatten() for w in layer.parameters()]))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_drop_ins_keep_torchs_own(kind: str) -> None:
    made = []
    for module in (elman.nn, torch.nn):
        torch.manual_seed(7)
        made.append(getattr(module, kind)(IN, H, 2))
    for ours, theirs in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_orthogonal_has_its_gain() -> None:
    layer = Recurrent("gru_reset_before", IN, H)
    init.orthogonal_(layer, 0.5)
    for _, block in state_columns(layer):
        torch.testing.assert_close(block.T @ block, 0.25 * torch.eye(H), rtol=0, atol=1e-5)


def test_identity_is_the_irnn() -> None:
    layer = Recurrent("rnn_relu", IN, H, 2)
    init.identity_(layer, 0.9)
    assert torch.equal(layer.layers[0].forward_weight_h[:, IN:], 0.9 * torch.eye(H))
    assert torch.equal(layer.layers[1].forward_weight_h[:, H:], 0.9 * torch.eye(H))


def test_forget_bias_touches_nothing_else() -> None:
    layer = Recurrent("lstm_coupled", IN, H)
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters()}
    init.forget_bias_(layer, 2.5)
    for name, weight in layer.named_parameters():
        assert torch.equal(weight, torch.full((H,), 2.5) if name.endswith("bias_f") else before[name])


@pytest.mark.parametrize(
    ("name", "keep", "let_in"),
    [("lstm", "f", "i"), ("gru", "z", None), ("gru_simplified", None, "u"), ("lstm_1997", None, "i")],
)
def test_chrono_spreads_memories_over_1_to_t_max(name: str, keep: str | None, let_in: str | None) -> None:
    """Biases within ±log(t_max − 1); opposite for the two gates of one unit; spread over the range."""
    layer, t_max = Recurrent(name, IN, 400), 101
    init.chrono_(layer, t_max, torch.Generator().manual_seed(1))
    weights = {key.removeprefix("forward_"): w.detach() for key, w in layer.layers[0].named_parameters()}
    spans = [weights[f"bias_{gate}"] * sign for gate, sign in ((keep, 1), (let_in, -1)) if gate]
    for memory in (span.exp() for span in spans):
        assert 1 <= float(memory.min()) < 5
        assert 95 < float(memory.max()) <= t_max - 1
        assert 45 < float(memory.mean()) < 56
    assert len(spans) == 1 or torch.equal(spans[0], spans[1])
    with pytest.raises(OptionError, match="longest memory of 3 steps or more, not 2"):
        init.chrono_(layer, 2)
    with pytest.raises(OptionError, match="no gate of memory in rnn: those are called f, z, i, u"):
        init.chrono_(Recurrent("rnn", 3, 4), 20)


def test_only_our_layers_are_taken() -> None:
    for initialiser in (init.default_, init.orthogonal_, init.identity_, init.forget_bias_):
        with pytest.raises(OptionError, match=r"take an elman\.nn\.Recurrent, not LSTM"):
            initialiser(torch.nn.LSTM(IN, H))


def test_every_cell_has_finite_weights_that_train() -> None:
    """No unit starts closed for good: each weight of every cell has a gradient, at the start or after a step."""
    for name in cells.CATALOGUE:
        layer = Recurrent(name, IN, H)
        x = torch.randn(5, 3, IN)
        for _ in range(2):
            layer.zero_grad()
            layer(x)[0].square().sum().backward()
            for weight in layer.parameters():
                assert weight.grad is not None
                assert weight.grad.isfinite().all()
                weight.data.sub_(weight.grad, alpha=0.01)
        assert all(w.grad is not None and w.grad.count_nonzero() for w in layer.parameters()), name
