"""What `lengths=` saves, and costs: sequences of 1 to 200 steps beside the same batch padded, B = 32, H = I = 256.

    python benchmarks/speed/ragged.py [--threads 1] [--backend auto]

"of the time": what the call with lengths takes of the padded one's; "of the steps": the share of the padded batch that
is within a length, which is the least that it can take. With equal lengths nothing is saved and the call should cost 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from elman.bench import report
from elman.bench.turns import ratio, spread, turns
from elman.nn import Recurrent

STEPS, BATCH, HIDDEN = 200, 32, 256


def a_pass(layer: Recurrent, x: Tensor, lengths: list[int] | None, train: bool) -> Callable[[], None]:
    """Forward, and with `train` backward."""
    grad, inputs = torch.randn(x.shape[0], x.shape[1], HIDDEN), [x, *layer.parameters()]

    def run() -> None:
        with torch.set_grad_enabled(train):
            output = layer(x, lengths=lengths)[0]
            if train:
                torch.autograd.grad(output, inputs, grad)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cell", default="lstm,gru,rnn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    uniform = torch.randint(1, STEPS + 1, (BATCH,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = []
    for name in options.cell.split(","):
        layer = Recurrent(name, HIDDEN, HIDDEN, backend=options.backend)
        for what, lengths in ((f"1 to {STEPS}", uniform), ("equal", [STEPS] * BATCH)):
            x = torch.randn(max(lengths), BATCH, HIDDEN, requires_grad=True)
            for train in (True, False):
                runs = {"padded": a_pass(layer, x, None, train), "lengths": a_pass(layer, x, lengths, train)}
                times = turns(runs, options.repeats)
                shown = [report.quartiles(spread(own).times(1e3)) for own in times.values()]
                shares = [1 / ratio(times, "padded", "lengths"), sum(lengths) / (max(lengths) * BATCH)]
                kind = "training" if train else "inference"
                rows.append([name, what, kind, *shown, *(f"{share:.2f}" for share in shares)])
    print(f"{report.about()}; threads: {options.threads}; milliseconds a pass\n")
    header = ("cell", "lengths", "pass", "padded", "with lengths", "of the time", "of the steps")
    print(report.markdown(header, rows))


if __name__ == "__main__":
    main()
