"""The table of cells and the page docs/cells.md, printed from the programs.

`python -m elman.cells.table > docs/cells.md` writes the page anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from elman.cells import CATALOGUE, Cell, TracedCell
from elman.compiler.printers import as_latex, as_text, storage
from elman.errors import OptionError

HEADER = ("cell", "states", "gates", "parameters", "source")
AnyCell = Cell | TracedCell


@dataclass(frozen=True)
class Row:
    """One line of the table of cells."""

    name: str
    states: tuple[str, ...]
    gates: tuple[str, ...]
    """The names of its affine maps."""
    parameters: int
    source: str

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of HEADER."""
        return self.name, ", ".join(self.states), ", ".join(self.gates), f"{self.parameters:,}", self.source


def parameter_count(cell: AnyCell, input_size: int, hidden_size: int, output_size: int | None = None) -> int:
    """How many numbers the weights of `cell` hold."""
    return sum(prod(shape) for shape in cell.program.parameter_shapes(input_size, hidden_size, output_size).values())


def rows(input_size: int, hidden_size: int, cells: Iterable[AnyCell] | None = None) -> list[Row]:
    """The table of `cells` (all of the catalogue unless given) for I and H; an output of a size of its own has H units.

    Raises OptionError for sizes below 1.
    """
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if size < 1:
            raise OptionError(f"{name} must be 1 or more, not {size}")
    chosen = CATALOGUE.values() if cells is None else cells
    return [
        Row(c.name, c.states, c.program.gates, parameter_count(c, input_size, hidden_size), c.source) for c in chosen
    ]


def as_columns(table_rows: Sequence[Row]) -> str:
    """The table as plain text, its columns aligned: numbers to the right, all else to the left."""
    lines = [HEADER, *(row.cells() for row in table_rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    right = HEADER.index("parameters")
    padded = (
        [f"{text:>{w}}" if n == right else f"{text:<{w}}" for n, (text, w) in enumerate(zip(line, widths))]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def as_markdown(table_rows: Sequence[Row], link: bool = False) -> str:
    """The table in Markdown; `link` leads from each name to its section on the same page."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---|---:|---|"]
    for row in table_rows:
        name, *rest = (text.replace("|", "\\|") for text in row.cells())
        lines.append("| " + " | ".join([f"[{name}](#{name})" if link else name, *rest]) + " |")
    return "\n".join(lines)


def table(
    input_size: int = 128, hidden_size: int = 128, *, markdown: bool = False, cells: Iterable[AnyCell] | None = None
) -> str:
    """The table of cells as text for people: aligned columns, or Markdown."""
    chosen = rows(input_size, hidden_size, cells)
    return as_markdown(chosen) if markdown else as_columns(chosen)


def stored(cell: AnyCell) -> tuple[str, str]:
    """Two sentences: what a step saves beside the states for the way back, and what the way back computes again."""
    saved, rebuilt = storage(cell.program)
    return (
        f"Saved for the backward step, beside the states: {_listed(saved)}.",
        f"Computed again in the backward step: {_listed(rebuilt)}.",
    )


def describe(cell: AnyCell, *, latex: bool = False) -> str:
    """One cell for a terminal: what it is, its source, its equations as text or LaTeX, what it stores."""
    equations = as_latex(cell.program) if latex else as_text(cell.program)
    head = [f"{cell.name}: {cell.program.doc or 'a cell'}"]
    head += [f"Source: {cell.source}"] if cell.source else []
    return "\n".join([*head, "", equations, "", *stored(cell)])


INTRODUCTION = """\
# Cells

Every built-in cell, printed from its program: `python -m elman.cells.table > docs/cells.md` writes this page, and a
test keeps it current. How to write a cell of your own: [cell-language.md](cell-language.md).

## How to read it

- `x` is the input of a step, `h`, `c`, `y` are states, and a prime marks the new one: `h'` is the state after the step.
  The first state of a cell is its output.
- `W_i·[x, h] + b_i` is one affine map of the stacked vectors: the matrix `weight_i` has a row for each unit of the
  result, and the columns of `x`, then those of `h`. It is the same as `W_ix·x + W_ih·h + b_i`.
- `∘` multiplies unit by unit; `p_i` is a parameter with one weight a unit.
- I is the number of input units, H of hidden units. An output with a size of its own has O units: H, unless you say so.
- *Gates* are the affine maps of the cell; *parameters* counts all its weights at the sizes given.
- What a step *saves* is kept in training for the backward step, beside the states, which are kept in any case; what is
  *computed again* is rebuilt from these without a matrix product.
"""


def section(cell: AnyCell) -> str:
    """The part of the page that is about one cell."""
    program = cell.program
    sizes = ", ".join(f"{state} ({size} units)" for state, size in program.state_sizes().items())
    return "\n".join(
        [
            f"## {cell.name}",
            "",
            program.doc,
            *(["", f"Source: {cell.source}."] if cell.source else []),
            "",
            f"States: {sizes}.",
            "",
            "```text",
            as_text(program),
            "```",
            "",
            "```math",
            as_latex(program),
            "```",
            "",
            *(f"- {sentence}" for sentence in stored(cell)),
        ]
    )


def page() -> str:
    """docs/cells.md."""
    head = f"## Table for I = H = 128\n\n{as_markdown(rows(128, 128), link=True)}\n"
    return "\n".join([INTRODUCTION, head, *(section(cell) + "\n" for cell in CATALOGUE.values())])


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values) if values else "nothing"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # the same bytes on every machine
    sys.stdout.write(page())
