"""The adding problem over 200 steps, seen from inside: who learns it, and how far back each network looks meanwhile.

    python benchmarks/diagnose/adding_memory.py [--cells rnn,lstm,gru] [--seconds 60] [--picture adding.png]

Two of 200 numbers are marked; the answer is their sum (Hochreiter & Schmidhuber 1997, as in Le, Jaitly & Hinton 2015).
Always guessing 1 has a mean squared error of 1/6. Each network has 64 units, one direction and the same time.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import elman
from elman.data.made import make
from elman.diagnosis import Report, learning
from elman.models import SequenceRegressor
from elman.training.log import read_log
from elman.training.progress import Progress

STYLES = {"rnn": ("#4477aa", "-"), "lstm": ("#cc3311", "--"), "gru": ("#228833", "-.")}
SEED, STEPS, HIDDEN = 1, 200, 64


def trained(cell: str, seconds: float, steps: int, count: int) -> tuple[Report, float]:
    """The report of a network, with what was seen while it learned, and its mean squared error on new sequences."""
    model = SequenceRegressor(
        cell=cell, hidden_size=HIDDEN, bidirectional=False, lr=2e-3, clip_norm=1.0, epochs=100_000, patience=None,
        max_seconds=seconds, diagnose=100, seed=SEED,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train, valid = make("adding", count, steps, seed=SEED), make("adding", 500, steps, seed=SEED + 100)
        model.fit(train, valid=valid, folder=Path(folder), progress=Progress.auto())
        log = read_log(Path(folder, "log.jsonl"))
    report = elman.diagnose(model, make("adding", 16, steps, seed=SEED + 200))
    error = model.evaluate(make("adding", 1_000, steps, seed=SEED + 300))["mse"]
    return replace(report, learning=learning(log)), error


def picture(reports: dict[str, Report], path: str) -> None:
    """Loss and effective memory while learning, and the gain by lag of the trained networks."""
    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    loss, memory, gain = figure.subplots(1, 3)
    for cell, report in reports.items():
        (seen,), (layer,) = report.learning, report.layers
        colour, dash = STYLES.get(cell, ("#777777", ":"))
        style = {"color": colour, "linestyle": dash, "linewidth": 1.6, "label": cell}
        loss.plot(seen.at, seen.loss, **style)
        memory.plot(seen.at, seen.memory, **style)
        gain.plot(np.arange(len(layer.memory.gain)), layer.memory.gain, **style)
    labels = (
        (loss, "Loss while learning", "training step", "squared error (deviations²)"),
        (memory, "Effective memory while learning", "training step", "steps"),
        (
            gain,
            "Trained: what is left after k steps",
            "lag k (steps)",
            r"$\|\partial h_t/\partial s_{t-k}\|_F/\sqrt{H}$",
        ),
    )
    for axes, title, below, beside in labels:
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set(xlabel=below, ylabel=beside)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(alpha=0.25)
    loss.set_yscale("log")
    gain.set_yscale("log")
    gain.set_ylim(1e-8, 3)
    loss.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="rnn,lstm,gru")
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each network")
    parser.add_argument("--length", type=int, default=STEPS)
    parser.add_argument("--count", type=int, default=20_000, help="sequences to learn from")
    parser.add_argument("--picture")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reports: dict[str, Report] = {}
    rows = []
    for cell in chosen.cells.split(","):
        reports[cell], error = trained(cell, chosen.seconds, chosen.length, chosen.count)
        report = reports[cell]
        (seen,) = report.learning
        print(f"\n{cell}\n{report.summary()}")
        rules = ", ".join(verdict.rule for verdict in report.verdicts)
        rows.append(f"| {cell} | {seen.at[-1]:,} | {error:.4f} | {seen.memory[0]} | {seen.memory[-1]} | {rules} |")
    print("\n| cell | training steps | error (guessing: 0.1667) | memory at the first look | at the last | verdicts |")
    print("\n".join(["|---|---:|---:|---:|---:|---|", *rows]))
    if chosen.picture:
        picture(reports, chosen.picture)


if __name__ == "__main__":
    main()
