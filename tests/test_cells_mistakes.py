"""What a user gets wrong in a cell: each mistake gives a CellError that names the cell, the very line and the remedy.

The line that the message must name is marked `# <-` in the source of each cell.
"""

# ruff: noqa: F821, RET504, E501, B018 (the mistakes are the point)
# mypy: ignore-errors
from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from elman import cells
from elman.cells import cell, exp, log, mean, normalize, sigmoid, tanh, with_output
from elman.compiler.symbols import FUNCTIONS
from elman.errors import CellError

KEPT = []  # a value that outlives its trace
MISTAKES = []


def mistake(*fragments):
    """Registers a cell function and what its message must hold."""

    def register(function):
        MISTAKES.append(pytest.param(function, fragments, id=function.__name__))
        return function

    return register


@mistake("unknown name 'sigmod' (did you mean 'sigmoid'?)", "import it from elman.cells")
def misspelt_function(x, h, W):
    u = sigmod(W.u(x, h))  # <-
    return u * h


@mistake("unknown name 'gaet' (did you mean 'gate'?)", "compute it above")
def misspelt_value(x, h, W):
    gate = sigmoid(W.u(x, h))
    return gaet * h + gate  # <-


@mistake("UnboundLocalError", "'later'")
def used_before_computed(x, h, W):
    h = later * h  # <-
    later = sigmoid(W.u(x, h))
    return h + later


NO_NUMBER = ("a value has no number while the cell is traced", "functions of elman.cells (sigmoid, tanh")
OUTSIDE = ("outside the language was given a value of the cell", "use + - * / and the functions of elman.cells")


@mistake(*NO_NUMBER)
def math_tanh(x, h, W):
    return math.tanh(W.h(x, h))  # <-


@mistake(*OUTSIDE)
def numpy_tanh(x, h, W):
    a = W.h(x, h)
    return np.tanh(a)  # <-


@mistake(*OUTSIDE)
def torch_tanh(x, h, W):
    a = W.h(x, h)
    a = torch.tanh(a)  # <-
    return a


@mistake(*OUTSIDE, "W.i(x, h) stacks its vectors")
def torch_cat(x, h, W):
    return tanh(W.h(torch.cat([x, h], -1)))  # <-


@mistake("stacks its vectors")
def numpy_concatenate(x, h, W):
    return tanh(W.h(np.concatenate([x, h], -1)))  # <-


@mistake(*NO_NUMBER)
def to_float(x, h, W):
    return h * float(mean(h))  # <-


@mistake("a sum got a ndarray", "W.name (one weight a unit)")
def an_array_as_constant(x, h, W):
    return h + np.ones(3)  # <-


@mistake("a product got a Tensor", "W.name (one weight a unit)")
def a_tensor_as_constant(x, h, W):
    return torch.ones(3) * h  # <-


@mistake("a sum got a str")
def a_string(x, h, W):
    return W.h(x, h) + "1"  # <-


@mistake("a sum got None")
def nothing_added(x, h, W):
    return h + None  # <-


@mistake("a sum got a bool")
def a_truth_value_added(x, h, W):
    return h + True  # <-


@mistake("the number inf", "finite")
def an_infinite_number(x, h, W):
    h = tanh(W.h(x, h))
    h = h * math.inf  # <-
    return h


BRANCH = ("a cell cannot branch on a value", "minimum, maximum, relu or a gate")


@mistake(*BRANCH)
def a_comparison(x, h, W):
    new = tanh(W.h(x, h))
    if new > 0:  # <-
        new = h
    return new


@mistake(*BRANCH)
def a_truth_value(x, h, W):
    new = tanh(W.h(x, h))
    return new if h else new * 2  # <-


@mistake(*BRANCH)
def an_and(x, h, W):
    return h and tanh(W.h(x, h))  # <-


@mistake(*BRANCH)
def a_not(x, h, W):
    return tanh(W.h(x, h)) * (not h)  # <-


@mistake(*BRANCH)
def an_equality(x, h, W):
    return tanh(W.h(x, h)) * (h == 0)  # <-


@mistake(*BRANCH)
def pythons_max(x, h, W):
    return max(W.h(x, h), 0)  # <-


@mistake("it has the states h, c but returns 1 value", "return h, c (c did not come back)")
def a_state_not_returned(x, h, c, W):
    c = c + tanh(W.g(x, h))
    h = tanh(c)
    return h  # <-


@mistake("it has the state h but returns 2 values", "return h and nothing else")
def too_many_values(x, h, W):
    gate = sigmoid(W.u(x, h))
    return gate * h, gate  # <-


@mistake("it returns nothing", "return h, c")
def nothing_returned(x, h, c, W):
    h = tanh(W.h(x, h))
    c = c + h  # <-


@mistake("the new h got a list", "one weight a unit")
def a_list_returned(x, h, W):
    return [tanh(W.h(x, h))]  # <-


@mistake("the sizes in a product cannot agree: input_size units and hidden_size units", "affine map such as W.name(x)")
def input_times_state(x, h, W):
    gate = sigmoid(W.u(x, h))
    return gate * (x * h)  # <-


@mistake("the sizes in a difference cannot agree: hidden_size units and input_size units")
def input_size_by_a_detour(x, h, W):
    like_x = W.a(h) * x
    return tanh(h - like_x)  # <-


@mistake("the sizes in maximum cannot agree")
def input_and_state_in_maximum(x, h, W):
    return cells.maximum(x, h)  # <-


@mistake("the sizes in the new h cannot agree: hidden_size units and input_size units")
def a_state_of_input_size(x, h, W):
    gate = sigmoid(W.u(x, h))
    return gate * x  # <-


@mistake("the new h is a number", "return a vector for each state")
def a_number_returned(x, h, W):
    new = tanh(W.h(x, h))
    return mean(new)  # <-


@mistake("the new c is a number")
def a_constant_returned(x, h, c, W):
    h = tanh(W.h(x, h, c))
    return h, 1.0  # <-


@mistake("W.i is used both as an affine map and as a per-unit parameter", "another name")
def map_and_parameter(x, h, W):
    a = sigmoid(W.i(x, h))
    return a + W.i * h  # <-


@mistake("W.i is used both as an affine map and as a per-unit parameter")
def parameter_and_map(x, h, W):
    a = W.i * h
    return a + W.i(x)  # <-


@mistake("W.i maps different vectors at two places", "give the second map another name")
def one_map_of_different_vectors(x, h, W):
    a = sigmoid(W.i(x, h))
    return a * tanh(W.i(h, x))  # <-


@mistake("W.i maps once with and once without a bias at two places")
def one_map_with_and_without_bias(x, h, W):
    a = sigmoid(W.i(x, h))
    return a * tanh(W.i(x, h, bias=False))  # <-


@mistake("W.i() is given no vector", "write W.i(x, h)")
def map_of_nothing(x, h, W):
    return h + W.i()  # <-


@mistake("W.i(...) is given a number", "takes vectors")
def map_of_a_number(x, h, W):
    return h + W.i(3.0)  # <-


@mistake("W.i(...) is given a number")
def map_of_a_mean(x, h, W):
    return h + W.i(x, mean(h))  # <-


@mistake("mean over the units of a number")
def mean_of_a_mean(x, h, W):
    return h * mean(mean(h))  # <-


UNITS = ("cannot index a vector or loop over its units", "an equation holds for every unit at once")


@mistake(*UNITS)
def an_index(x, h, W):
    return h * h[0]  # <-


@mistake(*UNITS)
def a_slice_of_a_parameter(x, h, W):
    return h * W.p[:2]  # <-


@mistake(*UNITS)
def a_loop_over_units(x, h, W):
    total = 0
    for unit in h:  # <-
        total = total + unit
    return total


@mistake(*UNITS)
def a_loop_by_length(x, h, W):
    for unit in range(len(h)):  # <-
        h = h + unit
    return h


@mistake("the matrix product @ is not in the language", "W.name(x, h)")
def a_matrix_product(x, h, W):
    return tanh(W.h @ h)  # <-


@mistake("W alone is not a matrix", "W.p_i * c")
def a_bare_w(x, h, W):
    return tanh(W(x, h))  # <-


@mistake("W alone is not a matrix")
def an_indexed_w(x, h, W):
    return tanh(W["h"] * h)  # <-


@mistake("has no attribute 'mean'", "write mean(v)")
def a_method(x, h, W):
    return h - h.mean()  # <-


@mistake("has no attribute 'shape'")
def an_attribute(x, h, W):
    return h * h.shape[0]  # <-


@mistake("a power of 0.5 is not in the language", "exp(a * log(v))")
def a_root(x, h, W):
    return h**0.5  # <-


@mistake("a power of a vector is not in the language")
def a_power_of_a_vector(x, h, W):
    return h ** W.h(x, h)  # <-


@mistake("2 to the power of a vector is not in the language", "exp(a * v)")
def two_to_the_power(x, h, W):
    return 2**h  # <-


@mistake(*OUTSIDE)
def a_remainder(x, h, W):
    return h % 2  # <-


@mistake("uses a value of another trace", "inside the cell")
def a_value_of_another_trace(x, h, W):
    return h + KEPT[0]  # <-


@mistake("the parameter W.h has the name of a vector", "W.p_h")
def parameter_called_like_a_state(x, h, W):
    return tanh(W.i(x)) + W.h * h  # <-


@mistake("the name of W.saved_1 is kept for backward programs")
def parameter_called_like_the_adjoints(x, h, W):
    return tanh(W.i(x)) + W.saved_1 * h  # <-


@mistake("W.größe cannot be stored", "letters a-z")
def letters_of_another_alphabet(x, h, W):
    return tanh(W.größe(x, h))  # <-


@mistake("ZeroDivisionError")
def pythons_own_error(x, h, W):
    return h * (1 / 0)  # <-


@mistake("W.h(...) has no option 'biass'", "bias=False")
def a_misspelt_option(x, h, W):
    return tanh(
        W.h(x, h, biass=False)  # <-
    )


@mistake("RecursionError")
def calls_itself(x, h, W):
    return calls_itself(x, h, W)  # <-


def helper(v):
    return v @ v


@mistake("the matrix product @")
def a_mistake_in_a_helper(x, h, W):
    new = tanh(W.h(x, h))
    return helper(new)  # <-


def test_the_trace_outlives_nothing() -> None:
    """A symbol that is kept, for the mistake above."""

    def keeps(x, h, W):
        KEPT.append(h)
        return tanh(W.h(x, h))

    assert cell(keeps).program.states == ("h",)


def line_of(function) -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + number for number, text in enumerate(lines) if "# <-" in text)


@pytest.mark.parametrize(("function", "fragments"), MISTAKES)
def test_a_mistake_is_named(function, fragments) -> None:
    if not KEPT:
        test_the_trace_outlives_nothing()
    one = cell(function)
    with pytest.raises(CellError) as caught:
        one.program
    message = str(caught.value)
    line = line_of(function)
    text = Path(__file__).read_text(encoding="utf-8").splitlines()[line - 1].strip()
    assert message.startswith(f"cell {function.__name__!r}, line {line} of test_cells_mistakes.py ({text[:90]}")
    for fragment in fragments:
        assert fragment in message
    assert "\n" not in message
    assert "; " in message.removeprefix("cell"), "the remedy"
    with pytest.raises(CellError, match=re.escape(message[:80])):
        one.program  # the same when asked again: nothing of the first trace is left behind


def test_at_least_fifty_mistakes() -> None:
    assert len(MISTAKES) >= 50


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, h: h, "cell '<lambda>'.*name it with @cell"),
        (len, "made of a function, def my_cell\\(x, h, W\\), not of builtin_function_or_method"),
        (5, "not of int"),
        (cells.lstm, "not of Cell"),
    ],
)
def test_what_is_no_function(function, message) -> None:
    with pytest.raises(CellError, match=message):
        cell(function)


@pytest.mark.parametrize("name", ["", "a b", "größe", "x" * 65, "1st"])
def test_names_that_cannot_be_stored(name) -> None:
    def function(x, h, W):
        return h

    if not name:
        assert cell(name=name)(function).name == "function"
        return
    with pytest.raises(CellError, match="its name must consist of letters"):
        cell(name=name)(function)


def without_W(x, h):
    return h


def without_states(x, W):
    return W.h(x)


def with_a_default(x, h, W, scale=2):
    return h


def with_a_default_state(x, h=None, W=None):
    return h


def with_many_states(x, *states, W):
    return states


@pytest.mark.parametrize(
    "function", [without_W, without_states, with_a_default, with_a_default_state, with_many_states]
)
def test_arguments_that_are_no_cell(function) -> None:
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(CellError) as caught:
        cell(function)
    assert str(caught.value).startswith(f"cell {function.__name__!r}, line {line} of test_cells_mistakes.py (def ")
    assert str(caught.value).endswith("write the input, then one or more states, then W: def my_cell(x, h, W)")


def test_names_that_backward_programs_use() -> None:
    @cell
    def clash(x, h, new_h, W):
        return tanh(W.h(x, h)), new_h

    line = inspect.getsourcelines(clash.function)[1] + 1  # the line of def, not of its decorator
    with pytest.raises(CellError, match=rf"cell 'clash', line {line} of .*\(def clash.*'new_h' begins as names"):
        clash.program


def test_a_mistake_inside_a_called_cell_is_named_there() -> None:
    @cell
    def inner(x, h, W):
        gate = sigmoid(W.h(x, h)) * h
        return gate - x  # <-

    with pytest.raises(CellError) as caught:
        with_output(inner).program
    line = line_of(inner.function)
    where = f"cell 'inner_output', line {line} of test_cells_mistakes.py (return gate - x  # <-)"
    assert str(caught.value).startswith(f"{where}: the sizes in a difference cannot agree")

    @cell
    def broken(x, h, W):
        return nothing_of_that_name * h  # <-

    with pytest.raises(CellError, match=f"line {line_of(broken.function)} of .*unknown name 'nothing_of_that_name'"):
        with_output(broken).program


def test_a_cell_made_where_there_is_no_source() -> None:
    space = {"tanh": tanh}
    code = compile("def made(x, h, W):\n    return tanh(W.h(x, h)) + x", "<made>", "exec")
    getattr(__import__("builtins"), "exec")(code, space)  # noqa: B009 (a name that the house test looks for)
    with pytest.raises(CellError, match="cell 'made', line 2 of <made>: the sizes in the new h cannot agree"):
        cell(space["made"]).program


def test_the_hints_know_the_whole_language() -> None:
    """The names in the messages are those that elman.cells exports."""
    assert all(callable(getattr(cells, name)) and name in cells.__all__ for name in FUNCTIONS)
    functions = [n for n in cells.__all__ if inspect.isfunction(getattr(cells, n))]
    assert set(functions) == {*FUNCTIONS, "cell", "elman_rnn", "named", "recurrent_highway", "with_output"}


def test_what_may_be_written_otherwise() -> None:
    """Freedoms: helpers, loops over numbers, numpy's and Python's numbers, sum, abs and powers of Python, reused names."""

    def gate(name, x, h, W):
        return sigmoid(getattr(W, name)(x, h))

    @cell
    def free(x, h, c, W):
        x = tanh(W.e(x)) * np.float32(2) + np.int64(1)
        α = gate("a", x, h, W)
        total = sum([α * h, normalize(c), +exp(-(h**2))])
        for number in range(2):
            total = total + number * log(2.0)
        c = total * np.float64(0.5)
        h = abs(c) + W.p**3
        return h, c

    program = free.program
    assert "α" in dict(program.labels), "labels are for people: any letter will do"
    assert "x" not in dict(program.labels), "the name of the input is taken"
    assert not any(n.op == "constant" and n.value == 0 for n in program.nodes), (
        "0 + a and 0 * log(2) + a leave no trace"
    )
