"""The table of cells, the description of one, and docs/cells.md, which must be what the programs print today."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elman import cells
from elman.cells import CATALOGUE, TracedCell
from elman.cells.table import HEADER, describe, page, parameter_count, rows, table
from elman.compiler.ir import Node, Program
from elman.errors import OptionError

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "cells.md").read_text(encoding="utf-8") == page(), (
        "docs/cells.md is not what the cells say now: run  python -m elman.cells.table > docs/cells.md"
    )


def test_the_module_prints_the_page_without_torch() -> None:
    """In UTF-8 whatever the terminal's encoding."""
    code = "import runpy, sys; runpy.run_module('elman.cells.table', run_name='__main__')"
    code += "; assert 'torch' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": "ascii"}, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.decode("utf-8") == page()


def test_the_page_shows_every_cell_whole() -> None:
    text = page()
    sections = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert sections == list(CATALOGUE)
    for name, one in CATALOGUE.items():
        part = text[text.index(f"\n## {name}\n") :].split("\n## ")[1]
        assert one.doc in part
        assert f"Source: {one.source}." in part
        assert part.count("```") == 4
        for fence in ("```text\n", "```math\n\\begin{align*}"):
            assert fence in part
        assert "- Saved for the backward step" in part
        assert f"[{name}](#{name})" in text
    assert "- Saved for the backward step, beside the states: `i`, `f`, `g`, `o`." in text


@pytest.mark.parametrize(
    ("name", "make"), [("rnn", torch.nn.RNNCell), ("lstm", torch.nn.LSTMCell), ("gru", torch.nn.GRUCell)]
)
def test_parameters_are_torchs_less_the_second_bias(name: str, make: type[torch.nn.Module]) -> None:
    for i, h in ((1, 1), (7, 5), (128, 128)):
        theirs = sum(p.numel() for p in make(i, h).parameters())
        second = {"rnn": h, "lstm": 4 * h, "gru": 2 * h}[name]  # the GRU keeps both where r acts between them
        assert parameter_count(CATALOGUE[name], i, h) == theirs - second


def test_rows() -> None:
    found = {row.name: row for row in rows(7, 5)}
    assert list(found) == list(CATALOGUE)
    peephole = found["lstm_peephole"]
    assert peephole.states == ("h", "c")
    assert peephole.gates == ("i", "f", "g", "o")
    assert peephole.parameters == 4 * (5 * 12 + 5) + 3 * 5
    assert peephole.source.startswith("Gers & Schmidhuber 2000")
    assert found["rnn_output"].parameters == 5 * 12 + 5 + 5 * 5 + 5
    assert parameter_count(cells.rnn_output, 7, 5, 2) == 5 * 12 + 5 + 2 * 5 + 2
    with pytest.raises(OptionError, match="hidden_size must be 1 or more, not 0"):
        rows(1, 0)


def test_the_table_as_text() -> None:
    lines = table(64, 1000).splitlines()
    assert len(lines) == len(CATALOGUE) + 1
    assert lines[0].split() == list(HEADER)
    ends = {
        line.index(re.findall(r"[\d,]{5,}", line)[0]) + len(re.findall(r"[\d,]{5,}", line)[0]) for line in lines[1:]
    }
    assert ends == {lines[0].index("parameters") + len("parameters")}, "numbers end below the end of their title"
    assert not any(line != line.rstrip() for line in lines)


def test_the_table_in_markdown() -> None:
    lines = table(64, 1000, markdown=True, cells=[cells.lstm]).splitlines()
    assert lines == [
        "| cell | states | gates | parameters | source |",
        "|---|---|---|---:|---|",
        f"| lstm | h, c | i, f, g, o | 4,260,000 | {cells.lstm.source} |",
    ]
    odd = Program("odd", (Node("input", name="x", size="I"), Node("state", name="h")), (("h", 1),), source="A | B")
    assert table(1, 1, markdown=True, cells=[TracedCell(odd)]).splitlines()[-1] == "| odd | h |  | 0 | A \\| B |"


def test_one_cell_for_a_terminal() -> None:
    text = describe(cells.gru)
    assert text.startswith("gru: GRU whose reset gate acts after the recurrent matrix.\nSource: Cho et al. 2014")
    assert "\nn  = tanh(W_n·x + b_n + r ∘ (W_m·h + b_m))\n" in text
    assert text.endswith(
        "beside the states: `r`, `z`, `W_m·h + b_m`, `n`.\nComputed again in the backward step: `1 − z`."
    )
    latex = describe(cells.gru, latex=True)
    assert "\\begin{align*}" in latex
    assert "W_n·x" not in latex
    bare = TracedCell(Program("bare", cells.rnn.program.nodes, cells.rnn.program.outputs))
    assert describe(bare).startswith("bare: a cell\n\nh' = ")
