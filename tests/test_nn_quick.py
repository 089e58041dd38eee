"""The short way of a usual call: the bits of the general one, taken only where it may be, never behind the weights."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elman.nn
from elman import cells
from elman.errors import DataError
from elman.nn import LSTM, Recurrent, op
from elman.nn.quick import Quick

Make = Callable[[], nn.Module]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Quick]:
    """The calls that took the short way."""
    found: list[Quick] = []
    run = Quick.forward

    def spy(self: Quick, *args: Any) -> Any:
        found.append(self)
        return run(self, *args)

    monkeypatch.setattr(Quick, "forward", spy)
    return found


def flat(found: Any) -> list[Tensor]:
    """The tensors of an output and a state."""
    return [found] if isinstance(found, Tensor) else [t for part in found for t in flat(part)]


def outcome(layer: nn.Module, x: Tensor, state: Any = None, **how: Any) -> list[Tensor | None]:
    """Outputs, final states and the gradients of a weighting of them, of the input, the state and the weights."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    state = None if state is None else _map(state, lambda s: s.clone().requires_grad_())
    outputs = flat(layer(x, state, **how))
    torch.manual_seed(3)
    grads = [torch.randn_like(o) for o in outputs]
    inputs = [x, *(flat(state) if state is not None else ()), *layer.parameters()]
    return [*(o.detach() for o in outputs), *torch.autograd.grad(outputs, inputs, grads, allow_unused=True)]


def _map(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(state) if isinstance(state, Tensor) else tuple(_map(s, change) for s in state)


def same(found: list[Tensor | None], wanted: list[Tensor | None]) -> bool:
    return len(found) == len(wanted) and all(
        (a is None and b is None)
        or (a is not None and b is not None and torch.equal(a, b) and a.stride() == b.stride())
        for a, b in zip(found, wanted)
    )


def slowly(run: Callable[[], Any]) -> Any:
    """Without the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op, "quick", lambda *_, **__: None)
        return run()


# Each with its number of parts, which all take the short way.
LAYERS: list[tuple[Make, int]] = [
    (partial(LSTM, 5, 7), 1),
    (partial(LSTM, 5, 7, bias=False, batch_first=True), 1),
    (partial(LSTM, 9, 7, proj_size=3), 1),
    (partial(elman.nn.GRU, 9, 17), 1),
    (partial(elman.nn.RNN, 3, 4, nonlinearity="relu"), 1),
    (partial(LSTM, 5, 7, 2, bidirectional=True), 4),
    (partial(Recurrent, "lstm", 5, 7), 1),
    (partial(Recurrent, "gru", 9, 16, direction="backward", batch_first=True), 1),
    (partial(Recurrent, "rnn", 5, 7, dtype=torch.float64), 1),
    (partial(Recurrent, "lstm_projected", 5, 7, output_size=3), 1),
    (partial(Recurrent, cells.lstm_layer_norm, 5, 7), 1),
    (partial(Recurrent, "lstm_peephole", 5, 7, 2, bidirectional=True, residual=True), 4),
]


@pytest.mark.parametrize("sizes", [(1, 1), (7, 3), (3, 700)])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("make", "parts"), LAYERS)
def test_the_bits_are_those_of_the_general_way(
    make: Make, parts: int, given: bool, sizes: tuple[int, int], taken: list[Quick]
) -> None:
    torch.manual_seed(1)
    layer: Any = make()
    x = torch.randn(*sizes, layer.input_size, dtype=next(layer.parameters()).dtype)
    state = _map(layer(x)[1], torch.randn_like) if given else None
    taken.clear()
    found = outcome(layer, x, state)
    assert len(taken) == parts
    assert same(found, slowly(lambda: outcome(layer, x, state)))
    assert len(taken) == parts
    with torch.inference_mode():
        plain = flat(layer(x, state))
    assert same([*plain], found[: len(plain)])


def test_an_input_that_does_not_lie_in_order() -> None:
    layer, x = Recurrent("lstm", 5, 7), torch.randn(5, 4, 3).transpose(0, 2)
    assert same(outcome(layer, x), slowly(lambda: outcome(layer, x)))
    expanded = torch.randn(5).expand(4, 3, 5)
    assert torch.equal(layer(expanded)[0], layer(expanded.contiguous())[0])


def test_threads_that_are_changed_between_calls() -> None:
    layer, x = Recurrent("gru_layer_norm", 5, 7), torch.randn(6, 40, 5)
    for threads in (1, 2, 1):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            assert same(outcome(layer, x), slowly(lambda: outcome(layer, x)))
        finally:
            torch.set_num_threads(before)


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [partial(LSTM, 3, 4), partial(Recurrent, "lstm", 3, 4)])
def test_graphs_that_are_kept_and_differentiated_again(make: Make) -> None:
    layer, x = make(), torch.randn(3, 2, 3, requires_grad=True)

    def twice() -> list[Tensor | None]:
        outputs = flat(layer(x))
        loss = torch.stack([o.square().sum() for o in outputs]).sum()
        inputs = [x, *layer.parameters()]
        once = torch.autograd.grad(loss, inputs, retain_graph=True)
        again = torch.autograd.grad(loss, inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.square().sum() for g in again]).sum(), inputs)
        return [*once, *(g.detach() for g in again), *second]

    assert same(twice(), slowly(twice))


def test_some_gradients_alone() -> None:
    layer, x, start = LSTM(3, 4), torch.randn(3, 2, 3, requires_grad=True), torch.randn(1, 2, 4, requires_grad=True)

    def each() -> list[Tensor | None]:
        output, (_, c) = layer(x, (start, start))
        wanted: list[Any] = [x, start, layer.bias_hh_l0]
        of_c = [torch.autograd.grad(c.sum(), [t], retain_graph=True)[0] for t in wanted]  # expanded, the output's None
        return [*of_c, *torch.autograd.grad(output[1].sum(), wanted)]

    assert same(each(), slowly(each))
    layer.weight_hh_l0.requires_grad_(False)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None


def test_weights_that_change_before_the_backward_pass_are_noticed() -> None:
    layer = Recurrent("gru", 3, 4)
    output, _ = layer(torch.randn(3, 2, 3))
    with torch.no_grad():
        next(layer.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


# ---- what changes between calls --------------------------------------------------------------------------------------


def _step(layer: nn.Module) -> None:
    layer(torch.randn(2, 1, 4))[0].sum().backward()
    torch.optim.SGD(layer.parameters(), 0.5).step()


def _write(layer: nn.Module) -> None:
    for p in layer.parameters():
        p.data.copy_(torch.randn_like(p))  # no version tells of this


def _turn(layer: nn.Module) -> None:
    for p in layer.parameters():
        if p.dim() == 2 and p.shape[0] == p.shape[1]:
            p.data = p.data.t()  # the same memory read otherwise


def _replace(layer: nn.Module) -> None:
    for name, p in list(layer.named_parameters()):
        path, _, own = name.rpartition(".")
        setattr(layer.get_submodule(path), own, nn.Parameter(torch.randn_like(p)))


def _load(layer: nn.Module) -> None:
    layer.load_state_dict({n: torch.randn_like(p) for n, p in layer.state_dict().items()})


def _parametrize(layer: nn.Module) -> None:
    path, _, name = next(n for n, p in layer.named_parameters() if p.dim() == 2).rpartition(".")
    nn.utils.parametrizations.weight_norm(layer.get_submodule(path), name)


CHANGES: list[Callable[[nn.Module], object]] = [
    _step, _write, _turn, _replace, _load, _parametrize, lambda layer: layer.double(),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [partial(elman.nn.RNN, 4, 4), partial(Recurrent, "jordan", 4, 4)])
def test_changed_weights_are_seen(make: Make, change: Callable[[nn.Module], object]) -> None:
    layer, x = make(), torch.randn(3, 2, 4)
    before = layer(x)[0]
    change(layer)
    x = x.to(next(layer.parameters()).dtype)
    after = outcome(layer, x)
    assert same(after, slowly(lambda: outcome(layer, x)))
    assert change in (CHANGES[5], CHANGES[6]) or not torch.equal(before, after[0])


def test_copies_stand_alone() -> None:
    layer, x = Recurrent("lstm", 3, 4), torch.randn(3, 2, 3)
    wanted, file = layer(x)[0], io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], wanted)
        _write(other)
        assert not torch.equal(other(x)[0], wanted)
    assert torch.equal(layer(x)[0], wanted)


def test_fifty_threads_call_one_layer() -> None:
    layer, xs = LSTM(3, 8), torch.randn(50, 4, 2, 3)
    wanted, found = [outcome(layer, x) for x in xs], [[] for _ in xs]  # type: list[Any], list[list[bool]]

    def work(k: int) -> None:
        found[k] = [same(outcome_of(layer, xs[k]), wanted[k]) for _ in range(20)]

    def outcome_of(layer: nn.Module, x: Tensor) -> list[Tensor | None]:
        x = x.clone().requires_grad_()
        outputs = flat(layer(x))
        grads = torch.autograd.grad(outputs, [x, *layer.parameters()], shares)
        return [*(o.detach() for o in outputs), *grads]

    torch.manual_seed(3)  # as `outcome`, which all threads' generators could not share
    shares = [torch.randn_like(o) for o in flat(layer(xs[0]))]
    threads = [threading.Thread(target=work, args=(k,)) for k in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(own) == 20 and all(own) for own in found)


# ---- who does not take it --------------------------------------------------------------------------------------------


class Own(Tensor):
    """A tensor that listens to torch's functions."""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own forward mode calls it
def test_unusual_calls_go_the_general_way(taken: list[Quick]) -> None:
    x, layer, drop_in = torch.randn(4, 2, 3), Recurrent("lstm", 3, 5), LSTM(3, 5)
    layer(x, lengths=[3, 4])
    layer(x, every_state=True)
    Recurrent("lstm", 3, 5, checkpoint_every=2)(x)
    Recurrent("lstm", 3, 5, zoneout=0.5)(x)
    Recurrent("lstm", 3, 5, backend="reference")(x)
    Recurrent("lstm", 3, 5, backend="torch")(x)
    drop_in(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 3])))
    for any_layer in (layer, drop_in):
        any_layer(x.as_subclass(Own))
        any_layer(x[:0])
        any_layer(x[:, :0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            any_layer(x)
        torch.vmap(any_layer)(torch.stack([x, x]))
        torch.func.jvp(lambda x, of=any_layer: of(x)[0], (x,), (x,))
        torch.func.grad(lambda x, of=any_layer: of(x)[0].sum())(x)
        copy.deepcopy(any_layer).to("meta")(x.to("meta"))
        copy.deepcopy(any_layer).bfloat16()(x.bfloat16())
    assert not taken
    Recurrent("lstm", 3, 5, zoneout=0.5).eval()(x)
    assert len(taken) == 1


def test_states_that_do_not_fit_are_refused() -> None:
    x, layer, drop_in = torch.randn(4, 2, 3), Recurrent("lstm", 3, 5), LSTM(3, 5)
    s = torch.zeros(2, 5)
    for state in ((), ((),), ((s,),), ((s, s, s),), ((s, s[:1]),), ((s, s[None]),), ((s, s.double()),), s):
        with pytest.raises(DataError):
            layer(x, state)
    s = s[None]
    for hx in ((s[0], s[0]), (s, s[:, :1]), (s, s.double())):
        with pytest.raises((RuntimeError, DataError)):
            drop_in(x, hx)
    for bad in (x[..., :2], x.double(), x[0, 0]):
        with pytest.raises((RuntimeError, DataError, ValueError)):
            drop_in(bad)
        with pytest.raises(DataError):
            layer(bad)


def test_hooks_on_saved_tensors_see_all_that_is_kept() -> None:
    layer, x = LSTM(3, 4), torch.randn(3, 2, 3, requires_grad=True)
    seen: list[Tensor] = []

    def store(t: Tensor) -> Tensor:
        seen.append(t)
        return t.detach().clone()

    def run(hooked: bool) -> list[Tensor | None]:
        with torch.autograd.graph.saved_tensors_hooks(store, lambda t: t) if hooked else nullcontext():
            output = layer(x)[0]
        return [*torch.autograd.grad(output.sum(), [x, *layer.parameters()])]

    assert same(run(True), run(False))
    assert len(seen) == 1 + 4 + 2  # x, weights, the block and the output
