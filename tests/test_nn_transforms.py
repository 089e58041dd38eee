"""Layers under torch's transforms: compile, vmap, forward mode, second derivatives, autocast, checkpointing.

Each on the native back end and on torch's own operations, of which one is fused (lstm) and one made of smaller ones
(gru), and on the reference.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import elman.nn
from elman.nn import Recurrent

KERNELS = ("lstm", "gru", "lstm_peephole")
CELLS = (*KERNELS, "lstm/torch", "gru/torch", "lstm_peephole/reference")
"""On the native back end, and on those that stand in for it."""
T, B, IN, H = 3, 2, 2, 3
# torch's own: inductor and the decompositions of forward mode use the older compiler
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
on_every_back_end = pytest.mark.parametrize("cell", CELLS)


def layer_of(cell: str, dtype: torch.dtype = torch.float64, **options: Any) -> Recurrent:
    cell, _, backend = cell.partition("/")
    return Recurrent(cell, IN, H, dtype=dtype, backend=backend or "auto", **{"bidirectional": True, **options})


def inputs(dtype: torch.dtype = torch.float64, *shape: int) -> Tensor:
    return torch.randn(shape or (T, B, IN), dtype=dtype, requires_grad=True)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


COMPILED = [("aot_eager", cell) for cell in CELLS]
COMPILED += [("inductor", cell) for cell in KERNELS if shutil.which("c++") or shutil.which("g++")]


@pytest.mark.parametrize(("backend", "cell"), COMPILED)
def test_it_compiles_as_one_graph(backend: str, cell: str) -> None:
    torch._dynamo.reset()
    layer = layer_of(cell, torch.float32, bidirectional=False)
    x = inputs(torch.float32, 2, B, IN)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    results = []
    for run in (compiled, layer):
        output, state = run(x)
        loss = output.square().sum() + sum(s.sum() for s in state[0])
        results.append([output, *state[0], *torch.autograd.grad(loss, [x, *layer.parameters()])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"lengths": [3, 1]}, {"every_state": True}])
@pytest.mark.parametrize("cell", KERNELS)
def test_the_kernels_are_one_operation_of_a_graph(cell: str, how: dict[str, Any]) -> None:
    """What torch.compile sees: the operation's schema, shapes and derivatives, and one of it for each direction."""
    torch._dynamo.reset()
    layer, x, graphs = layer_of(cell, torch.float32), inputs(torch.float32), []

    def look(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compile(layer, fullgraph=True, backend=look)(x, **how)
    calls = [node for node in graphs[0].graph.nodes if "elman" in str(node.target)]
    assert len(calls) == 2
    part = next(iter(layer.parts()))
    given = [*part.zeros(B), *part.weights.values()]
    arguments = (x, given, True, part.cell, None, False, "every_state" in how, how.get("lengths"))
    torch.library.opcheck(torch.ops.elman.run, arguments)


def test_ragged_stacks_compile_for_lengths_in_a_list() -> None:
    torch._dynamo.reset()
    layer = layer_of("gru", num_layers=2, residual=True)
    x = inputs()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    close(compiled(x, lengths=[1, 3])[0], layer(x, lengths=[1, 3])[0])


def test_a_drop_in_compiles_where_dynamo_lets_torchs_layers_in() -> None:
    torch._dynamo.reset()
    layer, x = elman.nn.LSTM(IN, H), inputs(torch.float32)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x)[0], layer(x)[0])


@on_every_back_end
def test_second_derivatives(cell: str) -> None:
    """With respect to input, states and weights, against finite differences, and in float32 where oneDNN runs."""
    layer = layer_of(cell)
    state = [s.requires_grad_() for part in layer.parts() for s in part.zeros(B)]
    names, weights = zip(*layer.named_parameters(), strict=True)
    half = len(state) // 2

    def function(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = (tuple(tensors[:half]), tuple(tensors[half : 2 * half]))
        named = dict(zip(names, tensors[2 * half :], strict=True))
        output, final = torch.func.functional_call(layer, named, (x, given))
        return (output, *final[0], *final[1])

    everything = (inputs(torch.float64, 2, B, IN), *state, *weights)
    assert torch.autograd.gradcheck(function, everything, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, everything, fast_mode=True)
    single, x = layer.float(), inputs(torch.float32)
    (first,) = torch.autograd.grad(single(x)[0].square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    double, y = layer.double(), x.detach().double().requires_grad_()
    (first,) = torch.autograd.grad(double(y)[0].square().sum(), y, create_graph=True)
    (wanted,) = torch.autograd.grad(first.square().sum(), y)
    torch.testing.assert_close(second.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_second_derivatives_of_the_drop_ins(kind: str) -> None:
    for options in ({}, {"bias": False}, {"proj_size": 2} if kind == "LSTM" else {"batch_first": True}):
        layer = getattr(elman.nn, kind)(IN, H, 2, bidirectional=True, dtype=torch.float64, **options)
        assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], inputs(), fast_mode=True)  # noqa: B023


@on_every_back_end
def test_vmap_over_inputs(cell: str) -> None:
    layer, x = layer_of(cell), inputs(torch.float64, 4, T, B, IN)
    output = torch.func.vmap(lambda one: layer(one)[0])(x)
    for ours, one in zip(output, x, strict=True):
        close(ours, layer(one)[0])
    ragged = torch.func.vmap(lambda one: layer(one, lengths=[1, 3])[0])(x)
    close(ragged[2], layer(x[2], lengths=[1, 3])[0])


@on_every_back_end
def test_vmap_over_an_ensemble_of_weights(cell: str) -> None:
    """Values and gradients of models with stacked parameters, each as when it runs alone."""
    ensemble = [layer_of(cell) for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(ensemble)  # type: ignore[arg-type]
    base, x = ensemble[0], inputs().detach()

    def loss(own: Any) -> Tensor:
        output: Tensor = torch.func.functional_call(base, (own, buffers), (x,))[0]
        return output.square().sum()

    values, gradients = torch.func.vmap(lambda own: torch.func.grad_and_value(loss)(own)[::-1])(weights)
    for number, model in enumerate(ensemble):
        alone = model(x)[0].square().sum()
        close(values[number], alone)
        wanted = torch.autograd.grad(alone, list(model.parameters()))
        for (name, _), own in zip(model.named_parameters(), wanted, strict=True):
            close(gradients[name][number], own)


@on_every_back_end
def test_forward_mode(cell: str) -> None:
    """jvp and forward_ad: the product with the Jacobian that reverse mode finds."""
    layer, x = layer_of(cell), inputs().detach()
    tangent = torch.randn_like(x)
    jacobian = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x)
    wanted = torch.tensordot(jacobian, tangent, 3)
    _, ours = torch.func.jvp(lambda one: layer(one)[0], (x,), (tangent,))
    close(ours, wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        close(torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent, wanted)
    close(torch.func.jacfwd(lambda one: layer(one)[0])(x), jacobian)
    close(torch.func.jacrev(lambda one: layer(one)[0])(x), jacobian)
    every_row = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x, vectorize=True)
    close(every_row, jacobian)


@on_every_back_end
def test_autocast_runs_in_the_weights_type(cell: str) -> None:
    layer = layer_of(cell, torch.float32)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        x = inputs(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, state = layer(x)
            mixed = torch.nn.functional.linear(output, torch.ones(1, 2 * H))
        assert (output.dtype, state[0][0].dtype, mixed.dtype) == (torch.float32, torch.float32, torch.bfloat16)
        torch.testing.assert_close(output, layer(x.float())[0])
        mixed.sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == dtype
        assert x.grad.count_nonzero() == x.numel()


def test_autocast_of_a_drop_in() -> None:
    layer, x = elman.nn.LSTM(IN, H, bidirectional=True), inputs(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = layer(x)
    assert output.dtype == torch.float32
    output.sum().backward()
    assert x.grad is not None


@on_every_back_end
def test_checkpointing_gives_the_same_gradients(cell: str) -> None:
    layer, x = layer_of(cell), inputs()
    leaves = [x, *layer.parameters()]
    whole = torch.autograd.grad(layer(x)[0].square().sum(), leaves)
    again = torch.autograd.grad(checkpoint(lambda one: layer(one)[0], x, use_reentrant=False).square().sum(), leaves)
    for ours, theirs in zip(again, whole, strict=True):
        close(ours, theirs)
