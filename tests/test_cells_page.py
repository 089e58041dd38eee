"""docs/cell-language.md says what is so: its code runs as it stands, its error messages are the real ones."""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from elman import cells
from elman.cells import Cell
from elman.errors import CellError
from elman.nn import Recurrent, explain

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "cell-language.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
BLOCKS = BLOCK.findall(PAGE)
MISTAKES = [(code, message.strip()) for code, message in BLOCKS if message]


def execute(code: str, space: dict[str, Any]) -> dict[str, Any]:
    """Runs a block of the page as the file my_cells.py."""
    linecache.cache["my_cells.py"] = (len(code), None, code.splitlines(keepends=True), "my_cells.py")
    run = getattr(__import__("builtins"), "exec")  # noqa: B009 (a name that the house test looks for)
    run(compile(code, "my_cells.py", "exec"), space)
    return space


@pytest.fixture(scope="module")
def space() -> dict[str, Any]:
    """The names that the page has made at its end: its blocks run one after the other, as a reader would run them."""
    made: dict[str, Any] = {}
    for code, message in BLOCKS:
        if not message:
            execute(code, made)
    return made


def test_the_code_runs(space: dict[str, Any]) -> None:
    made = {name: value for name, value in space.items() if isinstance(value, Cell)}
    assert {"lstm", "peephole", "deep", "norm_rnn", "slow", "fast", "jordan"} <= set(made)
    for one in made.values():
        assert one.program.states == one.states
        Recurrent(one, 3, 4)(torch.zeros(2, 1, 3))
    assert space["output"].shape == (50, 4, 16)
    assert space["layer"].layers[0].forward_weight_i.shape == (16, 24)
    assert space["small"].output_size == 3
    assert (space["slow"].name, space["fast"].name) == ("leaky_tanh", "leaky_relu")
    assert len(space["backward"].saved) == 4


def test_what_the_page_says_of_sameness_and_of_new_weights(space: dict[str, Any]) -> None:
    assert space["lstm"].program.same_step(cells.lstm.program)
    assert "native (compiled from its equations)" in explain(space["layer"], space["x"])
    weights = dict(Recurrent(space["norm_rnn"], 3, 4).layers[0].named_parameters())
    assert weights["forward_scale"].tolist() == [1.0] * 4
    assert weights["forward_shift"].tolist() == [0.0] * 4


def test_an_own_lstm_in_another_order_runs_as_torchs_does() -> None:
    @cells.cell
    def own(x: Any, h: Any, c: Any, W: Any) -> Any:
        forget, put_out = cells.sigmoid(W.f(x, h)), cells.sigmoid(W.o(x, h))
        c = cells.sigmoid(W.i(x, h)) * cells.tanh(W.g(x, h)) + c * forget
        return cells.tanh(c) * put_out, c

    ours, theirs = (Recurrent(cell, 3, 5, backend="torch").double() for cell in (own, "lstm"))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    assert "torch.lstm" in explain(ours, x)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=0, atol=0)
    step_by_step = Recurrent(own, 3, 5, backend="reference").double()
    step_by_step.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x)[0], step_by_step(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("code", "message"), MISTAKES, ids=[re.findall(r"def (\w+)", code)[0] for code, _ in MISTAKES])
def test_the_messages_are_real(code: str, message: str, space: dict[str, Any]) -> None:
    names = execute(code, dict(space))
    (one,) = [value for name, value in names.items() if isinstance(value, Cell) and name not in space]
    with pytest.raises(CellError) as caught:
        _ = one.program
    assert str(caught.value) == message
    with pytest.raises(CellError) as from_layer:
        Recurrent(one, 3, 4)
    assert str(from_layer.value) == message


def test_there_are_messages() -> None:
    assert len(MISTAKES) >= 5


def test_every_function_is_on_the_page() -> None:
    for name in cells.__all__:
        if name in cells.CATALOGUE or name in (
            "CATALOGUE",
            "Cell",
            "TracedCell",
            "elman_rnn",
            "identity",
            "named",
            "recurrent_highway",
        ):
            continue
        assert re.search(rf"\b{name}\b", PAGE), name
