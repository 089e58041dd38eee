"""`elman cells`: the built-in cells as a table, or one of them with its equations. Loads no torch."""

from __future__ import annotations

from typing import Any

from elman.cells import named
from elman.cells.table import as_columns, describe, rows
from elman.errors import OptionError


def cells(*arguments: Any) -> None:
    """Print the table of cells, or the one named: equations, source, parameters, what a step saves and rebuilds."""
    *names, chosen = arguments
    name = names[0] if names else None
    inputs, units = chosen.get("input_size", 128), chosen.get("hidden_size", 128)
    if name is None:
        if chosen.get("latex"):
            raise OptionError("--latex is for one cell; name it, for example: elman cells lstm --latex")
        print(as_columns(rows(inputs, units)))
        print(
            f"\nparameters for I = {inputs} input units and H = {units}; `elman cells lstm` shows one cell's equations"
        )
        return
    cell = named(name)
    (row,) = rows(inputs, units, [cell])
    print(describe(cell, latex=bool(chosen.get("latex"))))
    print(f"Parameters for I = {inputs} input units and H = {units}: {row.parameters:,}.")
