"""The adding problem over 600 steps: the sum of two marked numbers among 600, from the last state; squared error.

    python benchmarks/quality/adding.py [CELL...]          # default: gru lstm
    python benchmarks/quality/adding.py plain [CELL...]    # gates as layers have them without more

Always guessing 1 has a squared error of 1/6. Each sequence is seen once. The gates start with memories of 1 to 600
steps (chrono initialisation, Tallec & Ollivier 2018); published with it, 200 and 750 steps: solved by an LSTM.
"""

from __future__ import annotations

import sys

from report import report

from elman.data.made import make
from elman.models import SequenceRegressor
from elman.training.progress import Progress

STEPS, LEARN, SEED = 600, 32_000, 1


def main(*arguments: str) -> None:
    start = "plain" if arguments[:1] == ("plain",) else "chrono"
    for cell in arguments[start == "plain" :] or ("gru", "lstm"):
        model = SequenceRegressor(
            cell=cell, hidden_size=64, chrono=STEPS if start == "chrono" else None, bidirectional=False,
            pooling="last", batch_size=32, lr=3e-3, schedule="cosine", epochs=1, validate_every=100, patience=None,
            seed=SEED,
        )  # fmt: skip
        train, valid = make("adding", LEARN, STEPS, SEED), make("adding", 500, STEPS, SEED + 100)
        model.fit(train, valid=valid, progress=Progress.auto())
        figures = model.evaluate(make("adding", 5000, STEPS, SEED + 200))
        what = f"made:adding, T = {STEPS}, {cell}, {start} start, {LEARN:,} sequences seen once"
        report(f"{what}: squared error ({figures['mse']:.1e})", figures["mse"], "below 0.001", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
