"""What is measured: a layer of one cell over one batch, its numbers, and the true result in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from elman import cells
from elman.bench import work
from elman.nn import Recurrent
from elman.nn.fused import Fused, fused_for

Arrays = dict[str, npt.NDArray[Any]]
TOLERANCE = 5e-5
"""Of float32 beside float64, relative to the largest number of an array. Rounding costs up to 7e-6: elman, torch and
jax on LSTM, GRU and RNN of (T, B, I, H) = (784, 32, 1, 128) and (1000, 8, 32, 256), outputs and gradients."""


@dataclass(frozen=True)
class Rival:
    """One way to compute a task: `run` is what is timed, `arrays` what it gave, under the names of `Task.arrays`."""

    run: Callable[[], Any]
    arrays: Callable[[Any], Arrays]


@dataclass(frozen=True)
class Task:
    """A layer of `cell` over x (T, B, I) with H units: a forward pass without gradients, or with `train` a forward and
    a backward pass with the gradients of x and of all weights."""

    cell: cells.Cell | cells.TracedCell
    steps: int
    batch: int
    inputs: int
    hidden: int
    train: bool

    @property
    def shape(self) -> str:
        """T,B,I,H"""
        return f"{self.steps},{self.batch},{self.inputs},{self.hidden}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.cell.name} {self.shape} {'training' if self.train else 'inference'}"

    @property
    def flops(self) -> int:
        """Operations of a pass (see `elman.bench.work.flops`)."""
        return work.flops(self.cell.program, self.steps, self.batch, self.inputs, self.hidden, train=self.train)

    @cached_property
    def fused(self) -> Fused | None:
        """How torch's weights hold the cell's, for the cells that torch has."""
        fused = fused_for(self.cell.program)
        return None if fused is None or fused.projected else fused

    def tensors(self) -> tuple[Tensor, Tensor]:
        """x (T, B, I) and the gradient of the loss with respect to the output (T, B, H), always the same."""
        draw = torch.Generator().manual_seed(1)
        x, grad = (torch.randn(self.steps, self.batch, n, generator=draw) for n in (self.inputs, self.hidden))
        return x, grad

    def layer(self, backend: str = "auto") -> Recurrent:
        """elman's layer, its weights always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            layer = Recurrent(self.cell, self.inputs, self.hidden, backend=backend)
            for name, weight in layer.named_parameters():
                if "bias" in name:  # a new layer's are 0 and would hide a mistake
                    nn.init.uniform_(weight, -0.1, 0.1)
        return layer

    def torch_weights(self) -> list[Tensor]:
        """[weight_ih, weight_hh, bias_ih, bias_hh] of the same layer."""
        assert self.fused is not None
        (part,) = self.layer().parts()
        return [weight.detach().contiguous() for weight in self.fused.to_torch(part.weights, self.inputs)]

    def rival(self, layer: nn.Module, convert: Callable[[list[Tensor]], list[Tensor]] = list) -> Rival:
        """A module of torch as a rival; `convert` brings the gradients of its parameters into the order of `names`."""
        x, grad = (t.to(next(layer.parameters()).dtype) for t in self.tensors())
        inputs = [x.requires_grad_(self.train), *layer.parameters()]

        def train() -> list[Tensor]:
            output: Tensor = layer(x)[0]
            return [output, *torch.autograd.grad(output, inputs, grad)]

        def infer() -> list[Tensor]:
            with torch.inference_mode():
                return [layer(x)[0]]

        def arrays(made: list[Tensor]) -> Arrays:
            tensors = [*made[:2], *convert(made[2:])]
            return {name: t.detach().numpy() for name, t in zip(self.names(), tensors)}

        return Rival(train if self.train else infer, arrays)

    def own_rival(self, layer: Recurrent) -> Rival:
        """A layer of `layer()`; gradients as torch names them where torch has the cell."""
        (part,) = layer.parts()
        names = list(part.weights)  # in the order of its parameters

        def convert(grads: list[Tensor]) -> list[Tensor]:
            if not grads or self.fused is None:
                return grads
            found = dict(zip(names, grads))
            # torch has two biases for a sum: each has the gradient of ours
            bias_hh = torch.cat([found[f"bias_{name}"] for name in self.fused.from_state])
            return [*self.fused.to_torch(found, self.inputs)[:3], bias_hh]

        return self.rival(layer, convert)

    def names(self) -> list[str]:
        """Of the arrays of a result."""
        weights = list(self.cell.program.parameter_shapes(self.inputs, self.hidden))
        if self.fused is not None:
            weights = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        return ["output", *(f"gradient of {name}" for name in ["x", *weights])]


@lru_cache(maxsize=2)
def truth(task: Task) -> Arrays:
    """The result in float64, by the reference."""
    rival = task.own_rival(task.layer("reference").double())
    return rival.arrays(rival.run())


def disagreement(task: Task, rival: Rival) -> str:
    """How the result of a rival differs from the truth by more than rounding; empty where it does not."""
    true, made = truth(task), rival.arrays(rival.run())
    if made.keys() != true.keys():
        return f"it gives {', '.join(made) or 'nothing'}, not {', '.join(true)}"
    for name, found in made.items():
        if found.shape != true[name].shape:
            return f"{name} has the shape {found.shape}, not {true[name].shape}"
        error = np.abs(found - true[name]).max() / max(np.abs(true[name]).max(), 1e-30)
        if not error <= TOLERANCE:
            return f"{name} differs by {error:.0e}"
    return ""
