"""The drop-ins against torch.nn's own layers: values, gradients, state_dicts, errors, copies."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import elman.nn

T, B, IN, H = 3, 2, 3, 5
KINDS: dict[str, dict[str, Any]] = {
    "RNN tanh": {"nonlinearity": "tanh"},
    "RNN relu": {"nonlinearity": "relu"},
    "LSTM": {},
    "LSTM proj": {"proj_size": 2},
    "GRU": {},
}
# torch says once that oneDNN has no projections, for its own layer as for ours
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

# float32 sums of a few dozen terms agree to some 1e-6 of the largest; float64 is exact to rounding of another order.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    """(ours, torch's) with the same weights: both start from the same seed."""
    name, made = kind.split()[0], []
    for module in (elman.nn, torch.nn):
        torch.manual_seed(11)
        made.append(getattr(module, name)(IN, H, **KINDS[kind], **options))
    return made[0], made[1]


def assert_close(ours: Tensor, theirs: Tensor, what: object) -> None:
    """To the tolerance of the type, relative to the largest entry."""
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    ours, theirs = ours.detach(), theirs.detach()
    error, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
    assert error <= TOLERANCE[theirs.dtype] * largest, (what, error, largest)


def inputs_of(form: str, batch_first: bool, dtype: torch.dtype) -> Tensor:
    torch.manual_seed(12)
    if form == "single":
        return torch.randn(T, IN, dtype=dtype)
    return torch.randn((B, T, IN) if batch_first else (T, B, IN), dtype=dtype)


def call(layer: Any, form: str, x: Tensor, states: Any) -> tuple[list[Tensor], Any]:
    """([output, final states...], the output as it came)."""
    if form.startswith("packed"):
        lengths = [3, 1] if form == "packed sorted" else [1, 3]
        x = pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=form == "packed sorted")  # type: ignore
    output, final = layer(x, states)
    finals = list(final) if isinstance(final, tuple) else [final]
    return [output.data if isinstance(output, PackedSequence) else output, *finals], output


def states_for(layer: Any, form: str, dtype: torch.dtype) -> Any:
    torch.manual_seed(13)
    rows, batch = layer.num_layers * (1 + layer.bidirectional), () if form == "single" else (B,)
    sizes = [layer.proj_size or H] + [H] * (layer.mode == "LSTM")
    states = tuple(torch.randn(rows, *batch, size, dtype=dtype) for size in sizes)
    return states if layer.mode == "LSTM" else states[0]


def gradients(layer: Any, form: str, x: Tensor, states: Any) -> tuple[list[Tensor], list[Tensor], Any]:
    """(outputs, gradients of a random weighting of all of them with respect to input, states and parameters)."""
    leaves = [x, *(states if isinstance(states, tuple) else [] if states is None else [states])]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    outputs, raw = call(layer, form, x, states)
    torch.manual_seed(14)
    loss = sum(((o * torch.randn_like(o)).sum() for o in outputs), torch.zeros((), dtype=x.dtype))
    return outputs, list(torch.autograd.grad(loss, [*leaves, *layer.parameters()])), raw


def stacks() -> Iterator[dict[str, Any]]:
    for layers, both, bias, first in itertools.product((1, 2, 3), (False, True), (True, False), (False, True)):
        yield {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": first, "dropout": 0.0}


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no compiler: torch's own operations run."""
    monkeypatch.setattr(elman.nn.kernel, "refusal", lambda *_: "switched off for this test")
    assert "torch (" in elman.explain(elman.nn.LSTM(IN, H))


@pytest.mark.usefixtures("no_kernels")
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_torchs_without_kernels_too(kind: str) -> None:
    test_values_and_gradients_are_torchs(kind, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_torchs(kind: str, dtype: torch.dtype) -> None:
    """Every stack, form of input and start: outputs, final states and all gradients."""
    for options in stacks():
        ours, theirs = pair(kind, dtype=dtype, **options)
        for form, given in itertools.product(("batch", "single", "packed sorted", "packed any"), (False, True)):
            states = states_for(theirs, form, dtype) if given else None
            found = gradients(ours, form, inputs_of(form, options["batch_first"], dtype), copy.deepcopy(states))
            wanted = gradients(theirs, form, inputs_of(form, options["batch_first"], dtype), states)
            for a, b in zip([*found[0], *found[1]], [*wanted[0], *wanted[1]], strict=True):
                assert_close(a, b, (options, form, given))
            if isinstance(wanted[2], PackedSequence):
                for a, b in zip(found[2][1:], wanted[2][1:], strict=True):
                    assert (a is None and b is None) or torch.equal(a, b), (options, form)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_loads_both_ways(kind: str) -> None:
    for options in stacks():
        ours, theirs = pair(kind, **options)
        names = {name: weight.shape for name, weight in theirs.state_dict().items()}
        assert {name: weight.shape for name, weight in ours.state_dict().items()} == names
        for source, target in ((ours, theirs), (theirs, ours)):
            for weight in source.parameters():
                torch.nn.init.normal_(weight)
            target.load_state_dict(source.state_dict(), strict=True)
            x = inputs_of("batch", options["batch_first"], torch.float32)
            with torch.no_grad():
                assert_close(ours(x)[0], theirs(x)[0], options)


def test_a_new_drop_in_has_torchs_own_weights() -> None:
    for kind in KINDS:
        ours, theirs = pair(kind, num_layers=2, bidirectional=True)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_dropout_between_layers_draws_as_torchs() -> None:
    for kind in KINDS:
        ours, theirs = pair(kind, num_layers=3, dropout=0.5)
        results = []
        for layer in (ours, theirs):
            torch.manual_seed(15)
            results.append(layer(inputs_of("batch", False, torch.float32))[0])
        assert_close(*results, kind)
        ours.eval()
        x = inputs_of("batch", False, torch.float32)
        assert torch.equal(ours(x)[0], ours(x)[0])


def both_errors(ours: Any, theirs: Any) -> tuple[Exception, Exception]:
    found = []
    for attempt in (ours, theirs):
        with pytest.raises(Exception) as caught:
            attempt()
        found.append(caught.value)
    return found[0], found[1]


BAD_OPTIONS: list[dict[str, Any]] = [
    {"hidden_size": 0},
    {"input_size": -1},
    {"hidden_size": 2.5},
    {"num_layers": 0},
    {"dropout": 1.5},
    {"dropout": "much"},
    {"bias": 1},
    {"batch_first": 0},
    {"nonsense": 1},
    {"proj_size": 5},
    {"proj_size": -1},
    {"nonlinearity": "sine"},
]


def test_constructor_errors_are_torchs() -> None:
    for name, bad in itertools.product(("RNN", "LSTM", "GRU"), BAD_OPTIONS):
        if "nonlinearity" in bad and name != "RNN":
            continue
        options: dict[str, Any] = {"input_size": IN, "hidden_size": H, **bad}
        ours, theirs = both_errors(
            lambda: getattr(elman.nn, name)(**options),  # noqa: B023
            lambda: getattr(torch.nn, name)(**options),  # noqa: B023
        )
        assert (type(ours), str(ours)) == (type(theirs), str(theirs)), (name, bad)
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        elman.nn.LSTM(IN, H, dropout=0.5)


def test_call_errors_are_of_torchs_types() -> None:
    h = torch.zeros(1, B, H)
    x = torch.zeros(T, B, IN)
    calls: list[tuple[str, Any, Any]] = [
        ("GRU", torch.zeros(T), None),
        ("LSTM", torch.zeros(1, T, B, IN), None),
        ("GRU", torch.zeros(T, B, IN + 1), None),
        ("RNN", x.double(), None),
        ("GRU", x, torch.zeros(2, B, H)),
        ("GRU", x, torch.zeros(B, H)),
        ("GRU", x[:, 0], h),
        ("LSTM", x, (h, torch.zeros(1, B, H + 1))),
        ("LSTM", x, (h[0], h[0])),
        ("LSTM", x[:, 0], (h, h)),
    ]
    for name, given, states in calls:
        layers = [getattr(module, name)(IN, H) for module in (elman.nn, torch.nn)]
        ours, theirs = both_errors(lambda: layers[0](given, states), lambda: layers[1](given, states))  # noqa: B023
        assert type(ours) is type(theirs), (name, given.shape, ours, theirs)


def test_copies_and_pickles_are_independent_and_equal() -> None:
    x = inputs_of("batch", False, torch.float32)
    for kind in KINDS:
        layer, _ = pair(kind, num_layers=2, bidirectional=True)
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.copy(layer)):
            assert torch.equal(twin(x)[0], layer(x)[0])
        twin = copy.deepcopy(layer)
        before = layer(x)[0]
        with torch.no_grad():
            for weight in twin.parameters():
                weight.zero_()
        assert torch.equal(layer(x)[0], before)
        assert not torch.equal(twin(x)[0], before)


def test_it_is_a_torch_layer_for_code_that_asks() -> None:
    for kind in KINDS:
        ours, theirs = pair(kind)
        assert isinstance(ours, type(theirs))
        assert repr(ours) == repr(theirs)


def test_moving_and_replacing_weights_takes_effect() -> None:
    ours, theirs = pair("LSTM")
    for layer in (ours, theirs):
        layer.double()
        layer.weight_hh_l0 = torch.nn.Parameter(torch.eye(4 * H, H, dtype=torch.float64))
    x = inputs_of("batch", False, torch.float64)
    assert_close(ours(x)[0], theirs(x)[0], "replaced")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen = {name: weight.detach() * 2 for name, weight in ours.named_parameters()}
        doubled = torch.func.functional_call(ours, frozen, (x,))[0]
    assert_close(doubled, torch.func.functional_call(theirs, frozen, (x,))[0], "functional_call")
