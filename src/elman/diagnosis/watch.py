"""What is looked at again and again while a network learns: a small part of a report, in a few steps' time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from elman.diagnosis.figures import Learning
from elman.diagnosis.flow import backward, curve
from elman.diagnosis.memory import memory
from elman.diagnosis.places import evenly
from elman.diagnosis.trace import evaluating, recording
from elman.errors import DataError

SEQUENCES, ENDS, VECTORS = 2, 4, 2
POINTS = 64
"""At most so many steps and lags of each look are logged, in four digits: about a kilobyte a layer."""


class LayerLook(msgspec.Struct):
    """One layer and direction at one look, as it is logged."""

    network: str
    layer: int
    direction: str
    steps: list[int]
    gradient: list[float | None]
    lags: list[int]
    gain: list[float | None]
    memory: int
    rate: float | None


class Look(msgspec.Struct):
    """One look, as it is logged."""

    loss: float | None
    layers: list[LayerLook]


def watch(module: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Any]:
    """The loss on a probe batch, and for each recurrent layer and direction the mean gradient of its output by step,
    its gain by lag, effective memory and the gain's factor per step, as a plain `Look`. {} where no layer recurs.

    In the network's own number type. Draws no number of the global generators, changes nothing.
    """
    with torch.enable_grad(), evaluating(module), recording(module, exact=False) as recordings:
        value = loss()
    recordings = [one for one in recordings if one.calls]
    if not recordings or not value.requires_grad:
        return {}
    _, backwards = backward(value, recordings, weights=False)
    generator = torch.Generator().manual_seed(0)
    layers = []
    for one, of_layers in zip(recordings, backwards):
        for trace, of in zip(one.traces, of_layers):
            running = torch.stack(trace.running)
            rows = running.sum(0).argsort(descending=True, stable=True)[:SEQUENCES]
            there = [place for place, t in enumerate(trace.chain) if running[t, rows].any()]
            found = memory(trace, rows, [there[i] for i in evenly(ENDS, len(there))], VECTORS, generator)
            norms = curve(torch.stack(of.states[0]).norm(dim=-1), running).mean
            steps, lags = evenly(POINTS, len(norms)), _lags(len(found.gain))
            layers.append(
                LayerLook(
                    one.name, trace.layer, trace.part.direction, steps, _brief(norms[steps]), lags,
                    _brief(found.gain[lags]), found.steps, found.rate,
                )
            )  # fmt: skip
    plain: dict[str, Any] = msgspec.to_builtins(Look(value.item(), layers))
    return plain


def _lags(count: int) -> list[int]:
    """Up to POINTS lags below `count`: all where they are few, else the denser the shorter."""
    if count <= POINTS:
        return list(range(count))
    return sorted({0, *np.geomspace(1, count - 1, POINTS - 1).round().astype(int).tolist()})


def _brief(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [float(f"{value:.4g}") for value in values]


def learning(lines: Iterable[Mapping[str, Any]]) -> tuple[Learning, ...]:
    """What the lines of a training's log (`elman.training.log.read_log`) say of each layer and direction; () where
    nothing was looked at. Raises DataError for lines that no training wrote."""
    found: dict[tuple[str, int, str], list[tuple[int, float | None, LayerLook]]] = {}
    for line in lines:
        if "diagnosis" in line:
            try:
                look = msgspec.convert(line["diagnosis"], Look)
            except msgspec.ValidationError as error:
                raise DataError(f"the look at step {line['step']} is none of this elman: {error}") from None
            for one in look.layers:
                found.setdefault((one.network, one.layer, one.direction), []).append((line["step"], look.loss, one))
    return tuple(_learning(looks) for looks in found.values())


def _learning(looks: list[tuple[int, float | None, LayerLook]]) -> Learning:
    at, losses, layers = zip(*looks)
    first = layers[0]
    for step, one in zip(at, layers):
        same = one.steps == first.steps and one.lags == first.lags
        if not same or len(one.gradient) != len(one.steps) or len(one.gain) != len(one.lags):
            raise DataError(f"the look at step {step} is not at the steps and lags of the first one")
    numbers = {name: np.array([getattr(one, name) for one in layers], np.float64) for name in ("gradient", "gain")}
    try:
        return Learning(
            first.network, first.layer, first.direction, np.array(at, np.int64), np.array(losses, np.float64),
            np.array(first.steps, np.int64), numbers["gradient"], np.array(first.lags, np.int64), numbers["gain"],
            np.array([one.memory for one in layers], np.int64), np.array([one.rate for one in layers], np.float64),
        )  # fmt: skip
    except OverflowError:
        raise DataError("a look has a whole number beyond 64 bits, which no training wrote") from None
