"""`lengths=`: a ragged batch equals each sequence run alone, and padding takes no part."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.errors import DataError
from elman.nn import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

T, B, IN, H = 6, 5, 3, 4
LENGTHS = [3, 6, 0, 1, 3]
STACKS: list[tuple[Any, dict[str, Any]]] = [
    *((cell, {"direction": way}) for cell, way in itertools.product(("lstm", "gru", "rnn"), ("both", "backward"))),
    ("lstm_peephole", {"bidirectional": True}),
    ("gru_reset_before", {}),
    *((cell, {"direction": "both", "backend": "torch"}) for cell in ("lstm", "gru", "rnn")),
    *((cell, {"direction": "both", "backend": "reference"}) for cell in ("lstm_peephole", "gru")),
    ("lstm_projected", {"output_size": 2, "direction": "both", "backend": "torch"}),
    ("lstm_projected", {"output_size": 2, "direction": "both"}),
    ("jordan", {"output_size": 2, "direction": "backward"}),
    (["rnn_relu", "lstm_coupled"], {"direction": ["both", "backward"], "hidden_size": [4, 8], "residual": True}),
]


def layer_of(cell: Any, options: dict[str, Any], **more: Any) -> Recurrent:
    options = {"hidden_size": H, "num_layers": 2, "dtype": torch.float64, **options, **more}
    return Recurrent(cell, IN, **options)


def state_of(layer: Recurrent, batch: int) -> Any:
    return tuple(tuple(torch.randn_like(s) for s in part.zeros(batch)) for part in layer.parts())


def flat(state: Any) -> list[Tensor]:
    return [s for part in state for s in part]


def weighted(layer: Recurrent, x: Tensor, state: Any, weights: list[Tensor], **how: Any) -> tuple[list[Tensor], Tensor]:
    """([output, final states], their weighted sum)."""
    output, final = layer(x, state, **how)
    results = [output, *flat(final)]
    return results, sum(((r * w).sum() for r, w in zip(results, weights, strict=True)), torch.zeros(()).double())


@pytest.mark.parametrize(("cell", "options"), STACKS, ids=lambda v: str(v) if isinstance(v, (str, list)) else "")
def test_a_ragged_batch_is_each_sequence_alone(cell: Any, options: dict[str, Any]) -> None:
    """Values and gradients of inputs, states and weights; NaN in the padding reaches none of them."""
    layer = layer_of(cell, options)
    x = torch.randn(T, B, IN, dtype=torch.float64)
    for b, n in enumerate(LENGTHS):
        x[n:, b] = torch.nan
    x.requires_grad_()
    state = tuple(tuple(s.requires_grad_() for s in part) for part in state_of(layer, B))
    weights = [torch.randn(T, B, layer.output_size).double(), *(torch.randn_like(s) for s in flat(state))]
    together, loss = weighted(layer, x, state, weights, lengths=LENGTHS)
    leaves = [x, *flat(state), *layer.parameters()]
    found = torch.autograd.grad(loss, leaves)

    alone_loss = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(LENGTHS):
        own = tuple(tuple(s[b] for s in part) for part in state)
        shares = [weights[0][:n, b], *(w[b] for w in weights[1:])]
        alone, one = weighted(layer, x[:n, b], own, shares)
        alone_loss = alone_loss + one
        torch.testing.assert_close(together[0][:n, b], alone[0], rtol=1e-12, atol=1e-13)
        assert not together[0][n:, b].count_nonzero(), "beyond a length the output is zero"
        for mixed, single in zip(together[1:], alone[1:], strict=True):
            torch.testing.assert_close(mixed[b], single, rtol=1e-12, atol=1e-13)
    for a, b_ in zip(found, torch.autograd.grad(alone_loss, leaves), strict=True):
        torch.testing.assert_close(a, b_, rtol=1e-11, atol=1e-12)


def test_every_integer_type_and_container_is_taken() -> None:
    layer = layer_of("gru", {"bidirectional": True})
    x = torch.randn(T, B, IN, dtype=torch.float64)
    wanted = layer(x, lengths=LENGTHS)[0]
    kinds: list[Any] = [
        torch.tensor(LENGTHS, dtype=getattr(torch, d)) for d in ("uint8", "int8", "int16", "int32", "int64")
    ]
    kinds += [np.array(LENGTHS, dtype=d) for d in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", ">i8")]
    kinds += [tuple(LENGTHS), [np.int16(n) for n in LENGTHS], torch.tensor(LENGTHS, dtype=torch.uint16)]
    for lengths in kinds:
        assert torch.equal(layer(x, lengths=lengths)[0], wanted), lengths
    assert torch.equal(layer(x, lengths=[T] * B)[0], layer(x)[0])


@pytest.mark.parametrize(("cell", "backend"), [("lstm", "native"), ("lstm", "reference"), ("lstm_peephole", "native")])
def test_a_batch_without_a_step_gives_back_its_state(cell: str, backend: str) -> None:
    layer = layer_of(cell, {"bidirectional": True, "backend": backend})
    state = state_of(layer, B)
    for x, lengths in ((torch.full((T, B, IN), torch.nan).double(), [0] * B), (torch.zeros(0, B, IN).double(), None)):
        output, final, every = layer(x, state, lengths=lengths, every_state=True)
        assert output.shape == (len(x), B, 2 * H)
        assert not output.count_nonzero()
        assert [s.shape for s in flat(every)] == [(len(x), B, H)] * 8
        for came, went in zip(flat(state), flat(final), strict=True):
            assert torch.equal(came, went)


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole", "lstm/torch", "gru/torch", "lstm_peephole/reference"])
def test_the_smallest_sizes(cell: str) -> None:
    cell, _, backend = cell.partition("/")
    for steps, batch, units in itertools.product((0, 1, 2), (0, 1, 2), (1, 2)):
        layer = layer_of(cell, {"bidirectional": True, "hidden_size": units, "backend": backend or "native"})
        for lengths in (None, [steps] * batch, [min(b, steps) for b in range(batch)]):
            x = torch.randn(steps, batch, IN, dtype=torch.float64, requires_grad=True)
            output, final = layer(x, lengths=lengths)
            assert output.shape == (steps, batch, 2 * units)
            assert all(s.shape == (batch, units) for s in flat(final))
            if output.requires_grad:
                output.sum().backward()
                assert x.grad is not None
                assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ([1.0] * B, "whole numbers, not float64"),
        (torch.ones(B), "whole numbers, not float32"),
        (torch.ones(B, dtype=torch.bfloat16), "cannot be read"),
        ([True] * B, "whole numbers, not bool"),
        (["1"] * B, "whole numbers"),
        ([None] * B, "whole numbers, not object"),
        ([10**30, *[1] * (B - 1)], f"a length of {10**30} does not fit"),
        ([[1], [1, 2]], "cannot be read"),
        ([1] * (B - 1), "shape (5,), not (4,)"),
        (torch.ones(B, 1, dtype=torch.long), "shape (5,), not (5, 1)"),
        (3, "shape (5,), not ()"),
        ([1, 2, -1, 1, 1], "a length of -1"),
        ([1, 2, T + 1, 1, 1], "a length of 7 does not fit an input of 6 steps"),
        (torch.tensor([2**63 - 1] * B), "does not fit"),
        ({}, "whole numbers"),
    ],
    ids=lambda v: str(v)[:20] if isinstance(v, str) else "",
)
def test_bad_lengths_are_refused_in_one_sentence(lengths: Any, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        layer_of("gru", {})(torch.zeros(T, B, IN).double(), lengths=lengths)
    assert "\n" not in str(caught.value)
