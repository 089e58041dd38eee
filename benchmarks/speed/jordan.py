"""A Jordan network by teacher forcing, all steps at once, beside the same network step after step.

    python benchmarks/speed/jordan.py [--threads 1] [--repeats 15]

One sequence, I = 64, H = 256, O = 32, a forward and a backward pass (the gradients of all weights), microseconds a
sequence. `sequential` is the recurrence on the kernels with its full backpropagation through time. A pass has a fixed
cost; what comes on top grows with T in both, but without waiting for the step before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from elman.bench import report
from elman.bench.turns import ratio, spread, turns
from elman.nn import Recurrent, teacher_forced

INPUTS, HIDDEN, OUTPUTS = 64, 256, 32
STEPS = (1, 4, 16, 64, 256, 1024, 4096)


def passes(layer: Recurrent, steps: int) -> dict[str, Callable[[], object]]:
    """Both ways through one sequence."""
    x, targets = torch.randn(steps, 1, INPUTS), torch.randn(steps, 1, OUTPUTS)
    weights = list(layer.parameters())

    def gradients(output: torch.Tensor) -> object:
        return torch.autograd.grad((output - targets).square().mean(), weights)

    return {
        "forced": lambda: gradients(teacher_forced(layer, x, targets)),
        "sequential": lambda: gradients(layer(x)[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layer = Recurrent("jordan", INPUTS, HIDDEN, output_size=OUTPUTS)
    rows, first = [], dict[str, float]()
    for steps in STEPS:
        times = turns(passes(layer, steps), options.repeats)
        own = {name: spread(found).times(1e6) for name, found in times.items()}
        first = first or {name: found.middle for name, found in own.items()}
        grown = [f"{found.middle / first[name]:.1f}" for name, found in own.items()]
        shown = [report.quartiles(found) for found in own.values()]
        rows.append([f"{steps:,}", *shown, *grown, f"{ratio(times, 'sequential', 'forced'):.1f}"])
    print(f"{report.about()}; microseconds a sequence, {options.threads} threads\n")
    header = ("T", "forced", "sequential", "forced, x T = 1", "sequential, x T = 1", "sequential / forced")
    print(report.markdown(header, rows))


if __name__ == "__main__":
    main()
