"""The reference back end's backward pass by the adjoint program, beside autograd through the same steps.

    python benchmarks/speed/adjoint.py

Cells that no library has fused; (T, B, I, H) = (100, 16, 64, 128), one thread, a forward and a backward pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from elman.bench import report
from elman.bench.turns import ratio, spread, turns
from elman.nn import Recurrent
from elman.nn.recurrent import Part
from elman.nn.reference import Scan, scan

CELLS = ("lstm_peephole", "gru_reset_before", "rnn_sigmoid")
STEPS, BATCH, INPUTS, HIDDEN = 100, 16, 64, 128


def passes(part: Part) -> dict[str, Callable[[], object]]:
    """Both ways to the gradients of all weights."""
    names, weights = tuple(part.weights), list(part.weights.values())
    x = torch.randn(STEPS, BATCH, INPUTS)

    def adjoint() -> object:
        sequences = Scan.apply(part.program, names, None, x, *part.zeros(BATCH), *weights)  # type: ignore[no-untyped-call]
        return torch.autograd.grad(sequences[0].sum(), weights)

    def autograd() -> object:
        sequences, _ = scan(part.program, part.weights, x, part.zeros(BATCH))
        return torch.autograd.grad(sequences[0].sum(), weights)

    return {"adjoint": adjoint, "autograd": autograd}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in CELLS:
        (part,) = Recurrent(name, INPUTS, HIDDEN).parts()
        times = turns(passes(part), options.repeats)
        shown = [report.quartiles(spread(own).times(1e3)) for own in times.values()]
        rows.append([name, *shown, f"{ratio(times, 'autograd', 'adjoint'):.2f}"])
    print(f"{report.about()}; milliseconds a pass\n")
    print(report.markdown(("cell", "adjoint", "autograd", "x autograd"), rows))


if __name__ == "__main__":
    main()
