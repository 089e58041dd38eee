"""What the training loop costs a step beside a bare loop that does the same mathematics.

Both do forward, backward, the gradient's norm with clipping, and the optimiser's step on the same small LSTM; the bare
loop keeps the loss as a number and nothing else. `fit` adds its counting, its checks for NaN, its clock, and the log.
Processor time of the process is what is compared, since a busy machine stretches the wall's; both are printed.
Run: python benchmarks/training_overhead.py [--steps 2000] [--repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elman.training import TrainingOptions, fit
from elman.training.optimisers import make_optimizer


class Tiny:
    """A language model small enough for overhead to show: 16 streams of 8 steps, 16 units."""

    unit, monitor, maximize = "characters", "loss", False

    def __init__(self, steps: int) -> None:
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"embed": nn.Embedding(20, 16), "rnn": nn.LSTM(16, 16), "out": nn.Linear(16, 20)})
        self.clocks: list[tuple[float, float]] = []
        self.batches = [(torch.randint(0, 20, (8, 16)), torch.randint(0, 20, (8, 16)))] * steps

    def epoch(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """The same batch again and again."""
        self.clocks = [now()]
        return self.batches

    def loss(self, batch: tuple[Tensor, Tensor], carry: Any) -> tuple[Tensor, int, Any]:
        """Cross-entropy, the state carried."""
        h, states = self.module["rnn"](self.module["embed"](batch[0]), carry)
        loss = nn.functional.cross_entropy(self.module["out"](h).flatten(0, 1), batch[1].flatten())
        return loss, batch[1].numel(), tuple(s.detach() for s in states)

    def validate(self) -> dict[str, float]:
        """None; the last step is done."""
        self.clocks.append(now())
        return {}


def now() -> tuple[float, float]:
    """Seconds of the processor and of the wall."""
    return time.process_time(), time.perf_counter()


def a_step(trainee: Tiny) -> tuple[float, float]:
    """Microseconds a step, of the processor and of the wall."""
    (cpu, wall), (cpu_after, wall_after) = trainee.clocks
    return 1e6 * (cpu_after - cpu) / len(trainee.batches), 1e6 * (wall_after - wall) / len(trainee.batches)


def bare(trainee: Tiny, options: TrainingOptions, clip: bool) -> tuple[float, float]:
    """Microseconds a step of the plain loop."""
    parameters = list(trainee.module.parameters())
    optimizer = make_optimizer(parameters, options)
    carry: Any = None
    for batch in trainee.epoch(0):
        loss, _, carry = trainee.loss(batch, carry)
        loss.item()
        loss.backward()  # type: ignore[no-untyped-call]
        if clip:
            nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    trainee.validate()
    return a_step(trainee)


def ours(trainee: Tiny, options: TrainingOptions) -> tuple[float, float]:
    """Microseconds a step of `fit`, the final checkpoint and picture left out."""
    with tempfile.TemporaryDirectory() as folder:
        fit(trainee, options, folder=Path(folder) / "run")
    return a_step(trainee)


def main() -> None:
    """Interleaved repeats, so that a busy machine slows all alike; medians and the least of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = TrainingOptions(epochs=1, clip_norm=1.0, checkpoint_seconds=1e6)
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "bare, with clipping": [], "fit": []}
    bare(Tiny(50), options, True)
    for _ in range(arguments.repeats):
        times["bare"].append(bare(Tiny(arguments.steps), options, False))
        times["bare, with clipping"].append(bare(Tiny(arguments.steps), options, True))
        times["fit"].append(ours(Tiny(arguments.steps), options))
    print(f"torch {torch.__version__}, 1 thread, {arguments.steps} steps, {arguments.repeats} repeats; µs a step")
    for name, values in times.items():
        cpu, wall = [v[0] for v in values], [v[1] for v in values]
        print(
            f"{name:22} processor: median {statistics.median(cpu):7.1f}, least {min(cpu):7.1f}; "
            f"wall: median {statistics.median(wall):7.1f}, least {min(wall):7.1f}"
        )
    for name in ("bare", "bare, with clipping"):
        extra = [one[0] - other[0] for one, other in zip(times["fit"], times[name], strict=True)]
        print(f"fit beside {name}: {statistics.median(extra):+.1f} of the processor (median of pairs)")


if __name__ == "__main__":
    main()
