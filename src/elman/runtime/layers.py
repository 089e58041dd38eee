"""A file's recurrent layers, step by step: compiled, or interpreted in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from elman.engine.step import Interpreted, Step, compiled
from elman.runtime.claims import Array, Floats, layer_weights
from elman.runtime.document import Layer


class Running(NamedTuple):
    """One layer in one direction, with its state."""

    step: Step | Interpreted
    residual: bool

    @classmethod
    def of(cls, layer: Layer, tensors: Mapping[str, Array], name: tuple[str, int, str], threads: int | None) -> Running:
        """name: the network, the layer's place in it, the direction."""
        sizes = (layer.input_size, layer.hidden_size, layer.output_size)
        weights = layer_weights(tensors, *name)
        step = compiled(layer.cell, weights, sizes, threads)
        return cls(step or Interpreted(layer.cell, weights, sizes), layer.residual)

    def reset(self) -> None:
        """Back to before the first step."""
        for state in self.step.states:
            state[:] = 0


class Stack:
    """Layers above each other, bound to arrays for some steps: `x` (T, I) is theirs to be filled."""

    def __init__(self, layers: Sequence[Running], steps: int, *, last_residual: bool) -> None:
        self.x = self.out = np.zeros((steps, layers[0].step.sizes[0]), np.float32)
        self._calls: list[tuple[Any, Any, Floats | None, Floats]] = []
        for place, (step, residual) in enumerate(layers):
            x, self.out = self.out, np.zeros((steps, step.state_sizes[0]), np.float32)
            adds = residual and (last_residual or place + 1 < len(layers))
            self._calls.append((step.call, step.bind(x, self.out), x if adds else None, self.out))

    def run(self) -> Floats:
        """The steps: from `x` to the outputs (T, units), good until the next call."""
        for call, bound, added, out in self._calls:
            call(bound)
            if added is not None:
                np.add(out, added, out=out)
        return self.out
