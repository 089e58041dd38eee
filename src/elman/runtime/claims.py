"""What a model file claims about the rest of a model, checked by those who read it: `load` has checked its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.errors import ModelFileError
from elman.runtime.document import Document, short

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def weight(tensors: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Floats:
    """The weight of this name, when it has this shape and finite numbers."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape or tensor.dtype.kind != "f":
        raise ModelFileError(f"the weight {name!r} is missing, or not one of the shape {shape} and a floating type")
    with np.errstate(over="ignore"):
        found: Floats = tensor.astype(np.float32, copy=False)
    if not np.isfinite(found).all():
        raise ModelFileError(f"the weight {name!r} holds numbers that float32 cannot hold")
    return found


def layer_weights(tensors: Mapping[str, Array], network: str, place: int, direction: str) -> dict[str, Floats]:
    """The weights of one layer in one direction, by the cell's names."""
    start = f"{network}.layers.{place}.{direction}_"
    return {
        name.removeprefix(start): weight(tensors, name, tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def tokens(document: Document, name: str) -> list[str]:
    """The tokens of a vocabulary: texts, each once."""
    found = document.vocabularies.get(name, {}).get("tokens")
    if not isinstance(found, list) or not found or not all(isinstance(token, str) for token in found):
        raise ModelFileError(f"the vocabulary {name!r} is missing, or no list of texts")
    if len(set(found)) != len(found):
        raise ModelFileError(f"the vocabulary {name!r} holds a token twice")
    return found


def unknown(document: Document, name: str) -> str | None:
    """The token of a vocabulary that stands for all others, if it has one."""
    found = document.vocabularies.get(name, {}).get("unknown")
    return found if isinstance(found, str) else None


def level(document: Document) -> str:
    """How the model reads: char, word, space, subword, series or sets."""
    if document.task in ("tag", "label-sets"):
        return "word" if document.task == "tag" else "sets"
    own = document.task == "language-model"
    found = (document.options if own else document.vocabularies.get("level", {})).get("level")
    also = "subword" if own else "series" if document.task in ("classify", "regress") else None
    if found not in ("char", "word", "space", also):
        raise ModelFileError(f"the level of its tokens is not known: {short(found)}")
    return str(found)


def scaling(document: Document, channels: int) -> tuple[Floats, Floats]:
    """(mean, scale) of each channel (I,)."""
    with np.errstate(over="ignore"):
        mean, scale = (np.array(document.scaling.get(name, ()), np.float32) for name in ("mean", "scale"))
    if mean.shape != (channels,) or scale.shape != (channels,):
        raise ModelFileError(f"the scaling must have a mean and a scale for each of the {channels} channels")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelFileError("the scaling must have means and scales that float32 can hold, and scales above 0")
    return mean, scale


def numbers(document: Document) -> tuple[float, float]:
    """(mean, scale) of a regressor's numbers."""
    found = document.vocabularies.get("numbers", {})
    mean, scale = found.get("mean"), found.get("scale")
    largest = float(np.finfo(np.float32).max)
    if type(mean) is not float or type(scale) is not float or not (abs(mean) <= largest and 0 < scale <= largest):
        raise ModelFileError("the numbers must have a mean, and a scale above 0, that float32 can hold")
    return mean, scale


def pooling(document: Document, level: str) -> str:
    """How the steps of a classifier or regressor become one: last, mean, sum or max."""
    chosen = document.options.get("pooling")
    if chosen == "auto":
        return "max" if level in ("word", "space") else "last"
    if chosen == "attention":
        raise ModelFileError("attention pooling is not streamed yet; train with --pooling last, mean, sum or max")
    if chosen not in ("last", "mean", "sum", "max"):
        raise ModelFileError(f"the pooling is not known: {short(chosen)}")
    return str(chosen)
