"""Activity: gates, states and other values over the data; saturation, dead units, the slopes actually seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elman.diagnosis.figures import Activity
from elman.diagnosis.names import ACTIVATIONS, keeping_end, named_values
from elman.diagnosis.trace import Trace

NEAR, DEAD = 0.05, 1e-6
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "relu": 1.0}


def activity(trace: Trace, rows: Tensor) -> tuple[Activity, ...]:
    """Every named value of the cell. rows: the sequences whose values are kept."""
    program = trace.part.program
    running = torch.stack(trace.running)  # (T, B)
    states = {place for _, place in program.outputs}
    found = []
    for name, position in named_values(program).items():
        values = torch.stack([step[position] for step in trace.values]).detach()
        op = program.nodes[position].op
        kind = op if op in ACTIVATIONS else ""
        data = values[running].double()  # (places, H)
        low, high, slope = _ends(kind, data)
        variance = data.var(0, correction=0)
        shown = values[:, rows].masked_fill(~running[:, rows, None], torch.nan)
        found.append(
            Activity(
                name,
                kind,
                position in states,
                _array(data.mean(0)),
                _array(variance),
                _array(low),
                _array(high),
                _array(slope),
                STEEPEST.get(kind, np.nan),
                np.flatnonzero(_array(variance) < DEAD),
                keeping_end(program, position),
                shown.float().cpu().numpy(),
            )
        )
    return tuple(found)


def _ends(kind: str, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(share near the lower end, near the upper end, mean derivative) of each unit, from the function's values."""
    none = torch.full_like(y[0], torch.nan)
    if kind == "sigmoid":
        low, high, slope = y < NEAR, y > 1 - NEAR, y * (1 - y)
    elif kind == "tanh":
        low, high, slope = y < NEAR - 1, y > 1 - NEAR, 1 - y * y
    elif kind == "relu":
        low, high, slope = y <= 0, y == torch.inf, (y > 0).to(y.dtype)
    else:
        return none, none, none
    return low.double().mean(0), high.double().mean(0), slope.mean(0)


def _array(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return values.double().cpu().numpy()
