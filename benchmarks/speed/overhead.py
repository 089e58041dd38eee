"""What a call costs when there is next to nothing to compute: T = 1, B = 1, H = I = 32, microseconds, one thread.

    python benchmarks/speed/overhead.py [--backend auto] [--repeats 15]

Targets for elman's drop-ins: 15 µs forward, 40 µs forward and backward (the gradients of x and of all weights). What
torch's autograd takes of the latter for an operation that computes nothing stands beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import elman.nn
from elman.bench import report
from elman.bench.turns import ratio, spread, turns

HIDDEN = 32
HEADER = (
    "layer", "pass", "target", "drop-in", "Recurrent", "torch.nn", "nothing", "x torch, drop-in", "x torch, Recurrent",
)  # fmt: skip
TARGETS = {"forward": 15, "forward and backward": 40}


def forward(layer: nn.Module) -> Callable[[], object]:
    """A call without gradients."""
    x = torch.randn(1, 1, HIDDEN)

    def run() -> None:
        with torch.inference_mode():
            layer(x)

    return run


class Nothing(torch.autograd.Function):
    """Of as many tensors as an LSTM has, with gradients that are there already."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.tensors = tensors
        return torch.empty(1, 1, HIDDEN)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return ctx.tensors


def nothing() -> Callable[[], object]:
    """A call and its gradients."""
    inputs = [torch.randn(1, 1, HIDDEN, requires_grad=True), *nn.LSTM(HIDDEN, HIDDEN).parameters()]
    grad = torch.randn(1, 1, HIDDEN)
    return lambda: torch.autograd.grad(Nothing.apply(*inputs), inputs, grad)  # type: ignore[no-untyped-call]


def both(layer: nn.Module) -> Callable[[], object]:
    """A call and all its gradients."""
    x, grad = torch.randn(1, 1, HIDDEN, requires_grad=True), torch.randn(1, 1, HIDDEN)
    inputs = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x)[0], inputs, grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", default="auto", help="of Recurrent; the drop-ins choose theirs")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for kind in ("LSTM", "GRU", "RNN"):
        layers = {
            f"elman.nn.{kind}": getattr(elman.nn, kind)(HIDDEN, HIDDEN),
            "elman.nn.Recurrent": elman.nn.Recurrent(kind.lower(), HIDDEN, HIDDEN, backend=options.backend),
            f"torch.nn.{kind}": getattr(nn, kind)(HIDDEN, HIDDEN),
        }
        for what, make in (("forward", forward), ("forward and backward", both)):
            rivals = {name: make(layer) for name, layer in layers.items()}
            if make is both:
                rivals["nothing"] = nothing()
            times = turns(rivals, options.repeats)
            own, recurrent, torchs, *rest = times
            shown = [report.quartiles(spread(each).times(1e6)) for each in times.values()] + ["-"] * (not rest)
            missed = " miss" if spread(times[own]).middle > 1e-6 * TARGETS[what] else ""
            ratios = [f"{ratio(times, torchs, name):.2f}" for name in (own, recurrent)]
            rows.append([kind, what, f"{TARGETS[what]}{missed}", *shown, *ratios])
    print(f"{report.about()}; microseconds a call\n")
    print(report.markdown(HEADER, rows))


if __name__ == "__main__":
    main()
