"""Pictures with their captions, and where attention looked for some of the words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elman.errors import DataError
from elman.training.pictures.drawing import new_figure, write_png

WORDS = 5
"""Words of a caption for which it is shown: those with the sharpest weights."""
MOST_LETTERS = 100


class Shown(NamedTuple):
    """What is drawn of one input: a picture (h, w, C) or a clip (T, h, w, C) of bytes, and its caption."""

    image: npt.NDArray[np.uint8]
    caption: str
    tokens: Sequence[str] | None
    """With the end; None where there is no attention."""
    weights: npt.NDArray[Any] | None
    """Of each token over the places (T, h', w') of a picture, or over the frames of a clip."""


def draw_captions(every: Sequence[Shown], out_png: Path) -> None:
    """A row for each input: the picture (of a clip the first frame), then a picture for some of the words of its
    caption, bright where the word looked; of a clip the frame it looked at most. Raises OptionError without matplotlib.
    """
    if not every:
        raise DataError("there are no pictures to draw")
    wide = 1 + (0 if every[0].weights is None else WORDS)
    figure = new_figure(max(4.0, 1.7 * wide), 2.2 * len(every), dpi=110)
    for part, shown in zip(figure.subfigures(len(every), 1, squeeze=False)[:, 0], every):
        text = shown.caption
        part.suptitle(
            text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…",
            fontsize=10,
            fontweight="bold",
            parse_math=False,
        )
        row = part.subplots(1, wide, squeeze=False)[0]
        for axes in row:
            axes.set_axis_off()
        clip = shown.image.ndim == 4
        _image(row[0], shown.image[0] if clip else shown.image)
        if shown.tokens is None or shown.weights is None:
            continue
        for axes, t in zip(row[1:], _sharpest(shown.weights[:-1])):
            weights, name = shown.weights[t], shown.tokens[t]
            if clip:
                frame = int(weights.argmax())
                _image(axes, shown.image[frame])
                name = f"{name}: frame {frame + 1}, {weights[frame]:.2f}"
            else:
                _image(axes, shown.image, weights)
            axes.set_title(name, fontsize=9, parse_math=False)
    write_png(figure, out_png)


def _sharpest(weights: npt.NDArray[Any]) -> list[int]:
    """The tokens with the highest weights on one place, in the order of the caption."""
    peaks = weights.max(tuple(range(1, weights.ndim)), initial=0)  # of no tokens, too: the end may come first
    return sorted(np.argsort(-peaks, kind="stable")[:WORDS].tolist())


def _image(axes: Any, image: npt.NDArray[np.uint8], weights: npt.NDArray[Any] | None = None) -> None:
    """A picture; with weights (h', w') light on it: of their square roots, so that weak ones are seen, too."""
    height, width = image.shape[:2]
    colours = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    axes.imshow(colours, extent=(0, width, height, 0), interpolation="nearest")
    if weights is None:
        return
    light = np.zeros((*weights.shape, 4))
    light[..., :3] = (1.0, 0.85, 0.3)
    light[..., 3] = 0.8 * np.sqrt(weights)
    axes.imshow(light, extent=(0, width, height, 0), interpolation="bilinear")
