"""The CRF against enumeration of all sequences, against its slow twin in logarithms, and against pytorch-crf."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.errors import DataError, OptionError
from elman.nn import CRF, chain, crf

NER = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def made(tags: int, allowed: Any = None, *, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> CRF:
    layer = CRF(tags, allowed).to(dtype)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(scale * torch.randn_like(weight))
    return layer


def score(layer: CRF, logits: Tensor, path: tuple[int, ...]) -> float:
    """Of one sequence's logits (T, V); −∞ where the path is not allowed."""
    total = float(layer.start[path[0]] + layer.end[path[-1]])
    total += sum(float(logits[t, tag]) for t, tag in enumerate(path))
    total += sum(float(layer.transitions[a, b]) for a, b in itertools.pairwise(path))
    rules = layer.allowed
    if rules is not None and not (rules[-1, path[0]] and all(rules[a, b] for a, b in itertools.pairwise(path))):
        return -math.inf
    return total


def enumerated(layer: CRF, logits: Tensor) -> list[tuple[float, tuple[int, ...]]]:
    """Every sequence that is allowed with its score, best first."""
    paths = itertools.product(range(layer.tags), repeat=len(logits))
    found = [(score(layer, logits, path), path) for path in paths]
    return sorted((one for one in found if one[0] > -math.inf), reverse=True)


def random_rules(tags: int) -> np.ndarray:
    rules = np.random.default_rng(tags).random((tags + 1, tags)) < 0.5
    rules[:, 0] = True
    return rules


CASES = [(tags, constrained) for tags in (1, 2, 3, 5) for constrained in (False, True)]


# -- against enumeration -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("tags", "constrained"), CASES)
def test_everything_equals_enumeration(tags: int, constrained: bool) -> None:
    layer = made(tags, random_rules(tags) if constrained else None).requires_grad_(False)
    lengths = [4, 0, 1, 3]
    logits = 2 * torch.randn(4, 4, tags, dtype=torch.float64)
    logits[1:, 2] = torch.nan  # beyond the end
    n = 7
    paths, scores = layer.viterbi(logits, lengths, n)
    marginals, log_z = layer.marginals(logits, lengths), layer.log_partition(logits, lengths)
    assert paths.shape == (n, 4, 4)
    assert marginals.shape == (4, 4, tags)
    for b, length in enumerate(lengths):
        assert (marginals[length:, b] == 0).all()
        if length == 0:
            assert log_z[b] == 0
            assert scores[:, b].tolist() == [0.0] + [-math.inf] * (n - 1)
            continue
        every = enumerated(layer, logits[:length, b])
        weights = np.exp([one for one, _ in every])
        assert log_z[b].item() == pytest.approx(math.log(weights.sum()), abs=1e-12)
        expected = np.zeros((length, tags))
        for weight, (_, path) in zip(weights, every):
            expected[np.arange(length), list(path)] += weight / weights.sum()
        assert np.allclose(marginals[:length, b], expected, atol=1e-12)
        best = every[:n]
        assert scores[: len(best), b].tolist() == pytest.approx([one for one, _ in best], abs=1e-12)
        assert (scores[len(best) :, b] == -math.inf).all()
        for found, (_, path) in zip(paths[:, :, b], best):
            assert tuple(found[:length].tolist()) == path
            assert (found[length:] == 0).all()


@pytest.mark.parametrize("tags", [1, 3])
def test_the_loss_equals_enumeration_and_its_gradient_numeric_differences(tags: int) -> None:
    layer = made(tags, random_rules(tags))  # the rules do not enter the loss
    lengths = [4, 0, 1, 3]
    logits = torch.randn(4, 4, tags, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, tags, (4, 4))
    expected = 0.0
    free = CRF(tags).double().requires_grad_(False)
    free.load_state_dict(layer.state_dict())
    for b, length in enumerate(lengths):
        if length:
            own = logits[:length, b].detach()
            expected += math.log(sum(math.exp(one) for one, _ in enumerated(free, own)))
            expected -= score(free, own, tuple(targets[:length, b].tolist()))
    for reduction, units in (("sum", 1), ("step", 8), ("sequence", 4)):
        assert layer(logits, targets, lengths, reduction=reduction).item() == pytest.approx(expected / units, rel=1e-12)

    def loss(logits: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(
            layer, dict(zip(("transitions", "start", "end"), weights)), (logits, targets, lengths)
        )

    assert torch.autograd.gradcheck(loss, (logits, layer.transitions, layer.start, layer.end))


def test_the_gradient_may_be_asked_for_twice_and_for_some_only() -> None:
    layer = made(3)
    logits, targets = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True), torch.randint(0, 3, (5, 2))
    loss = layer(logits, targets)
    one = torch.autograd.grad(loss, logits, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, logits, retain_graph=True)[0], one)
    layer.requires_grad_(False)
    assert torch.equal(torch.autograd.grad(layer(logits, targets), logits)[0], one)


# -- the fast path against its slow twin -------------------------------------------------------------------------------
def both(layer: CRF, logits: Tensor, targets: Tensor, lengths: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Loss and gradients: the scaled recursion in the layer's type, and logarithms in float64."""
    results = []
    for slow in (False, True):
        one = CRF(layer.tags).to(torch.float64 if slow else layer.transitions.dtype)
        one.load_state_dict(layer.state_dict())
        x = logits.to(one.transitions.dtype, copy=True).requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            if slow:
                patch.setattr(chain, "_stretch", lambda *_: 0)
            else:
                assert chain._stretch(*one.parameters()) > 0
            loss = one(x, targets, lengths, reduction="sum")
        results.append([loss.detach(), *torch.autograd.grad(loss, [x, *one.parameters()])])
    return results[0], results[1]


@pytest.mark.parametrize(
    ("steps", "batch", "tags"), [(1, 1, 1), (1, 3, 4), (2, 1, 2), (37, 5, 9), (64, 3, 1), (23, 7, 31)]
)
def test_probabilities_give_what_logarithms_give(steps: int, batch: int, tags: int) -> None:
    layer = made(tags, dtype=torch.float32)
    logits, targets = 3 * torch.randn(steps, batch, tags), torch.randint(0, tags, (steps, batch))
    lengths = torch.randint(0, steps + 1, (batch,))
    for fast, slow in zip(*both(layer, logits, targets, lengths)):
        assert torch.allclose(fast.double(), slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [0.1, 5.0, 15.0, 30.0])
@pytest.mark.parametrize("size", [1.0, 100.0, 1e6])
def test_no_overflow_and_no_loss_whatever_the_logits(spread: float, size: float) -> None:
    """A thousand steps in float32, with logits of one sign or another: the loss is right to float32's own rounding of
    the numbers it sums (a share of 1e-6 of them), the marginals to 1e-4, which long recursions round off at most."""
    steps, batch, tags = 1000, 3, 5
    layer = CRF(tags)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.uniform_(-spread / 2, spread / 2)
        layer.transitions[0, :2] = torch.tensor([-spread / 2, spread / 2])
    logits = torch.empty(steps, batch, tags).uniform_(-1, 1)
    logits[:, 1] = logits[:, 1].sign()
    logits *= size
    targets = logits.argmax(2)  # a likely sequence: its loss is small beside log Z
    fast, slow = both(layer, logits, targets, None)
    assert abs(fast[0].item() - slow[0].item()) < 1e-6 * (slow[0].item() + steps * batch * spread) + 1e-3
    assert torch.allclose(fast[1].double(), slow[1], atol=1e-4)
    for one, two in zip(fast[2:], slow[2:]):
        assert torch.allclose(one.double(), two, atol=1e-4 * steps)


def test_large_transitions_take_logarithms() -> None:
    layer = made(4, scale=100.0, dtype=torch.float32)
    assert chain._stretch(*layer.parameters()) == 0
    logits, targets = 100 * torch.randn(50, 2, 4), torch.randint(0, 4, (50, 2))
    precise = CRF(4).double()
    precise.load_state_dict(layer.state_dict())
    assert layer(logits, targets).item() == pytest.approx(precise(logits.double(), targets).item(), rel=1e-5)
    with torch.no_grad():
        layer.end[1] = torch.nan
    assert layer(logits, targets).isnan()


def test_padding_may_hold_anything() -> None:
    layer = made(3)
    logits, targets = torch.randn(4, 2, 3, dtype=torch.float64), torch.randint(0, 3, (4, 2))
    clean = layer(logits[:2], targets[:2])
    logits[2:], targets[2:] = torch.inf, 77
    logits.requires_grad_()
    loss = layer(logits, targets, [2, 2])
    assert torch.equal(loss, clean)
    loss.backward()
    assert (logits.grad[2:] == 0).all()
    assert logits.grad[:2].isfinite().all()


# -- against pytorch-crf -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("steps", "batch", "tags"), [(2, 1, 2), (13, 4, 7)])
def test_loss_gradients_and_best_sequences_are_those_of_pytorch_crf(steps: int, batch: int, tags: int) -> None:
    other = pytest.importorskip("torchcrf").CRF(tags).double()
    layer = CRF(tags).double()
    names = {"transitions": "transitions", "start": "start_transitions", "end": "end_transitions"}
    layer.load_state_dict({own: other.state_dict()[theirs] for own, theirs in names.items()})
    logits = torch.randn(steps, batch, tags, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, tags, (steps, batch))
    lengths = torch.randint(1, steps + 1, (batch,))  # pytorch-crf takes no empty sequence
    lengths[0] = steps
    mask = torch.arange(steps)[:, None] < lengths
    losses = layer(logits, targets, lengths), -other(logits, targets, mask, reduction="token_mean")
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    grads = [
        torch.autograd.grad(loss, [logits, *(getattr(one, n) for n in wanted)])
        for loss, one, wanted in zip(losses, (layer, other), (names, names.values()))
    ]
    for own, theirs in zip(*grads):
        assert torch.allclose(own, theirs, atol=1e-13)
    paths, _ = layer.viterbi(logits, lengths)
    assert [paths[0, :n, b].tolist() for b, n in enumerate(lengths)] == other.decode(logits, mask)


# -- rules and mistakes ------------------------------------------------------------------------------------------------
def test_bio_rules_by_hand() -> None:
    rules = crf.bio(NER)
    for a, before in enumerate([*NER, "the start"]):
        for b, after in enumerate(NER):
            wrong = after.startswith("I-") and before not in (f"B-{after[2:]}", after)
            assert rules[a, b] == (not wrong), (before, after)
    assert crf.bio(["I-X", "B-X"]).tolist() == [[True, True], [True, True], [False, True]]


def test_constrained_sequences_are_sound_even_where_the_logits_are_not() -> None:
    layer = made(5, crf.bio(NER), dtype=torch.float32)
    logits = 100 * torch.randn(20, 6, 5)
    logits[0, :, 2] = 1e4  # I-PER at the start
    paths, scores = layer.viterbi(logits, n=3)
    assert scores.isfinite().all()
    for path in paths.permute(0, 2, 1).reshape(-1, 20).tolist():
        assert all(layer.allowed[a, b] for a, b in itertools.pairwise([5, *path]))
    assert (layer.marginals(logits)[0, :, 2] == 0).all()
    assert torch.allclose(layer.marginals(logits).sum(2), torch.ones(20, 6, dtype=torch.float64))


def test_a_new_layer_is_a_softmax() -> None:
    logits, targets = torch.randn(6, 3, 4), torch.randint(0, 4, (6, 3))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert CRF(4)(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(CRF(4).viterbi(logits)[0][0], logits.argmax(2))


def test_nothing_at_all() -> None:
    layer = CRF(3)
    for steps, batch in ((0, 2), (3, 0), (0, 0)):
        logits, targets = torch.randn(steps, batch, 3, requires_grad=True), torch.zeros(steps, batch, dtype=torch.long)
        loss = layer(logits, targets)
        loss.backward()
        assert loss.item() == 0
        assert layer.log_partition(logits).shape == (batch,)
        assert layer.marginals(logits).shape == (steps, batch, 3)
        paths, scores = layer.viterbi(logits, n=2)
        assert paths.shape == (2, steps, batch)
        assert scores.shape == (2, batch)
    assert layer(torch.randn(2, 2, 3), torch.zeros(2, 2, dtype=torch.long), [0, 0]).item() == 0


def test_mistakes_are_named() -> None:
    layer, logits, targets = CRF(3), torch.randn(2, 1, 3), torch.zeros(2, 1, dtype=torch.long)
    for tags in (0, -1, 2.0, None):
        with pytest.raises(OptionError, match="a whole number of tags"):
            CRF(tags)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"booleans of shape \(4, 3\)"):
        CRF(3, np.ones((3, 3), bool))
    with pytest.raises(OptionError, match="nothing may follow"):
        CRF(3, np.zeros((4, 3), bool))
    with pytest.raises(DataError, match=r"the shape \(T, B, 3\), not \(2, 3\)"):
        layer.marginals(logits[:, 0])
    with pytest.raises(DataError, match="the targets must have the shape"):
        layer(logits, targets[:1])
    with pytest.raises(DataError, match="a length of 3 does not fit"):
        layer(logits, targets, [3])
    with pytest.raises(OptionError, match="unknown reduction"):
        layer(logits, targets, reduction="mean")
    with pytest.raises(OptionError, match="1 or more, not 0"):
        layer.viterbi(logits, n=0)
