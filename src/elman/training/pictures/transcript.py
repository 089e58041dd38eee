"""A sound and what a transcriber hears in it, as a picture: the mel bands over time, below them the likely tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elman.training.pictures.drawing import new_figure, write_png

COLORS = ("#4477aa", "#cc3311", "#228833", "#aa3377", "#b8860b", "#117777", "#882255", "#555555")
SEEN = 0.2
"""A token that is never likelier than this is not drawn."""
DECIBELS = 60
"""What is so much below the loudest is as dark as silence."""


def transcript_picture(
    bands: npt.NDArray[np.floating],
    heard: npt.NDArray[np.floating],
    tokens: Sequence[str],
    hop: float,
    hertz: npt.NDArray[np.floating],
    text: str,
    out_png: Path,
) -> None:
    """Draw log-mel bands (T, mels), `hop` seconds a frame, at `hertz` (mels,), above probabilities (steps, 1 + V) of
    the tokens, the blank first. Raises OptionError where matplotlib is missing."""
    seconds = len(bands) * hop
    figure = new_figure(min(24.0, max(7.0, 4 * seconds)), 5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    loudness = bands.T * (10 / np.log(10))  # decibels
    upper.imshow(
        loudness, origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
        extent=(0, seconds, -0.5, len(hertz) - 0.5), vmin=loudness.max() - DECIBELS, vmax=loudness.max(),
    )  # fmt: skip
    rows = np.linspace(0, len(hertz) - 1, min(6, len(hertz))).round().astype(int)
    upper.set_yticks(rows, [f"{hertz[row]:,.0f}" for row in rows])
    upper.set_ylabel("Hz (mel scale)")
    upper.set_title(text if len(text) <= 100 else text[:99] + "…", loc="left", fontweight="bold", parse_math=False)
    times = (np.arange(len(heard)) + 0.5) * (seconds / len(heard))
    lower.fill_between(times, heard[:, 0], color="#dddddd", step="mid", label="blank", linewidth=0)
    shown = [v for v in range(1, heard.shape[1]) if heard[:, v].max() >= SEEN]
    for place, v in enumerate(shown):
        color = COLORS[place % len(COLORS)]
        lower.plot(times, heard[:, v], color=color, linewidth=1.4)
        best = heard.argmax(1) == v
        for first in np.flatnonzero(best & ~np.concatenate([[False], best[:-1]])):
            run = first + int(np.argmin(np.append(best[first:], False)))
            peak = first + int(heard[first:run, v].argmax())
            lower.annotate(
                "␣" if tokens[v] == " " else tokens[v], (times[peak], heard[peak, v]), xytext=(0, 3),
                textcoords="offset points", ha="center", color=color, fontweight="bold", parse_math=False,
            )  # fmt: skip
    lower.set_ylim(0, 1.18)
    lower.set_xlim(0, seconds)
    lower.set_ylabel("probability")
    lower.set_xlabel("seconds")
    lower.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, borderpad=0.1)
    write_png(figure, out_png)
