"""What is looked at again and again while a network learns: a small part of a report, in a few steps' time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elman.diagnosis.flow import backward, curve
from elman.diagnosis.memory import memory
from elman.diagnosis.places import evenly
from elman.diagnosis.trace import evaluating, recording

SEQUENCES, ENDS, VECTORS = 2, 4, 2


def watch(module: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Any]:
    """The loss on a probe batch, and for each recurrent layer and direction the mean gradient of its output at every
    step, its effective memory and the gain's factor per step, as plain numbers. {} where no layer recurs.

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
            layers.append(
                {
                    "network": one.name,
                    "layer": trace.layer,
                    "direction": trace.part.direction,
                    "gradient": curve(torch.stack(of.states[0]).norm(dim=-1), running).mean.tolist(),
                    "memory": found.steps,
                    "rate": found.rate,
                }
            )
    return {"loss": value.item(), "layers": layers}
