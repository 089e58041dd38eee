"""The adjoint program against torch's autograd through the interpreter, and against SymPy's derivatives."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import sympy
import torch

from cell_kit import ALL, CATALOGUE, EXTRA, OUTPUT, SIZES, apart, tensors, vectors_for, weights_for
from elman.cells import cell, maximum, minimum
from elman.compiler.adjoint import Adjoint, adjoint
from elman.compiler.interpret import Split, Stacked, column_ranges, evaluate, run
from elman.compiler.ir import REDUCTIONS, Node, Program, resolve
from elman.compiler.printers import as_latex, as_text, storage
from elman.compiler.verify import verify, verify_cell

Tensors = dict[str, torch.Tensor]


def by_adjoint(
    program: Program, back: Adjoint, given: Tensors, weights: Tensors, new_grads: Tensors, sizes: dict[str, int]
) -> Tensors:
    """What the backward program gives, from the values of a forward step without gradients."""
    values = evaluate(program, given, Stacked(weights), sizes)
    new = {f"new_{name}": values[position] for name, position in program.outputs}
    saved = {f"saved_{position}": values[position] for position in back.saved}
    grads = {f"grad_new_{name}": grad for name, grad in new_grads.items()}
    found = run(back.program, {**given, **new, **saved, **grads}, Split(program, weights, sizes), sizes)
    batch = next(iter(given.values())).shape[0]
    return {name: value.expand(batch, -1) for name, value in found.items()}


def gradients(
    program: Program, found: Tensors, given: Tensors, weights: Tensors, sizes: dict[str, int], whole: bool
) -> Tensors:
    """The gradients of every vector and weight: the weights' as sums of outer products, as adjoint.py says."""
    grads = {name: found[f"grad_{name}"] for name in given}
    for node in program.affine_maps:
        if f"grad_map_{node.name}" not in found:
            continue
        grad = found[f"grad_map_{node.name}"]
        vectors = []
        for index, (argument, (a, b)) in enumerate(zip(node.args, column_ranges(program, node, sizes))):
            source = program.nodes[argument]
            known = source.op in ("input", "state")
            vectors.append(given[source.name] if known else found[f"vector_{node.name}_{index}"])
            if source.op == "input" and not whole:
                grads[source.name] = grads[source.name] + grad @ weights[f"weight_{node.name}"][:, a:b]
        grads[f"weight_{node.name}"] = grad.T @ torch.cat(vectors, -1)
        if node.bias:
            grads[f"bias_{node.name}"] = grad.sum(0)
    for node in program.nodes:
        if node.op == "parameter" and f"grad_weight_{node.name}" in found:
            grads[node.name] = found[f"grad_weight_{node.name}"].sum(0)
    return grads


def compare(program: Program, batch: int, i: int, h: int, whole: bool = True) -> None:
    """Every gradient of one step to 1e-10: float64 has 16 digits, a step loses few, and a wrong term is far larger."""
    sizes = resolve(i, h, OUTPUT)
    given = tensors(vectors_for(program, batch, i, h, OUTPUT), grad=True)
    weights = tensors(weights_for(program, i, h, OUTPUT), grad=True)
    outputs = run(program, given, Stacked(weights), sizes)
    new_grads = {name: torch.randn_like(value) for name, value in outputs.items()}
    inputs = {**given, **weights}
    loss = sum(((outputs[n] * g).sum() for n, g in new_grads.items()), torch.zeros(()))
    wanted = dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)))
    with torch.no_grad():
        found = by_adjoint(program, adjoint(program, products_of_input=whole), given, weights, new_grads, sizes)
        grads = gradients(program, found, given, weights, sizes, whole)
    for name, value in inputs.items():
        true = wanted[name]
        true = torch.zeros_like(value) if true is None else true
        assert apart(grads.get(name, torch.zeros_like(value)), true) < 1e-10, (program.name, batch, i, h, name)


@pytest.mark.parametrize("whole", [True, False], ids=["all_products", "without_products_of_input"])
@pytest.mark.parametrize("name", ALL)
def test_equals_autograd(name: str, whole: bool) -> None:
    for batch, i, h in SIZES:
        compare(ALL[name].program, batch, i, h, whole)


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adjoint of a program that subtracts where it should add is not taken for the right one."""
    program = CATALOGUE["lstm"].program
    assert program.nodes[13] == Node("add", (11, 12))
    wrong = Program("wrong", (*program.nodes[:13], Node("sub", (11, 12)), *program.nodes[14:]), program.outputs)
    real = adjoint
    monkeypatch.setattr(sys.modules[__name__], "adjoint", lambda _, **options: real(verify_cell(wrong), **options))
    with pytest.raises(AssertionError, match="lstm"):
        compare(program, 2, 3, 4)


def test_where_a_function_has_a_corner() -> None:
    """Ties of minimum and maximum share the gradient, relu and abs have slope 0 at 0: all as torch does."""

    @cell
    def corners(x, h, W):  # type: ignore[no-untyped-def]
        return minimum(h, W.a) * 2 + maximum(h, W.a) * 3 + (h - h) * W.a

    program, sizes = corners.program, resolve(1, 4)
    h = torch.tensor([[0.0, 1.0, -2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([0.0, 1.0, 3.0, 0.5], dtype=torch.float64, requires_grad=True)
    given, weights = {"x": torch.zeros(1, 1, dtype=torch.float64), "h": h}, {"a": a}
    true = torch.autograd.grad(run(program, given, Stacked(weights), sizes)["h"].sum(), [h, a])
    with torch.no_grad():
        found = by_adjoint(program, adjoint(program), given, weights, {"h": torch.ones_like(h)}, sizes)
    torch.testing.assert_close(found["grad_h"], true[0], rtol=1e-15, atol=0)
    torch.testing.assert_close(found["grad_weight_a"][0], true[1], rtol=1e-15, atol=0)
    for op in ("relu", "abs"):
        one = Program("one", (Node("input", name="x", size="I"), Node("state", name="h"), Node(op, (1,))), (("h", 2),))
        with torch.no_grad():
            zero = {"x": torch.zeros(1, 1), "h": torch.zeros(1, 4)}
            found = by_adjoint(one, adjoint(one), zero, {}, {"h": torch.ones(1, 4)}, sizes)
        assert not found["grad_h"].any()


@pytest.mark.parametrize("name", ALL)
def test_is_a_sound_program(name: str) -> None:
    """Verified, no value is asked for in vain, and the saved ones are what a matrix product or costly maths made."""
    program = ALL[name].program
    for whole in (True, False):
        back = adjoint(program, products_of_input=whole)
        verify(back.program)
        used = {a for node in back.program.nodes for a in node.args} | {p for _, p in back.program.outputs}
        idle = [n.name for p, n in enumerate(back.program.nodes) if n.op == "input" and p not in used]
        assert [name for name in idle if not name.startswith("grad_new_")] == []
        inputs = {node.name for node in back.program.nodes if node.op == "input"}
        assert {f"saved_{p}" for p in back.saved} == {n for n in inputs if n.startswith("saved_")}
        assert not set(back.saved) & {p for _, p in program.outputs}
        products = [node for node in back.program.nodes if node.op == "transpose"]
        assert len(products) <= sum(len(node.args) for node in program.affine_maps)
        assert not any(node.op == "affine" for node in back.program.nodes), "nothing is rebuilt by a matrix product"


def test_is_remembered() -> None:
    program = CATALOGUE["gru"].program
    assert adjoint(program) is adjoint(program)
    assert adjoint(program) is not adjoint(program, products_of_input=False)


def test_long_and_deep_programs_take_linear_time_and_no_recursion() -> None:
    """A chain of 4,000 nodes, whose values the backward program rebuilds one out of the other."""
    nodes = [Node("input", name="x", size="I"), Node("state", name="h"), Node("parameter", name="p")]
    for position in range(3, 4000):
        nodes.append(Node("mul" if position % 2 else "add", (position - 1, 1 if position % 3 else 2)))
    nodes.append(Node("tanh", (len(nodes) - 1,)))
    program = verify_cell(Program("deep", tuple(nodes), (("h", len(nodes) - 1),)))
    start = time.perf_counter()
    back = adjoint(program)
    verify(
        Program("b", back.program.nodes[:4096], back.program.outputs[:1])
        if len(back.program.nodes) <= 4096
        else program
    )
    assert len(back.program.nodes) < 4 * len(nodes)
    assert as_text(program).splitlines()[-1].startswith("h'  = tanh((")
    assert as_latex(program).endswith("\\end{align*}")
    assert len(as_latex(program)) < 100 * len(nodes)
    assert len(storage(program)[1]) > 1000
    assert time.perf_counter() - start < 20  # about one second; recursion or doubling would never end
    with torch.no_grad():
        small = {"x": torch.zeros(1, 1), "h": torch.full((1, 2), 0.1)}
        weights = {"p": torch.full((2,), 0.1)}
        found = by_adjoint(program, back, small, weights, {"h": torch.ones(1, 2)}, resolve(1, 2))
    assert torch.isfinite(found["grad_h"]).all()


def symbolic(program: Program) -> tuple[list[sympy.Expr], dict[str, sympy.Symbol]]:
    """Each node at one unit; input, states, parameters and the values of affine maps are free symbols."""
    functions = {
        "neg": lambda v: -v, "sigmoid": lambda v: 1 / (1 + sympy.exp(-v)), "tanh": sympy.tanh, "exp": sympy.exp,
        "relu": lambda v: sympy.Max(v, 0), "softplus": lambda v: sympy.log(1 + sympy.exp(v)), "log": sympy.log,
        "abs": sympy.Abs, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b, "minimum": sympy.Min, "maximum": sympy.Max, "spread": lambda v: v,
    }  # fmt: skip
    values: list[sympy.Expr] = []
    free: dict[str, sympy.Symbol] = {}
    for node in program.nodes:
        if node.op in ("input", "state", "parameter", "affine"):
            key = f"map_{node.name}" if node.op == "affine" else node.name
            free[key] = sympy.Symbol(key, real=True)
            values.append(free[key])
        elif node.op == "constant":
            values.append(sympy.Float(node.value, 30))
        else:
            values.append(functions[node.op](*(values[a] for a in node.args)))
    return values, free


PER_UNIT = [n for n, c in ALL.items() if not any(node.op in REDUCTIONS for node in c.program.nodes)]


@pytest.mark.parametrize("name", PER_UNIT)
def test_sympy_agrees_on_the_per_unit_part(name: str) -> None:
    """With all matrices zero, a map is its bias and no gradient flows through it: what is left is per-unit maths."""
    program, sizes = ALL[name].program, resolve(1, 1, 1)
    weights = {n: w * (not n.startswith("weight_")) for n, w in weights_for(program, 1, 1, 1, seed=5).items()}
    given = vectors_for(program, 1, 1, 1, 1, seed=6)
    values, free = symbolic(program)
    point = {free[n]: float(v.item()) for n, v in given.items()}
    for key, symbol in free.items():
        if symbol not in point:
            point[symbol] = float(weights.get(f"bias_{key.removeprefix('map_')}", weights.get(key, np.zeros(1))).item())
    new_grads = {n: torch.full((1, 1), 0.3 + k, dtype=torch.float64) for k, n in enumerate(program.states)}
    loss = sum(float(new_grads[n]) * values[p] for n, p in program.outputs)
    with torch.no_grad():
        found = by_adjoint(program, adjoint(program), tensors(given), tensors(weights), new_grads, sizes)
    for key, symbol in free.items():
        is_parameter = any(node.op == "parameter" and node.name == key for node in program.nodes)
        ours = found.get(f"grad_weight_{key}" if is_parameter else f"grad_{key}")
        true = float(sympy.diff(loss, symbol).evalf(30, subs=point))
        assert (0.0 if ours is None else float(ours)) == pytest.approx(true, rel=1e-12, abs=1e-14), key


def test_the_cells_without_reductions_are_those_meant() -> None:
    normalised = {"lstm_layer_norm", "gru_layer_norm"}
    assert (set(CATALOGUE) - normalised) | {"deep_transition", "indrnn", "odd_returns"} == set(PER_UNIT)
    assert {"layer_norm_lstm", "every_function", "input_outside_maps"} == set(EXTRA) - set(PER_UNIT)
