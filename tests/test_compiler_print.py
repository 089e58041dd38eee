"""Printers and builder: the exact text of cells, LaTeX, what is stored, labels, and which steps are the same."""

from __future__ import annotations

import cProfile
import sys
from typing import Any

import msgspec
import pytest

from cell_kit import ALL, EXTRA
from elman import cells
from elman.cells import abs, cell, exp, maximum, mean, minimum, normalize, sigmoid, softplus, tanh
from elman.compiler.adjoint import adjoint
from elman.compiler.build import Builder
from elman.compiler.ir import Node, Program
from elman.compiler.printers import as_latex, as_text, equations, storage
from elman.compiler.verify import verify, verify_cell

LSTM = """\
i  = sigmoid(W_i·[x, h] + b_i)
f  = sigmoid(W_f·[x, h] + b_f)
g  = tanh(W_g·[x, h] + b_g)
o  = sigmoid(W_o·[x, h] + b_o)
c' = f ∘ c + i ∘ g
h' = o ∘ tanh(c')"""

PEEPHOLE = """\
i  = sigmoid(W_i·[x, h] + b_i + p_i ∘ c)
f  = sigmoid(W_f·[x, h] + b_f + p_f ∘ c)
g  = tanh(W_g·[x, h] + b_g)
c' = f ∘ c + i ∘ g
o  = sigmoid(W_o·[x, h] + b_o + p_o ∘ c')
h' = o ∘ tanh(c')"""

GRU = """\
r  = sigmoid(W_r·[x, h] + b_r)
z  = sigmoid(W_z·[x, h] + b_z)
n  = tanh(W_n·x + b_n + r ∘ (W_m·h + b_m))
h' = (1 − z) ∘ n + z ∘ h"""

PROJECTED = """\
h' = W_r·(o ∘ tanh(c'))"""


@pytest.mark.parametrize(("one", "text"), [(cells.lstm, LSTM), (cells.lstm_peephole, PEEPHOLE), (cells.gru, GRU)])
def test_exact_text(one: cells.Cell, text: str) -> None:
    assert as_text(one.program) == text


def test_a_map_of_a_computed_vector_and_one_without_bias() -> None:
    assert as_text(cells.lstm_projected.program).splitlines()[-1] == PROJECTED
    assert "n  = tanh(W_n·[x, r ∘ h] + b_n)" in as_text(cells.gru_reset_before.program)


def test_exact_latex() -> None:
    assert as_latex(cells.lstm_peephole.program) == "\n".join(
        [
            r"\begin{align*}",
            r"  i &= \sigma\left(W_{i}\,\left[x, h\right] + b_{i} + p_{i} \circ c\right) \\",
            r"  f &= \sigma\left(W_{f}\,\left[x, h\right] + b_{f} + p_{f} \circ c\right) \\",
            r"  g &= \tanh\left(W_{g}\,\left[x, h\right] + b_{g}\right) \\",
            r"  c' &= f \circ c + i \circ g \\",
            r"  o &= \sigma\left(W_{o}\,\left[x, h\right] + b_{o} + p_{o} \circ c'\right) \\",
            r"  h' &= o \circ \tanh\left(c'\right)",
            r"\end{align*}",
        ]
    )


@pytest.mark.parametrize("name", ALL)
def test_latex_is_balanced(name: str) -> None:
    text = as_latex(ALL[name].program)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    assert text.count("&=") == len(equations(ALL[name].program)) == text.count("\\\\\n") + 1
    assert not set("∘−ᵀ") & set(text)


def test_storage() -> None:
    assert storage(cells.lstm.program) == (["i", "f", "g", "o"], ["tanh(c')"])
    assert storage(cells.rnn.program) == ([], []), "h' alone gives tanh's derivative"
    assert storage(cells.gru.program) == (["r", "z", "W_m·h + b_m", "n"], ["1 − z"])
    assert storage(cells.gru_reset_before.program) == (["r", "u", "n"], ["r ∘ h", "1 − u"])
    assert storage(cells.jordan.program) == (["h"], [])


@cell
def algebra(x: Any, h: Any, c: Any, W: Any) -> Any:
    a = h - (c - 2) - (h + c)
    b = -a * (-0.5) + (-c)
    d = a / (b * c) / (h / c) * (a / b)
    e = (h * 1e-5) / (c + 3)
    h = minimum(maximum(d, -1), abs(e)) + exp(c - 1.25) + normalize(h)
    return h, softplus(c) * mean(c)


ALGEBRA = """\
a  = h − (c − 2) − (h + c)
b  = (−a) ∘ (−0.5) + (−c)
d  = a / (b ∘ c) / (h / c) ∘ a / b
e  = h ∘ 1e-05 / (c + 3)
s1 = h − mean(h)
h' = minimum(maximum(d, −1), abs(e)) + exp(c − 1.25) + s1 ∘ rsqrt(mean(s1 ∘ s1) + 1e-05)
c' = softplus(c) ∘ mean(c)"""


def test_brackets_and_numbers() -> None:
    assert as_text(algebra.program) == ALGEBRA


def test_brackets_say_what_is_computed() -> None:
    """The text, read as Python with its own precedence, gives the program's numbers."""
    h, c = 0.7, -1.3
    names: dict[str, Any] = {
        "h": h, "c": c, "mean": lambda v: v, "rsqrt": lambda v: v**-0.5, "minimum": min, "maximum": max,
        "abs": float.__abs__, "exp": lambda v: float(cells.exp(v)), "softplus": lambda v: float(cells.softplus(v)),
    }  # fmt: skip
    compute = getattr(__import__("builtins"), "eval")  # noqa: B009 (a name that the house test looks for)
    for left, right in equations(algebra.program):
        names[left] = compute(right.replace("∘", "*").replace("−", "-"), {}, names)

    def direct(h: float, c: float) -> tuple[float, float]:
        a = h - (c - 2) - (h + c)
        b = -a * (-0.5) + (-c)
        d = a / (b * c) / (h / c) * (a / b)
        e = (h * 1e-5) / (c + 3)
        return min(max(d, -1), e if e > 0 else -e) + names["exp"](c - 1.25), names["softplus"](c) * c

    assert (names["h'"], names["c'"]) == pytest.approx(direct(h, c), rel=1e-12)


def test_latex_of_every_function() -> None:
    text = as_latex(algebra.program)
    for piece in (
        r"d &= \frac{\frac{a}{b \circ c}}{\frac{h}{c}} \circ \frac{a}{b}",
        r"e &= \frac{h \circ 10^{-5}}{c + 3}",
        r"\min\left(\max\left(d, -1\right), \left|e\right|\right)",
        r"\exp\left(c - 1.25\right)",
        r"\frac{1}{\sqrt{\mathrm{mean}\left(\mathrm{s1} \circ \mathrm{s1}\right) + 10^{-5}}}",
        r"\mathrm{softplus}\left(c\right)",
        r"b &= (-a) \circ (-0.5) + (-c)",
    ):
        assert piece in text, piece


def test_backward_programs_print_too() -> None:
    text = as_text(adjoint(cells.lstm.program).program)
    assert "W_o[1]ᵀ·grad_map_o'" in text
    assert "share(" in as_text(adjoint(EXTRA["layer_norm_lstm"].program).program)


def test_a_value_copied_by_spreads_does_not_double_the_text() -> None:
    """Each level uses one mean at two places; written out, 200 levels would have 2 to the 200 letters."""
    nodes = [Node("input", name="x", size="I"), Node("state", name="h")]
    for _ in range(200):
        at = len(nodes)
        nodes += [Node("mean", (at - 1,), "1"), Node("spread", (at,)), Node("mul", (at + 1, at + 1))]
    program = verify_cell(Program("doubling", tuple(nodes), (("h", len(nodes) - 1),)))
    assert len(as_text(program)) < 200 * 200


def test_labels_of_reused_names() -> None:
    """A label never has the name of a vector or weight, which would make the printed equations ambiguous."""

    @cell
    def reuse(x: Any, h: Any, c: Any, W: Any) -> Any:
        x = tanh(W.e(x))
        c = sigmoid(W.c(x, h)) * c
        new_c = c * 0.5
        p = sigmoid(W.p * x)
        p_2 = p * p
        return tanh(W.h(x, new_c)) + p_2, new_c

    program = reuse.program
    assert dict(program.labels).keys() == {"p_2"}
    assert as_text(program) == (
        "s1  = tanh(W_e·x + b_e)\n"
        "c'  = sigmoid(W_c·[s1, h] + b_c) ∘ c ∘ 0.5\n"
        "s2  = sigmoid(p ∘ s1)\n"
        "p_2 = s2 ∘ s2\n"
        "h'  = tanh(W_h·[s1, c'] + b_h) + p_2"
    )


def test_names_inside_called_cells_are_labels_too() -> None:
    program = cells.with_output(cells.lstm, "identity").program
    assert dict(program.labels).keys() == {"i", "f", "g", "o"}
    assert as_text(program) == LSTM + "\ny' = W_y·h' + b_y"


def test_tracing_leaves_profilers_alone() -> None:
    """A cell may be traced under a profiler or a debugger, which keep their hooks."""

    def fresh() -> Program:
        return cells.elman_rnn("tanh").program

    profiler = cProfile.Profile()
    assert profiler.runcall(fresh).same_step(cells.rnn.program)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name))
    try:
        fresh()
    finally:
        sys.setprofile(None)
    assert "affine" in calls


def test_labels_and_documentation_do_not_change_the_step() -> None:
    @cell(source="nobody", doc="Another name for it.")
    def renamed(x: Any, h: Any, c: Any, W: Any) -> Any:
        let_in = sigmoid(W.i(x, h))
        keep = sigmoid(W.f(x, h))
        fresh = tanh(W.g(x, h))
        put_out = sigmoid(W.o(x, h))
        memory = keep * c + let_in * fresh
        return put_out * tanh(memory), memory

    ours, theirs = renamed.program, cells.lstm.program
    assert ours != theirs
    assert dict(ours.labels).keys() == {"let_in", "keep", "fresh", "put_out"}
    assert ours.nodes == theirs.nodes
    assert ours.same_step(theirs)
    assert theirs.same_step(ours)
    assert msgspec.structs.replace(theirs, labels=(), doc="", name="other").same_step(theirs)


def test_the_order_of_equations_does_not_change_the_step() -> None:
    @cell
    def other_order(x: Any, h: Any, c: Any, W: Any) -> Any:
        o = sigmoid(W.o(x, h))
        f = sigmoid(W.f(x, h))
        h = tanh(W.g(x, h)) * sigmoid(W.i(x, h))
        c = h + c * f
        return tanh(c) * o, c

    assert other_order.program.nodes != cells.lstm.program.nodes
    assert other_order.program.same_step(cells.lstm.program)
    assert other_order.program.gates == ("o", "f", "g", "i")


def variant(change: str) -> Program:
    """The LSTM with one thing otherwise."""

    @cell
    def lstm(x: Any, h: Any, c: Any, W: Any) -> Any:
        i = sigmoid(W.i(h, x) if change == "vectors" else W.i(x, h, bias=change != "bias"))
        f = sigmoid((W.forget if change == "map" else W.f)(x, h))
        g = (sigmoid if change == "function" else tanh)(W.g(x, h))
        o = sigmoid(W.o(x, h))
        c = f * c - i * g if change == "sign" else f * c + i * g
        h = o * tanh(c) * (1.0001 if change == "number" else 1)
        return (h, c) if change != "states" else (c, h)

    return lstm.program


@pytest.mark.parametrize("change", ["vectors", "bias", "map", "function", "sign", "number", "states"])
def test_another_step_is_not_the_same(change: str) -> None:
    assert variant("none").same_step(cells.lstm.program)
    assert not variant(change).same_step(cells.lstm.program)
    assert not cells.lstm.program.same_step(variant(change))


def test_names_of_states_and_rounding_make_another_step() -> None:
    @cell
    def other_names(x: Any, y: Any, c: Any, W: Any) -> Any:
        i, f, g, o = sigmoid(W.i(x, y)), sigmoid(W.f(x, y)), tanh(W.g(x, y)), sigmoid(W.o(x, y))
        c = f * c + i * g
        return o * tanh(c), c

    @cell
    def left(x: Any, h: Any, W: Any) -> Any:
        return (h + W.a(x)) + W.b(x)

    @cell
    def right(x: Any, h: Any, W: Any) -> Any:
        return h + (W.a(x) + W.b(x))

    assert not other_names.program.same_step(cells.lstm.program)
    assert not left.program.same_step(right.program)
    programs = [c.program for c in ALL.values() if c.name != "irnn"]  # the equations of rnn_relu, started otherwise
    for k, one in enumerate(programs):
        assert [one.same_step(other) for other in programs] == [k == n for n in range(len(programs))]


def test_equal_computations_share_a_node() -> None:
    @cell
    def twice(x: Any, h: Any, W: Any) -> Any:
        _unused = tanh(W.never(x))
        a = sigmoid(W.a(x, h))
        return a * h + sigmoid(W.a(x, h)) * (h + 0) * 1 + 0 * 0.0

    ops = [node.op for node in twice.program.nodes]
    assert ops.count("affine") == ops.count("sigmoid") == ops.count("mul") == 1
    assert twice.program.parameter_shapes(2, 3) == {"weight_a": (3, 5), "bias_a": (3,)}


def test_what_is_not_used_has_no_say_in_the_sizes() -> None:
    @cell
    def with_leftovers(x: Any, h: Any, W: Any) -> Any:
        _leftover = tanh(W.far(x))
        return tanh(W.h(x, h))

    assert with_leftovers.program.state_sizes() == {"h": "H"}
    assert with_leftovers.program.same_step(cells.rnn.program)


def test_sizes() -> None:
    assert cells.jordan.program.state_sizes() == {"y": "O"}
    assert cells.jordan.program.parameter_shapes(3, 5, 2) == {
        "weight_h": (5, 5), "bias_h": (5,), "weight_y": (2, 5), "bias_y": (2,),
    }  # fmt: skip
    assert cells.jordan.program.parameter_shapes(3, 5)["weight_y"] == (5, 5), "O is H unless said otherwise"
    assert cells.lstm_projected.program.state_sizes() == {"h": "O", "c": "H"}
    shapes = EXTRA["input_outside_maps"].program.parameter_shapes(3, 5)
    assert shapes == {"scale": (3,), "weight_h": (5, 8), "bias_h": (5,)}, "a parameter beside the input has I units"


def test_builder_leaves_trivial_arithmetic_out() -> None:
    out = Builder()
    h = out.leaf("state", "h", "H")
    one, zero = out.constant(1.0, "H"), out.constant(0.0, "H")
    assert {out.apply("mul", h, one), out.apply("mul", one, h), out.apply("div", h, one)} == {h}
    assert {out.apply("add", h, zero), out.apply("add", zero, h), out.apply("sub", h, zero), out.sum_of([h])} == {h}
    assert out.nodes[out.apply("div", one, h)].op == "div"
    assert out.nodes[out.apply("sub", zero, h)].op == "sub"
    program = out.program("p", [("h", out.sum_of([h, h, one]))], labels=[("gone", zero), ("h", h)])
    assert [node.op for node in verify(program).nodes] == ["state", "constant", "spread", "add", "add"]
    assert program.labels == ()
