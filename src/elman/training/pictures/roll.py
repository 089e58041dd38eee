"""A sequence of sets of labels as a picture: steps from left to right, labels from the bottom up, as a piano roll."""

from __future__ import annotations

import os
from collections.abc import Sequence

from elman.training.pictures.drawing import new_figure, write_png

GIVEN, MADE = "#bbbbbb", "#4477aa"
MOST_STEPS, MOST_NAMES = 4096, 40


def draw_roll(
    steps: Sequence[Sequence[str]], labels: Sequence[str], given: int, title: str, out_png: str | os.PathLike[str]
) -> None:
    """The first `given` steps are grey. Labels outside the range of those used are left out. Raises OptionError
    without matplotlib."""
    shown = steps[:MOST_STEPS]
    places = {label: place for place, label in enumerate(labels)}
    used = [places[label] for step in shown for label in step] or [0]
    low, high = max(0, min(used) - 2), min(len(labels), max(used) + 3)
    figure = new_figure(min(40.0, max(8.0, len(shown) / 16)), 5)
    axes = figure.subplots()
    for colour, first, last in ((GIVEN, 0, given), (MADE, given, len(shown))):
        spots = [(t, places[label]) for t in range(first, min(last, len(shown))) for label in shown[t]]
        axes.bar(
            [t for t, _ in spots], 0.9, width=1.0, bottom=[k - 0.45 for _, k in spots], align="edge", color=colour,
            linewidth=0,
        )  # fmt: skip
    every = max(1, -(-(high - low) // MOST_NAMES))
    if high - low > 14 and all(label.isdecimal() for label in labels):
        ticks = [place for place in range(low, high) if int(labels[place]) % 12 == 0]  # octaves of notes: every C
    else:
        ticks = list(range(low, high, every))
    axes.set_yticks(ticks, [labels[place] for place in ticks])
    axes.set(xlim=(0, max(1, len(shown))), ylim=(low - 0.5, high - 0.5), xlabel="step", ylabel="label", title=title)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if given:
        from matplotlib.patches import Patch

        axes.legend(
            handles=[Patch(color=GIVEN, label="given"), Patch(color=MADE, label="generated")], loc="upper right"
        )
    write_png(figure, out_png)
