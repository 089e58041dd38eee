"""Forecasts as a picture: of a few series the history, the forecast, its intervals, and what came, where known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError
from elman.training.pictures.drawing import new_figure, write_png

Array = NDArray[Any]
PAST, FORECAST, ACTUAL = "#444444", "#4477aa", "#cc3311"
MOST = 6
"""Panels in a picture."""


@dataclass(frozen=True)
class Panel:
    """One series: `at` (T + H) are times or step numbers, of which the last H are forecast."""

    title: str
    at: Array
    past: Array
    """(T)"""
    forecast: Array
    """(H)"""
    intervals: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    """(low, high) by percent."""
    actual: Array | None = None
    """(H), NaN where it is not known."""


def forecast_picture(panels: Sequence[Panel], out_png: Path) -> None:
    """Draw the first MOST panels. DataError where there are none, OptionError without matplotlib."""
    if not panels:
        raise DataError("there are no forecasts to draw")
    shown = panels[:MOST]
    columns = 1 if len(shown) == 1 else 2
    rows = -(-len(shown) // columns)
    figure = new_figure(8 if columns == 1 else 12, 0.6 + 3.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, shown):
        _draw(axes, panel)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    write_png(figure, out_png)


def _draw(axes: Any, panel: Panel) -> None:
    count = len(panel.past)
    ahead = panel.at[count:]
    for shade, percent in zip((0.18, 0.3, 0.4), sorted(panel.intervals, reverse=True)):
        low, high = panel.intervals[percent]
        axes.fill_between(ahead, low, high, color=FORECAST, alpha=shade, linewidth=0, label=f"{percent} % interval")
    axes.plot(panel.at[:count], panel.past, color=PAST, linewidth=1.1, label="history")
    if panel.actual is not None and not np.isnan(panel.actual).all():
        joined = np.concatenate([panel.past[-1:], panel.actual])
        axes.plot(panel.at[count - 1 :], joined, color=ACTUAL, linewidth=1.1, label="what came")
    dots = {"marker": "o", "markersize": 4} if len(ahead) < 3 else {}
    axes.plot(ahead, panel.forecast, color=FORECAST, linewidth=1.6, label="forecast", **dots)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(alpha=0.25)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=8)
    if panel.at.dtype.kind == "M":
        from matplotlib import dates as untyped

        dates: Any = untyped

        locator = dates.AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
