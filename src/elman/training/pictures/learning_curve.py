"""The learning curve as a picture: losses and validation figures over the steps, the gradient's norm below."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from elman.errors import DataError, OptionError
from elman.training.log import read_log
from elman.training.metrics import bits, in_nats
from elman.training.pictures.drawing import new_figure, write_png
from elman.training.progress import singular

TRAINING, VALIDATION, GRADIENT = "#4477aa", "#cc3311", "#777777"
ERRORS = ("mse", "mae", "rmse", "mase", "smape", "pinball")
OTHERS = ("#228833", "#aa3377", "#ccaa22", "#66ccee", "#994f00")
ACROSS = 4
"""Names beside each other in the legend: more would run into the title."""


def learning_curve(log_path: Path, out_png: Path, *, note: Callable[[str], None] | None = None) -> bool:
    """Draw the log at `log_path` into `out_png`; False, and one line to `note` (stderr), where matplotlib is missing.

    Raises DataError where the log cannot be read, is damaged or holds no lines.
    """
    lines = read_log(log_path)
    if not lines:
        raise DataError(f"the log {log_path} holds no lines to draw")
    try:
        figure = new_figure(8, 6)
    except OptionError:
        text = "no learning curve was drawn: matplotlib is missing (pip install 'elman[report]')"
        (note or (lambda line: print(line, file=sys.stderr)))(text)
        return False
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    unit = lines[-1].get("unit")
    _draw_losses(upper, lines, singular(unit) if isinstance(unit, str) else "unit")
    _draw_gradient(lower, lines)
    write_png(figure, out_png)
    return True


def _draw_losses(axes: Any, lines: list[dict[str, Any]], unit: str) -> None:
    nats = in_nats(unit)
    steps, losses = _series(lines, "loss")
    if steps:
        axes.plot(steps, losses, color=TRAINING, linewidth=1.4, label="training loss", **_mark(steps))
    figures = [
        {"step": line["step"], **line["validation"]} for line in lines if isinstance(line.get("validation"), dict)
    ]
    steps, losses = _series(figures, "loss")
    if steps:
        axes.plot(steps, losses, color=VALIDATION, linewidth=1.4, marker="o", markersize=3, label="validation loss")
        best = min(range(len(steps)), key=losses.__getitem__)
        late = steps[best] > 0.8 * steps[-1]  # the text then stands to the left, clear of the right-hand axis
        found = f"{losses[best]:.3f} nats\n= {bits(losses[best]):.3f} bits" if nats else f"{losses[best]:.3g}"
        axes.annotate(
            f"lowest: {found}", (steps[best], losses[best]), xytext=(0, 26), textcoords="offset points",
            ha="right" if late else "center", fontsize=8,
            color=VALIDATION, arrowprops={"arrowstyle": "-", "color": VALIDATION, "linewidth": 0.7},
            bbox={"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip
    axes.set_ylabel(f"loss (nats per {unit})" if nats else f"loss per {unit}")
    axes.set_title("Learning curve", loc="left", fontweight="bold")
    axes.grid(alpha=0.25)
    axes.margins(y=0.12)
    if not nats and axes.lines and axes.dataLim.y0 > 0 and axes.dataLim.y1 > 30 * axes.dataLim.y0:
        axes.set_yscale("log")  # an error of numbers falls by orders of magnitude
    handles, labels = axes.get_legend_handles_labels()
    shares = _share_names(figures)
    if shares:
        right = axes.twinx()
        right.set_ylim(0, 1.02)
        right.set_ylabel("validation figures (0 to 1)")
        for name, color in zip(shares, cycle(OTHERS)):
            steps, values = _series(figures, name)
            right.plot(
                steps,
                values,
                color=color,
                linestyle="--",
                linewidth=1.2,
                marker="s",
                markersize=2.5,
                label=name.replace("_", " "),
            )
        handles, labels = handles + right.get_legend_handles_labels()[0], labels + right.get_legend_handles_labels()[1]
    elif nats:
        right = axes.secondary_yaxis("right", functions=(bits, lambda value: value / bits(1.0)))
        right.set_ylabel(f"bits per {unit}")
    axes.legend(  # above: inside it would lie on one of the curves
        handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=min(len(labels), ACROSS), frameon=False,
        fontsize=8, borderpad=0.1, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip


def _draw_gradient(axes: Any, lines: list[dict[str, Any]]) -> None:
    steps, norms = _series(lines, "gradient_norm", positive=True)
    if steps:
        axes.plot(steps, norms, color=GRADIENT, linewidth=1.2, label="mean", **_mark(steps))
    steps, norms = _series(lines, "gradient_norm_max", positive=True)
    if steps:
        axes.plot(steps, norms, color=GRADIENT, linewidth=0.7, linestyle=":", label="largest")
    if axes.lines:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 50 * low:  # within a decade or so: 0.5 and 2 beside the powers of ten
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="best")
    axes.set_ylabel("gradient norm\n(before clipping)")
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)


def _series(lines: list[dict[str, Any]], name: str, positive: bool = False) -> tuple[list[int], list[float]]:
    found = [(line["step"], line.get(name)) for line in lines]
    good = [
        (s, float(v))
        for s, v in found
        if isinstance(v, int | float) and not isinstance(v, bool) and (v > 0 or not positive)
    ]
    return [s for s, _ in good], [v for _, v in good]


def _share_names(figures: list[dict[str, Any]]) -> list[str]:
    """The figures that lie between 0 and 1 throughout, such as accuracy and F1, but for errors of numbers."""
    names = dict.fromkeys(name for line in figures for name in line if name not in ("step", "loss", *ERRORS))
    series = {name: _series(figures, name)[1] for name in names}
    return [name for name, values in series.items() if values and all(0 <= v <= 1 for v in values)]


def _mark(steps: list[int]) -> dict[str, Any]:
    """A lone point is only seen with a marker."""
    return {"marker": "o", "markersize": 3} if len(steps) < 3 else {}
