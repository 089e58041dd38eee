"""Regularisers of layers: against loops written by hand, their gradients, ragged batches, directions, transforms."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.compiler import masks
from elman.errors import OptionError
from elman.nn import Recurrent, explain, noise, step_gradients
from elman.nn.noise import Noise

T, B, IN, H = 5, 3, 3, 7
ALL: dict[str, Any] = {"input_dropout": 0.2, "recurrent_dropout": 0.3, "zoneout": 0.25, "weight_dropout": 0.4}
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {"zoneout": {"c": 0.5, "h": 0.1}}),
    ("gru", {}),
    ("gru_reset_before", {}),
    ("lstm_projected", {"output_size": 2}),
    ("rhn", {}),
    ("lstm_layer_norm", {}),
]
every_cell = pytest.mark.parametrize(("cell", "options"), CELLS, ids=[name for name, _ in CELLS])


def layer_of(cell: Any, **options: Any) -> Recurrent:
    return Recurrent(cell, IN, H, **{"dtype": torch.float64, "backend": "reference", **options})


def input_of(steps: int = T, batch: int = B) -> Tensor:
    return torch.randn(steps, batch, IN, dtype=torch.float64, requires_grad=True)


def seeded(layer: Recurrent, x: Tensor, *args: Any, seed: int = 3, **how: Any) -> Any:
    torch.manual_seed(seed)
    return layer(x, *args, **how)


def part_seed(seed: int, part: int = 0) -> int:
    """What a layer makes of torch's next number after `torch.manual_seed(seed)`."""
    torch.manual_seed(seed)
    return int(Noise.draw(1, torch.device("cpu")).part(part).seed)


def keep(name: str, rate: float, seed: int, units: int, steps: int | None = None) -> Tensor:
    """(B, units), or (T, B, units)."""
    times = None if steps is None else torch.arange(steps)[:, None]
    return masks.kept(masks.number(name), rate, seed, torch.arange(B), torch.arange(units), times).double()


def flat(state: Any) -> list[Tensor]:
    return [s for part in state for s in part]


# -- against loops written by hand -------------------------------------------------------------------------------------
@pytest.mark.parametrize("backward", [False, True])
def test_zoneout_of_an_lstm(backward: bool) -> None:
    """Krueger et al. 2017, equation by equation; a backward direction has the masks of its own steps in time."""
    layer, x = (
        layer_of("lstm", zoneout={"h": 0.1, "c": 0.5}, direction="backward" if backward else "forward"),
        input_of(),
    )
    (part,) = layer.parts()
    output, ((last, memory),) = seeded(layer, x)
    own = part_seed(3)
    keep_h, keep_c = keep("zoneout_h", 0.1, own, H, T), keep("zoneout_c", 0.5, own, H, T)
    assert 0 < keep_c.sum() < keep_c.numel()
    h = c = torch.zeros(B, H, dtype=torch.float64)
    for t in reversed(range(T)) if backward else range(T):
        i, f, g, o = (
            torch.cat([x[t], h], 1) @ part.weights[f"weight_{n}"].T + part.weights[f"bias_{n}"] for n in "ifgo"
        )
        computed = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = keep_h[t] * o.sigmoid() * computed.tanh() + (1 - keep_h[t]) * h
        c = keep_c[t] * computed + (1 - keep_c[t]) * c
        torch.testing.assert_close(output[t], h, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close((last, memory), (h, c), rtol=1e-12, atol=1e-13)


def test_variational_dropout_of_a_gru_and_weight_drop() -> None:
    """Gal & Ghahramani 2016 (tied weights), the carry (1 − u)∘h whole; the reset gate's product is masked inside."""
    layer, x = layer_of("gru_reset_before", **{**ALL, "zoneout": 0.0}), input_of()
    (part,) = layer.parts()
    output, _ = seeded(layer, x)
    own = part_seed(3)
    of_input, of_state = keep("input", 0.2, own, IN) / 0.8, keep("recurrent_h", 0.3, own, H) / 0.7
    weights = {}
    for name in "run":
        rows, columns = torch.arange(H), torch.arange(IN, IN + H)
        kept = masks.kept(masks.number(f"weight_{name}"), 0.4, own, rows, columns).double() / 0.6
        weight = part.weights[f"weight_{name}"]
        weights[name] = torch.cat([weight[:, :IN], weight[:, IN:] * kept], 1)
    h = torch.zeros(B, H, dtype=torch.float64)
    for t in range(T):

        def affine(name: str, state: Tensor, t: int = t) -> Tensor:
            return torch.cat([x[t] * of_input, state * of_state], 1) @ weights[name].T + part.weights[f"bias_{name}"]

        r, u = affine("r", h).sigmoid(), affine("u", h).sigmoid()
        h = u * affine("n", r * h).tanh() + (1 - u) * h
        torch.testing.assert_close(output[t], h, rtol=1e-12, atol=1e-13)


def test_evaluation_has_no_masks() -> None:
    """Dropout leaves the plain layer, zoneout its mean; neither draws a number."""
    x = input_of()
    plain, dropped = layer_of("lstm"), layer_of("lstm", **{**ALL, "zoneout": 0.0}).eval()
    zoned = layer_of("lstm", zoneout={"c": 0.25}).eval()
    for layer in (dropped, zoned):
        layer.load_state_dict(plain.state_dict())
    torch.manual_seed(8)
    before = torch.get_rng_state()
    assert torch.equal(dropped(x)[0], plain(x)[0])
    output, _ = zoned(x)
    assert torch.equal(torch.get_rng_state(), before)
    (part,) = plain.parts()
    h = c = torch.zeros(B, H, dtype=torch.float64)
    for t in range(T):
        i, f, g, o = (
            torch.cat([x[t], h], 1) @ part.weights[f"weight_{n}"].T + part.weights[f"bias_{n}"] for n in "ifgo"
        )
        computed = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h, c = o.sigmoid() * computed.tanh(), 0.25 * c + 0.75 * computed
        torch.testing.assert_close(output[t], h, rtol=1e-12, atol=1e-13)
    for name, inner in {"dropped": dropped, "zoned": zoned}.items():
        shares = step_gradients(inner, x, lambda output, state: output.square().sum())[0]
        found = torch.autograd.grad(inner(x)[0].square().sum(), list(inner.parameters()))
        for (weight, _), gradient in zip(inner.named_parameters(), found, strict=True):
            share = shares[weight.removeprefix("layers.0.forward_")].sum(0)
            torch.testing.assert_close(share, gradient, rtol=1e-10, atol=1e-12, msg=name)


# -- seeds -------------------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_numbers() -> None:
    layer, x = layer_of("lstm", num_layers=2, bidirectional=True, **ALL), input_of()
    first, _ = seeded(layer, x)
    assert torch.equal(seeded(layer, x)[0], first)
    assert not torch.equal(layer(x)[0], first), "the next call draws anew"
    torch.manual_seed(3)
    torch.randint(10, ())
    assert not torch.equal(layer(x)[0], first)


@pytest.mark.parametrize("option", ALL)
def test_every_regulariser_does_something_and_layers_differ(option: str) -> None:
    """Two layers and directions with the same weights and inputs have masks of their own."""
    layer, x = layer_of("rnn", bidirectional=True, **{option: 0.5}), input_of(1)
    for weight in layer.parameters():
        torch.nn.init.constant_(weight, 0.3)
    state = tuple((torch.ones(B, H, dtype=torch.float64),) for _ in range(2))
    output, _ = seeded(layer, x, state)
    forward, backward = output.chunk(2, -1)
    assert not torch.equal(forward, backward)
    layer.eval()
    assert not torch.equal(seeded(layer, x, state)[0], output)


def test_without_regularisers_nothing_is_drawn() -> None:
    layer, x = layer_of("lstm", zoneout={"h": 0.0}), input_of()
    torch.manual_seed(8)
    before = torch.get_rng_state()
    layer(x)
    assert torch.equal(torch.get_rng_state(), before)


# -- gradients ---------------------------------------------------------------------------------------------------------
@every_cell
def test_gradients_by_differences(cell: str, options: dict[str, Any]) -> None:
    layer = layer_of(cell, bidirectional=True, **{**ALL, **options})
    x, names = input_of(3, 2), [name for name, _ in layer.named_parameters()]
    weights = [weight.detach().clone().requires_grad_() for weight in layer.parameters()]

    def call(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        output, state = torch.func.functional_call(layer, dict(zip(names, weights)), (x,), {"lengths": [3, 1]})
        return output, *flat(state)

    assert torch.autograd.gradcheck(call, (x, *weights), fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "rhn"])
def test_second_derivatives(cell: str) -> None:
    """The double backward has the masks of the forward pass."""
    layer, x = layer_of(cell, **ALL), input_of(2, 2)

    def call(x: Tensor) -> Tensor:
        return seeded(layer, x)[0]  # type: ignore[no-any-return]

    assert torch.autograd.gradgradcheck(call, (x,), atol=1e-6)
    weights = list(layer.parameters())
    found = []
    for plain in (False, True):
        (grad_x,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        if plain:  # the reference's other way: autograd through every operation
            grad_x = torch.func.grad(lambda x: call(x).square().sum())(x)
        found.append(torch.autograd.grad(grad_x.square().sum(), weights))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@every_cell
def test_masks_are_made_in_blocks(cell: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However few steps are made at once, values and gradients are the same numbers."""
    layer, x = layer_of(cell, **{**ALL, **options}), input_of()
    results = []
    for size in (1 << 18, 3 * B * H, 1):
        monkeypatch.setattr(noise, "_BLOCK", size)
        output, _ = seeded(layer, x)
        results.append([output, *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])])
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


# -- ragged batches ----------------------------------------------------------------------------------------------------
@every_cell
def test_a_ragged_batch_has_the_masks_of_its_sequences(cell: str, options: dict[str, Any]) -> None:
    """Row b of a ragged batch is row b of a whole one as long as it, in both directions and layers; NaN stays out."""
    layer = layer_of(cell, num_layers=2, direction=["both", "backward"], **{**ALL, **options})
    lengths, x = [3, 5, 0, 1, 3], input_of(5, 5).detach()
    for b, n in enumerate(lengths):
        x[n:, b] = torch.nan
    x.requires_grad_()
    output, state = seeded(layer, x, lengths=lengths)
    shares = torch.randn_like(output)
    found = torch.autograd.grad((output * shares).sum(), [x, *layer.parameters()])
    total = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(lengths):
        whole, last = seeded(layer, x[:n].nan_to_num())
        torch.testing.assert_close(output[:n, b], whole[:, b], rtol=1e-12, atol=1e-13)
        assert not output[n:, b].count_nonzero()
        for ours, theirs in zip(flat(state), flat(last), strict=True):
            torch.testing.assert_close(ours[b], theirs[b], rtol=1e-12, atol=1e-13)
        total = total + (whole[:, b] * shares[:n, b]).sum()
    for ours, theirs in zip(found, torch.autograd.grad(total, [x, *layer.parameters()]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_the_smallest_sizes(steps: int, batch: int) -> None:
    layer = Recurrent("gru", IN, 1, bidirectional=True, dtype=torch.float64, **ALL)
    x = input_of(steps, batch)
    for lengths in (None, [steps] * batch, [min(b, steps) for b in range(batch)]):
        output, state = layer(x, lengths=lengths)
        assert output.shape == (steps, batch, 2)
        assert all(s.shape == (batch, 1) for s in flat(state))
    single, _ = seeded(layer, input_of(2, 1)[:, 0])
    assert single.shape == (2, 2)


# -- transforms, copies, words -----------------------------------------------------------------------------------------
def test_it_compiles_and_maps() -> None:
    layer, x = layer_of("lstm", num_layers=2, bidirectional=True, **ALL), input_of(2)
    wanted, _ = seeded(layer, x)
    compiled = torch.compile(lambda x: layer(x)[0], fullgraph=True, backend="eager")
    torch.manual_seed(3)
    assert torch.equal(compiled(x), wanted)
    copies = x.detach().expand(2, *x.shape)
    same = torch.func.vmap(lambda x: layer(x)[0], randomness="same")(copies)
    other = torch.func.vmap(lambda x: layer(x)[0], randomness="different")(copies)
    torch.testing.assert_close(same[0], same[1], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(other[0], other[1])
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda x: layer(x)[0])(copies)


def test_other_types() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        layer = Recurrent("gru", IN, H, dtype=dtype, **ALL)
        output, _ = layer(torch.randn(T, B, IN, dtype=dtype))
        assert output.dtype == dtype
        output.float().sum().backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())


def test_copies_and_words() -> None:
    layer, x = layer_of("lstm", zoneout={"c": 0.5}, weight_dropout=0.25), input_of()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(seeded(twin, x)[0], seeded(layer, x)[0])
        assert torch.equal(twin.eval()(x)[0], copy.deepcopy(layer).eval()(x)[0])
    assert "zoneout={'c': 0.5}, weight_dropout=0.25" in repr(layer)
    assert "lstm_zoneout" in explain(layer)
    assert "lstm_zoneout" in explain(layer.eval())
    dropped = layer_of("lstm", recurrent_dropout=0.5)
    assert "lstm_recurrent_dropout: reference" in explain(dropped) or "lstm_recurrent_dropout: native" in explain(
        dropped
    )
    assert "cell lstm: " in explain(dropped.eval())


@pytest.mark.parametrize(
    ("cell", "options", "said"),
    [
        ("lstm", {"zoneout": 1.0}, r"zoneout must be a number in \[0, 1\), not 1.0"),
        ("lstm", {"zoneout": {"c": -0.5}}, r"zoneout of 'c' must be a number in \[0, 1\), not -0.5"),
        ("lstm", {"zoneout": {"c": "0.5"}}, r"zoneout of 'c' must be a number in \[0, 1\), not '0.5'"),
        ("lstm", {"zoneout": {"cc": 0.5}}, "there is no state 'cc'.*the states are h, c"),
        ("lstm", {"zoneout": None}, "zoneout must be a number"),
        ("lstm", {"input_dropout": float("nan")}, "input_dropout must be a number"),
        ("lstm", {"recurrent_dropout": True}, "recurrent_dropout must be a number"),
        ("indrnn", {"recurrent_dropout": 0.5}, "recurrent_dropout acts where a state enters an affine map.*in indrnn"),
        ("mingru", {"weight_dropout": 0.5}, "weight_dropout acts where a state enters an affine map.*in mingru"),
        ("lstm", {"zoneout": 0.5, "backend": "torch"}, "back end 'torch' cannot run cell 'lstm_zoneout'"),
    ],
)
def test_refusals(cell: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        layer_of(cell, **options)
    assert "\n" not in str(caught.value)


def test_layers_of_different_cells() -> None:
    """What one of them knows is enough; weight dropout leaves torch's own operation in place."""
    layer = layer_of(["lstm", "indrnn"], num_layers=2, zoneout={"c": 0.5}, recurrent_dropout=0.2)
    assert layer(input_of())[0].isfinite().all()
    dropped = layer_of("lstm", weight_dropout=0.5, input_dropout=0.5, backend="torch")
    slow = layer_of("lstm", weight_dropout=0.5, input_dropout=0.5, backend="reference")
    slow.load_state_dict(dropped.state_dict())
    x = input_of()
    torch.testing.assert_close(seeded(dropped, x), seeded(slow, x), rtol=1e-11, atol=1e-12)
