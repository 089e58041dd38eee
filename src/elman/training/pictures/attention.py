"""Attention as a picture: which parts of the source each token of the output looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.errors import DataError
from elman.training.pictures.drawing import new_figure, write_png

MOST = 120
"""Tokens of a side that can still be told apart."""
SHOWN = {" ": "␣", "</s>": "end"}


def draw_attention(source: Sequence[str], target: Sequence[str], weights: npt.NDArray[Any], out_png: Path) -> None:
    """Weights (T, S), a row for each target token, as shades of blue; numbers in them where there is room.

    Raises OptionError where matplotlib is missing, DataError for what cannot be drawn.
    """
    if weights.shape != (len(target), len(source)) or not weights.size:
        raise DataError(f"weights of shape {weights.shape} are not those of {len(target)} by {len(source)} tokens")
    if max(weights.shape) > MOST:
        raise DataError(f"a picture of {len(target)} by {len(source)} tokens cannot be read; at most {MOST} are drawn")
    size = [1.8 + 0.42 * n for n in (len(source), len(target))]
    figure = new_figure(max(4.5, size[0]), max(2.5, size[1]))
    axes = figure.subplots()
    shown = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [[SHOWN.get(token, token) for token in tokens] for tokens in (source, target)]
    letters = all(len(token) == 1 for token in source[:-1])
    turned: dict[str, Any] = {} if letters else {"rotation": 45, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(source)), names[0], parse_math=False, **turned)
    axes.set_yticks(range(len(target)), names[1], parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.set_xlabel("source")
    axes.set_ylabel("output, from top to bottom")
    axes.set_xticks(np.arange(len(source) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(target) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if weights.size <= 400:
        for t, s in np.argwhere(weights >= 0.095).tolist():
            dark = weights[t, s] > 0.55
            text = f"{weights[t, s]:.1f}".removeprefix("0") if weights[t, s] < 0.95 else "1"
            axes.text(s, t, text, ha="center", va="center", fontsize=7, color="white" if dark else "#333333")
    figure.colorbar(shown, ax=axes, label="weight", shrink=min(1.0, 4 / size[1]), aspect=15)
    write_png(figure, out_png)
