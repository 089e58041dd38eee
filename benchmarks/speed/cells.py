"""What a cell of one's own costs beside the built-in one: (T, B, I, H) = (128, 32, 256, 256).

    python benchmarks/speed/cells.py [--threads 1] [--backend auto]

The LSTM written here, and cells of the catalogue that no library has fused, beside `lstm` or `gru`: the ratio of their
times, and of their shares of the processor's peak, since some have more products than others.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import torch

from elman import cells
from elman.bench import report
from elman.bench.measure import ran_by
from elman.bench.task import Task, disagreement
from elman.bench.turns import ratio, spread, turns
from elman.cells import cell, sigmoid, tanh

SHAPE = (128, 32, 256, 256)


@cell
def written_here(x: Any, h: Any, c: Any, W: Any) -> Any:
    """An LSTM as a user writes it, in another order than the catalogue's."""
    candidate = tanh(W.candidate(x, h))
    forget = sigmoid(W.forget(x, h))
    enter = sigmoid(W.enter(x, h))
    leave = sigmoid(W.leave(x, h))
    c = enter * candidate + forget * c
    h = tanh(c) * leave
    return h, c


PAIRS = {
    cells.lstm: (written_here, cells.lstm_peephole, cells.lstm_coupled, cells.lstm_layer_norm),
    cells.gru: (cells.gru_reset_before, cells.gru_layer_norm),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for base, others in PAIRS.items():
        for train in (True, False):
            tasks = {one.name: Task(one, *SHAPE, train) for one in (base, *others)}
            layers = {name: task.layer(options.backend) for name, task in tasks.items()}
            rivals = {name: task.own_rival(layers[name]) for name, task in tasks.items()}
            for name, task in tasks.items():
                small = dataclasses.replace(
                    task, steps=5
                )  # the truth of a long sequence would take longer than all else
                wrong = disagreement(small, small.own_rival(small.layer(options.backend)))
                if wrong:
                    raise SystemExit(f"{name}: {wrong}")
            times = turns({name: rival.run for name, rival in rivals.items()}, options.repeats)
            for name, task in tasks.items():
                slower = ratio(times, name, base.name)
                rows.append([
                    name, "training" if train else "inference", ran_by(layers[name], task),
                    report.quartiles(spread(times[name]).times(1e3)),
                    f"{slower:.2f}", f"{task.flops / tasks[base.name].flops / slower:.2f}",
                ])  # fmt: skip
    print(f"{report.about()}; threads: {options.threads}; milliseconds a pass, T,B,I,H = {SHAPE}\n")
    header = ("cell", "pass", "back end", "ms (quartiles)", "x the time of lstm, gru", "x its GFLOP/s")
    print(report.markdown(header, rows))


if __name__ == "__main__":
    main()
