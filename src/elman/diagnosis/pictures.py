"""The charts of reports as PNG files: the page's numbers, a column for each report, the same axes along a row."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from elman.diagnosis import charts
from elman.diagnosis.figures import Learning, Network
from elman.errors import OptionError
from elman.runtime import write_atomically

Drawn: TypeAlias = tuple[Sequence[Network], Sequence[Learning]]
"""What is drawn of a report."""
Cells: TypeAlias = dict[str, Any]
"""What one report has to draw, by the title of its row."""
ROWS, COLUMNS = 24, 8
"""A picture has at most so many: a canvas has a largest size."""
UNITS = 4


def save_pictures(
    reports: Mapping[str, Drawn], folder: str | os.PathLike[str], units: Sequence[int] = ()
) -> list[Path]:
    """Draw everything, then write it into a folder, which is made where it is not there; the files.

    units: those drawn over the data, of the top layer's first state, an LSTM's c (default: the four that vary most).
    Raises OptionError where matplotlib is missing, a unit is not there, or the folder cannot be made.
    """
    need_matplotlib()
    place = Path(folder)
    if place.is_file():
        raise OptionError(f"{place} is a file; name a folder for the pictures")
    found = dict(_pictures(reports, units))
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise OptionError(f"the folder {place} for the pictures cannot be made: {error.strerror}") from None
    for name, png in found.items():
        write_atomically(place / f"{name}.png", png)
    return [place / f"{name}.png" for name in found]


def need_matplotlib() -> None:
    """Raises OptionError where it is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionError("pictures are drawn by matplotlib; install it with: pip install 'elman[report]'")


def _pictures(reports: Mapping[str, Drawn], units: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """(name of the file, PNG) of every chart that has something to draw."""
    networks = [_of_networks(one) for one, _ in reports.values()]
    layers = [_of_layers(one) for one, _ in reports.values()]
    learnt = [{_title(one.network, one.title): one for one in several} for _, several in reports.values()]
    units_drawn = [units_of(one, units) for one, _ in reports.values()]
    for name, cells, draw, size, sharing in (
        ("gradient-flow", networks, charts.flow, (7, 3.6), "all"),
        ("shares-of-steps", layers, charts.shares, (7, 3), "row"),
        ("memory", networks, charts.memory, (7, 3.6), "all"),
        ("sensitivity", networks, charts.sensitivity, (7, 3.6), "none"),
        ("eigenvalues", layers, charts.eigenvalues, (5, 5), "row"),
        ("singular-values", layers, charts.singular_values, (7, 3), "row"),
        ("step-jacobian", layers, charts.step_jacobian, (7, 3), "row"),
        ("lyapunov", networks, charts.lyapunov, (7, 3), "all"),
        ("activity", layers, charts.activity, (7, 3), "row"),
        ("saturation", layers, charts.saturation, (7, 3), "none"),
        ("units", units_drawn, charts.units, (7.6, 1.9), "none"),
        ("learning-gradient", learnt, charts.learning_gradient, (7, 3), "none"),
        ("learning-gain", learnt, charts.learning_gain, (7, 3), "none"),
        ("learning-memory", learnt, charts.learning_memory, (7, 3), "row"),
    ):
        if any(cells):
            yield name, _png(list(reports), cells, draw, size, sharing)


def _title(network: str, text: str) -> str:
    return f"{network}, {text}" if network else text


def _of_networks(networks: Sequence[Network]) -> Cells:
    return {one.name: one for one in networks}


def _of_layers(networks: Sequence[Network]) -> Cells:
    return {_title(one.name, layer.title): layer for one in networks for layer in one.layers}


def units_of(networks: Sequence[Network], wanted: Sequence[int] = ()) -> Cells:
    """The chosen units of the first state in the top layer of each network."""
    found: Cells = {}
    for network in networks:
        layer = max(network.layers, key=lambda one: one.number)
        state = next(one for one in layer.activity if one.state)
        if not state.values.shape[1]:
            continue
        wrong = [unit for unit in wanted if not 0 <= unit < len(state.mean)]
        if wrong:
            raise OptionError(f"there is no unit {wrong[0]} in {layer.title}: it has 0 to {len(state.mean) - 1}")
        varying = np.argsort(-np.nan_to_num(state.variance), kind="stable")[:UNITS]
        for place, unit in enumerate(wanted or varying.tolist()):
            key = _title(network.name, f"unit {unit}" if wanted else f"unit {place}")
            found[key] = charts.Unit(
                f"{state.name}, {layer.title}, unit {unit}",
                network.symbols[0] if network.symbols else (),
                state.values[:, 0, unit].astype(np.float64),
            )
    return found


def _png(
    names: Sequence[str],
    cells: Sequence[Cells],
    draw: Callable[[Any, Any], None],
    size: tuple[float, float],
    share: Any,
) -> bytes:
    """A grid of one chart: a column for each report, a row for each title that any of them has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles, shown = list(dict.fromkeys(key for one in cells for key in one))[:ROWS], cells[:COLUMNS]
    figure = Figure((size[0] * len(shown), size[1] * len(titles) + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(titles), len(shown), squeeze=False, sharex=share, sharey=share)
    for row, title in zip(grid, titles):
        for axes, name, own in zip(row, names, shown):
            if title not in own:
                axes.set_visible(False)
                continue
            # Each model has units of its own.
            about = own[title].title if isinstance(own[title], charts.Unit) else title
            axes.set_title(": ".join(filter(None, (name, about))), loc="left", fontsize=10, parse_math=False)
            axes.grid(alpha=0.25)
            axes.tick_params(labelbottom=True, labelleft=True, labelsize=8)
            draw(axes, own[title])
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        figure.savefig(out, format="png")
    return out.getvalue()
