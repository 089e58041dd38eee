"""Each step's share in a weight's gradient: the shares sum to what autograd gives, and stand at the right step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import CATALOGUE
from elman.errors import DataError
from elman.nn import Recurrent, step_gradients
from elman.nn.recurrent import State


def loss(output: Tensor, state: State) -> Tensor:
    weights = torch.linspace(0.5, 2.0, output.numel(), dtype=output.dtype).view_as(output)
    return (output.square() * weights).sum() + sum(s.sin().sum() for part in state for s in part)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]])
def test_the_shares_sum_to_the_gradient(name: str, lengths: Any) -> None:
    layer = Recurrent(name, 3, 4, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    shares = step_gradients(layer, x, loss, lengths=lengths)
    loss(*layer(x, lengths=lengths)).backward()
    for part, own in zip(layer.parts(), shares, strict=True):
        for weight, share in own.items():
            assert share.shape == (5, *part.weights[weight].shape)
            torch.testing.assert_close(share.sum(0), part.weights[weight].grad, rtol=1e-10, atol=1e-12)


def test_a_share_is_that_of_its_step() -> None:
    """The loss of step 2 alone: later steps contribute nothing, step 2 as if the state before it were given."""
    layer = Recurrent("rnn", 2, 3, dtype=torch.float64)
    x = torch.randn(4, 1, 2, dtype=torch.float64)
    own = step_gradients(layer, x, lambda output, state: output[2].sum())[0]["weight_h"]
    assert torch.equal(own[3], torch.zeros_like(own[3]))
    _, before = layer(x[:2])
    before = tuple(tuple(s.detach() for s in part) for part in before)
    layer(x[2:3], before)[0].sum().backward()
    (part,) = layer.parts()
    torch.testing.assert_close(own[2], part.weights["weight_h"].grad)
    assert own[0].abs().max() > 0


def test_beyond_a_length_nothing_contributes() -> None:
    layer = Recurrent("gru", 2, 3)
    x = torch.randn(6, 2, 2)
    x[4:] = torch.nan
    for share in step_gradients(layer, x, lambda output, state: output.sum(), lengths=[4, 2])[0].values():
        assert share[:4].isfinite().all()
        assert not share[4:].any()


@pytest.mark.parametrize(
    "loss", [lambda output, state: output, lambda output, state: None, lambda output, state: torch.zeros(())]
)
def test_a_loss_that_is_no_loss_is_one_sentence(loss: Any) -> None:
    with pytest.raises(DataError, match="one number computed from the output"):
        step_gradients(Recurrent("gru", 2, 3), torch.randn(4, 1, 2), loss)


def test_inputs_that_do_not_fit_are_one_sentence() -> None:
    layer = Recurrent("gru", 2, 3)
    with pytest.raises(DataError, match="no steps"):
        step_gradients(layer, torch.randn(0, 1, 2), lambda output, state: output.sum())
    with pytest.raises(DataError, match="the input is float64"):
        step_gradients(layer, torch.randn(4, 1, 2, dtype=torch.float64), lambda output, state: output.sum())
