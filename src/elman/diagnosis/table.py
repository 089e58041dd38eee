"""The table of a comparison: a column for each report, a row for each figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from elman.diagnosis.figures import Layer, Learning
from elman.diagnosis.report import Report, row

NONE = "–"
FIGURES = (
    "cell", "gradient at the first step", "at the last step", "memory, steps", "gain's factor a step",
    "radius of the step Jacobian", "Lyapunov exponent", "saturated", "dead units",
)  # fmt: skip
"""What `row` gives of a layer, after its name."""


def side_by_side(reports: Mapping[str, Report]) -> list[tuple[str, ...]]:
    """The names, then a label and a cell for each report in every row. Layers of the same network, number and direction
    stand beside each other."""
    every = list(reports.values())
    rows: list[tuple[str, ...]] = [("", *reports)]

    def add(label: str, cells: Iterable[str], *, always: bool = False) -> None:
        cells = [cell or NONE for cell in cells]
        if always or set(cells) != {NONE}:
            rows.append((label, *cells))

    add("model", (one.model for one in every))
    add("loss", (f"{one.loss:.4g}" for one in every))
    add("gradient norm", (f"{one.gradient_norm:.3g}" for one in every))
    add("the training", (_rules(one, "the training") for one in every))
    for name in dict.fromkeys(network.name for one in every for network in one.networks):
        own = [next((n for n in one.networks if n.name == name), None) for one in every]
        add(name or "network", ("" if n is None else f"{len(n.lengths)} x {n.lengths.max()} steps" for n in own))
        add("  the output sees back", ("" if n is None else f"{n.sensitivity.span} steps" for n in own))
    layers = [
        {(n.name, one.number, one.direction): one for n in report.networks for one in n.layers} for report in every
    ]
    learnt = [{(one.network, one.number, one.direction): one for one in report.learning} for report in every]
    keys = dict.fromkeys([*(key for one in layers for key in one), *(key for one in learnt for key in one)])
    names = list(dict.fromkeys(name for name, _, _ in keys))
    for key in sorted(keys, key=lambda one: (names.index(one[0]), one[1])):
        name, number, direction = key
        where = f"{name + ', ' if name else ''}layer {number} ({direction})"
        add(where, (_rules(one, where) for one in every), always=True)
        cells = [_figures(one.get(key)) for one in layers]
        for k, label in enumerate(FIGURES):
            add(f"  {label}", (column[k] for column in cells))
        add("  memory while it learned", (_learnt(one.get(key)) for one in learnt))
    return rows


def _figures(layer: Layer | None) -> Sequence[str]:
    if layer is None:
        return ("",) * len(FIGURES)
    _, cell, *rest = row(layer)
    return (f"{cell} {layer.units}", *rest)


def _rules(report: Report, where: str) -> str:
    """The rules that spoke there."""
    return ", ".join(dict.fromkeys(v.rule for v in report.verdicts if v.where == where))


def _learnt(one: Learning | None) -> str:
    if one is None:
        return ""
    return f"{one.memory[0]} → {one.memory[-1]}" if len(one.memory) > 1 else f"{one.memory[0]}"
