"""Layers and autograd's manners: evaluation, frozen parts, changes in place, memory, copies and pickles."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import cell, lstm_peephole, tanh
from elman.nn import Recurrent

CELLS = ("lstm", "gru", "lstm_peephole", "lstm/torch", "gru/torch", "lstm_peephole/reference")
"""On the native back end, and on those that stand in for it."""
T, B, IN, H = 3, 2, 2, 3
on_every_back_end = pytest.mark.parametrize("name", CELLS)


def layer_of(name: Any, **options: Any) -> Recurrent:
    """name: a cell, or one of CELLS."""
    name, backend = name.split("/") if "/" in str(name) else (name, "auto")
    return Recurrent(name, IN, H, **{"bidirectional": True, "num_layers": 2, "backend": backend, **options})


def inputs() -> Tensor:
    return torch.randn(T, B, IN, requires_grad=True)


@on_every_back_end
def test_backward_works_in_evaluation_mode(name: str) -> None:
    layer, x = layer_of(name), inputs()
    leaves = [x, *layer.parameters()]
    training = torch.autograd.grad(layer(x)[0].square().sum(), leaves)
    layer.eval()
    for ours, theirs in zip(torch.autograd.grad(layer(x)[0].square().sum(), leaves), training, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.count_nonzero()


@on_every_back_end
def test_without_gradients_there_is_no_graph(name: str) -> None:
    layer, x = layer_of(name), inputs()
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            output, state = layer(x)
            assert not output.requires_grad
            assert not state[0][0].requires_grad
            torch.testing.assert_close(output, layer(x)[0])
    torch.testing.assert_close(output.clone(), layer(x)[0].detach())


@on_every_back_end
def test_any_part_may_be_frozen(name: str) -> None:
    """The gradients that are asked for do not depend on which others are."""
    layer, x = layer_of(name), inputs()
    state = tuple(tuple(torch.randn_like(s) for s in part.zeros(B)) for part in layer.parts())
    states = [s.requires_grad_() for part in state for s in part]
    groups = (
        {"input": [x], "states": states, "weights": list(layer.parameters()), "bias": [layer.layers[0].forward_bias_f]}
        if not name.startswith("gru")
        else {"input": [x], "states": states, "weights": list(layer.parameters())}
    )
    everything = [x, *states, *layer.parameters()]
    whole = dict(zip(map(id, everything), torch.autograd.grad(layer(x, state)[0].square().sum(), everything)))
    for wanted in groups.values():
        for leaf in everything:
            leaf.requires_grad_(any(leaf is w for w in wanted))
        for ours, leaf in zip(torch.autograd.grad(layer(x, state)[0].square().sum(), wanted), wanted, strict=True):
            torch.testing.assert_close(ours, whole[id(leaf)])


@on_every_back_end
def test_gradient_of_a_final_state_alone(name: str) -> None:
    layer, x = layer_of(name, num_layers=1), inputs()
    final = layer(x)[1][0][-1]
    (found,) = torch.autograd.grad(final.sum(), x)
    assert found.count_nonzero() == found.numel(), "the forward part's last state has seen every step"


@on_every_back_end
def test_a_change_in_place_before_backward_raises(name: str) -> None:
    """Of the input, of a state and of a weight (of which torch's operations are given a copy: nothing is lost)."""
    layer = layer_of(name)
    weight = next(layer.parameters())
    for victim in ("input", "state", *(["weight"] if "torch" not in name else [])):
        x = inputs() * 1
        state = tuple(tuple(torch.randn_like(s) for s in part.zeros(B)) for part in layer.parts())
        output, _ = layer(x, state)
        with torch.no_grad():
            {"input": x, "state": state[0][0], "weight": weight}[victim].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


@on_every_back_end
def test_nothing_is_kept_once_the_graph_is_gone(name: str) -> None:
    layer = layer_of(name)

    def run() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        x = inputs()
        output, _ = layer(x)
        node = output.grad_fn
        assert node is not None
        output.sum().backward()
        layer.zero_grad()
        return weakref.ref(x), weakref.ref(output)

    gc.collect()
    gc.disable()  # reference counts alone must do it: a cycle would hold a batch's activations until a collection
    try:
        assert [ref() for ref in run()] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["lstm", "lstm/torch", "lstm_peephole/reference"])
def test_backward_frees_what_was_saved(name: str) -> None:
    """As for torch's own operations: a loss that is still held no longer holds the activations, and says so.

    The hooks keep the very tensors that they are given: a graph within the graph that was not freed would hold itself.
    """
    layer, x = layer_of(name), inputs()
    loss = layer(x)[0].sum()
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    saved: list[weakref.ref[Any]] = []

    class Box:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def pack(tensor: Tensor) -> Box:
        box = Box(tensor)
        saved.append(weakref.ref(box))
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        loss = layer(x)[0].sum()
    assert any(ref() is not None for ref in saved)
    loss.backward()
    assert [ref() for ref in saved if ref() is not None] == []


@on_every_back_end
def test_retained_graphs_accumulate(name: str) -> None:
    layer, x = layer_of(name), inputs()
    loss = layer(x)[0].sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, x)[0], first)


@on_every_back_end
def test_copies_and_pickles(name: str) -> None:
    layer, x = layer_of(name), inputs()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert list(twin.state_dict()) == list(layer.state_dict())
        assert torch.equal(twin(x)[0], layer(x)[0])
        before = layer(x)[0].detach()
        torch.nn.init.zeros_(next(iter(twin.parameters())))
        assert torch.equal(layer(x)[0], before)


def test_a_pickled_layer_holds_its_cells_program_and_not_its_function() -> None:
    @cell
    def local(x: Any, h: Any, W: Any) -> Any:
        return tanh(W.h(x, h) + W.u * h)

    layer, x = layer_of(local), inputs()
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])
    twin = pickle.loads(pickle.dumps(lstm_peephole))
    assert twin.program == lstm_peephole.program
    torch.manual_seed(1)
    one = layer_of(twin)
    torch.manual_seed(1)
    assert torch.equal(one(x)[0], layer_of("lstm_peephole")(x)[0])
