"""Teacher forcing in parallel over time against the same steps one after the other, float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import TracedCell, cell, tanh
from elman.errors import DataError, OptionError
from elman.nn import Recurrent, teacher_forced


@cell(source="made for this test")
def leaky(x: Any, y: Any, W: Any) -> Any:
    """The output fed back twice: through the hidden units and straight."""
    h = tanh(W.h(x, y))
    y = W.y(h) + W.keep * y
    return y  # noqa: RET504


def layer_of(kind: Any, inputs: int = 3, hidden: int = 7, outputs: int = 5, **options: Any) -> Recurrent:
    own = {} if kind in ("rnn", "gru") else {"output_size": outputs}
    return Recurrent(kind, inputs, outputs if kind in ("rnn", "gru") else hidden, dtype=torch.float64, **own, **options)


def one_after_the_other(layer: Recurrent, x: Tensor, targets: Tensor, first: Tensor) -> Tensor:
    """The definition: each step is told what the one before should have been."""
    outputs, before = [], first
    for now, target in zip(x, targets):
        outputs.append(layer(now[None], ((before,),))[0][0])
        before = target
    return torch.stack(outputs)


@pytest.mark.parametrize("kind", ["jordan", "rnn", "gru", leaky])
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 4), (13, 1), (11, 3)])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_outputs_and_gradients_are_those_of_the_sequence(kind: Any, steps: int, batch: int, backend: str) -> None:
    layer = layer_of(kind, backend=backend)
    x = torch.randn(steps, batch, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(steps, batch, 5, dtype=torch.float64, requires_grad=True)
    first = torch.randn(batch, 5, dtype=torch.float64, requires_grad=True)
    found = teacher_forced(layer, x, targets, first=first)
    expected = one_after_the_other(layer, x, targets, first)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    wanted = [*layer.parameters(), x, targets, first]
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), wanted, allow_unused=True)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted, allow_unused=True)
    for a, b, name in zip(ours, theirs, [*(n for n, _ in layer.named_parameters()), "x", "targets", "first"]):
        if b is None:  # one step: its target is told to nobody
            assert a is None or not a.any(), name
        else:
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13, msg=name)


def test_zeros_come_first_and_the_last_target_is_told_to_nobody() -> None:
    layer = layer_of("jordan")
    x, targets = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(6, 2, 5, dtype=torch.float64)
    found = teacher_forced(layer, x, targets)
    assert torch.equal(found[:1], layer(x[:1])[0])
    changed = targets.clone()
    changed[-1] = torch.nan
    assert torch.equal(teacher_forced(layer, x, changed), found)


def test_with_its_own_outputs_told_it_runs_as_it_does_freely() -> None:
    layer = layer_of("jordan")
    x = torch.randn(9, 4, 3, dtype=torch.float64)
    free, _ = layer(x)
    torch.testing.assert_close(teacher_forced(layer, x, free), free, rtol=1e-12, atol=1e-14)
    first = layer_of("jordan", batch_first=True)
    first.load_state_dict(layer.state_dict())
    found = teacher_forced(first, x.transpose(0, 1), free.transpose(0, 1))
    torch.testing.assert_close(found, free.transpose(0, 1), rtol=1e-12, atol=1e-14)


def test_padding_may_hold_anything() -> None:
    layer, lengths = layer_of("jordan"), [7, 0, 3]
    x = torch.randn(7, 3, 3, dtype=torch.float64)
    targets = torch.randn(7, 3, 5, dtype=torch.float64)
    for column, length in enumerate(lengths):
        x[length:, column] = torch.nan
        targets[length:, column] = torch.inf
    found = teacher_forced(layer, x, targets, lengths=lengths)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    for column, length in enumerate(lengths):
        assert not found[length:, column].any()
        if length:
            alone = teacher_forced(layer, x[:length, column, None], targets[:length, column, None])
            torch.testing.assert_close(found[:length, column], alone[:, 0], rtol=1e-12, atol=1e-14)


def test_no_steps_and_no_sequences() -> None:
    layer = layer_of("jordan")
    for steps, batch in ((0, 3), (4, 0)):
        x, targets = torch.zeros(steps, batch, 3).double(), torch.zeros(steps, batch, 5).double()
        assert teacher_forced(layer, x, targets).shape == (steps, batch, 5)


def test_a_jordan_network_learns_by_it_what_it_then_says_freely() -> None:
    """A digit a step, round and round: what comes next depends on what was said last, and on nothing else."""
    torch.manual_seed(3)
    targets = torch.eye(5, dtype=torch.float64)[torch.arange(40) % 5][:, None]
    x = torch.zeros(40, 1, 3, dtype=torch.float64)
    layer = layer_of("jordan", hidden=12)
    adam = torch.optim.Adam(layer.parameters(), 0.02)
    for _ in range(300):
        loss = (teacher_forced(layer, x, targets) - targets).square().mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    free, _ = layer(x)
    assert (free.argmax(-1) == targets.argmax(-1)).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cell": "lstm"}, "cell 'lstm' also has the states c, which nothing tells"),
        ({"cell": "rnn_output"}, "'rnn_output' also has the states h"),
        ({"num_layers": 2}, "one forward direction, not 2"),
        ({"bidirectional": True}, "one forward direction, not 2"),
        ({"direction": "backward"}, "or a backward one"),
        ({"residual": True}, "without residual"),
        ({"recurrent_dropout": 0.5}, "regularisers draw masks"),
    ],
)
def test_layers_that_cannot_be_forced(options: dict[str, Any], said: str) -> None:
    layer = Recurrent(**{"cell": "jordan", "input_size": 4, "hidden_size": 4, **options})
    with pytest.raises(OptionError, match=said):
        teacher_forced(layer, torch.zeros(3, 2, 4), torch.zeros(3, 2, 4))


def test_shapes_that_do_not_fit() -> None:
    layer = layer_of("jordan")
    x, targets = torch.zeros(4, 2, 3).double(), torch.zeros(4, 2, 5).double()
    with pytest.raises(DataError, match=r"targets have the shape \(4, 2, 3\), expected \(4, 2, 5\)"):
        teacher_forced(layer, x, x)
    with pytest.raises(DataError, match="first output has the shape"):
        teacher_forced(layer, x, targets, first=targets)
    with pytest.raises(DataError, match="takes a batch"):
        teacher_forced(layer, x[:, 0], targets[:, 0])
    traced = Recurrent(TracedCell(next(iter(layer.parts())).program), 3, 7, output_size=5, dtype=torch.float64)
    assert teacher_forced(traced, x, targets).shape == (4, 2, 5)  # also a cell from a model file
