"""What a captioner reads: vectors, grids or sequences of features, pictures and clips, checked and as arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman.data.images import read_image
from elman.data.table import Table
from elman.errors import DataError, ElmanError
from elman.models.inputs import MAX_STEPS, check_steps, place

AXES = {"vector": (1,), "grid": (2, 3), "frames": (2,), "image": (3,), "clip": (4,)}
"""The kinds of input, and how many axes an array of each has."""
SHAPES = {"vector": "(I,)", "grid": "(P, I) or (h, w, I)", "frames": "(T, I)", "image": "(h, w, 3)",
          "clip": "(T, h, w, 3)"}  # fmt: skip
RAGGED = ("frames", "clip")
"""Kinds whose first axis is time and may differ."""
CHANNELS = (1, 3)


@dataclass(frozen=True)
class View:
    """What a model reads: the kind, and the shape of an input, without the steps of frames and clips."""

    kind: str
    shape: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """The grid of a grid of features (h, w) or (P,)."""
        return self.shape[:-1]

    @property
    def drawn(self) -> bool:
        """Whether it is pictures that are read, not features."""
        return self.kind in ("image", "clip")

    def check(self) -> None:
        """DataError for what no input can be (a claim of a model file)."""
        axes = AXES.get(self.kind, ())
        wanted = {n - (self.kind in RAGGED) for n in axes}
        if len(self.shape) not in wanted or not all(type(n) is int and 0 < n <= MAX_STEPS for n in self.shape):
            raise DataError("the kind or the shape of the inputs is not known")
        if self.drawn and self.shape[-1] not in CHANNELS:
            raise DataError("pictures have 1 or 3 channels")


def arrays(entries: Sequence[Any], where: Table | str) -> list[np.ndarray]:
    """Every entry, an array, nested lists or the path of a picture, as an array of finite numbers."""
    result = []
    for i, entry in enumerate(entries):
        try:
            result.append(_array(entry))
        except ElmanError as error:
            raise DataError(f"{place(where, i)}: {error}") from None
    return result


def _array(entry: Any) -> np.ndarray:
    if isinstance(entry, str | os.PathLike):
        return read_image(entry)
    try:
        array = np.asarray(entry)
    except (ValueError, TypeError, RecursionError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise DataError(f"expected an array of numbers or the path of a picture, not {type(entry).__name__}")
    if not array.size:
        raise DataError("the array is empty")
    if array.dtype == np.uint8:  # a picture's, which are four times as large as floats
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError("the array holds NaN or infinite numbers; fill or remove them first")
    return array


def find_view(found: Sequence[np.ndarray], reads: str) -> View:
    """What a model that learns from these reads."""
    first = found[0]
    kind = reads if reads != "auto" else _kind(found)
    if first.ndim not in AXES[kind]:
        raise DataError(
            f"the first input has the shape {first.shape}, but --reads {kind} takes {SHAPES[kind]}; choose another"
        )
    view = View(kind, first.shape[1:] if kind in RAGGED else first.shape)
    if view.drawn and view.shape[-1] not in CHANNELS:
        raise DataError(f"the first input has {view.shape[-1]} channels, but pictures have 1 or 3 (their last axis)")
    return view


def _kind(found: Sequence[np.ndarray]) -> str:
    """By the shape: bytes with 1 or 3 channels are pictures; (n, I) are a grid where all have the same n."""
    first = found[0]
    bytes_of_pictures = first.dtype == np.uint8 and first.shape[-1] in CHANNELS
    if first.ndim == 1:
        return "vector"
    if first.ndim == 2:
        return "grid" if len({len(one) for one in found}) == 1 else "frames"
    if first.ndim == 3:
        return "image" if bytes_of_pictures else "grid"
    if first.ndim == 4 and bytes_of_pictures:
        return "clip"
    raise DataError(
        f"the first input has the shape {first.shape} of {first.dtype}, which is none of "
        f"{', '.join(f'{kind} {shape}' for kind, shape in SHAPES.items())}; pictures and clips are uint8"
    )


def fitted(found: Sequence[np.ndarray], view: View, where: Table | str) -> list[np.ndarray]:
    """The same inputs; DataError for one of another shape than the model's."""
    ragged = view.kind in RAGGED
    for i, one in enumerate(found):
        if one.ndim != len(view.shape) + ragged or one.shape[ragged:] != view.shape:
            shown = f"(T, {', '.join(map(str, view.shape))})" if ragged else str(view.shape)
            raise DataError(
                f"{place(where, i)}: the shape is {one.shape}, but the model reads {shown}; bring it to that"
            )
        if view.drawn and one.dtype != np.uint8:
            raise DataError(f"{place(where, i)}: pictures are bytes from 0 to 255 (uint8), not {one.dtype}")
    if ragged:
        check_steps([len(one) for one in found], where)
    return list(found) if view.drawn else [one.astype(np.float32, copy=False) for one in found]
