"""Two famous small series: airline passengers (last 24 months) and sunspots (last 564 months), root mean squared error.

    python benchmarks/quality/univariate.py ../shared/data/univariate [SEED ...]

References on the same files. Airline, a year ahead from every month: the naive forecasts are printed beside. Airline, a
month ahead: last value 51.8, value 12 months ago 50.0, Brownlee's LSTM tutorial about 47 to 50. Sunspots, a month
ahead: last value 20.1. A year ahead is judged by 13 windows of the same two years, so that the share of an interval's
hits depends much on the seed: name several.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from report import report

from elman.models import Forecaster
from elman.training.progress import Progress

RUNS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("airline, a year ahead", "airline-passengers.csv", "below the naive forecasts above",
     {"horizon": 12, "lookback": 24, "holdout": 24, "loss": "squared", "epochs": 6, "lr": 5e-3}),
    ("airline, a month ahead", "airline-passengers.csv", "below 50.0",
     {"horizon": 1, "lookback": 24, "holdout": 24, "loss": "squared", "epochs": 6, "lr": 5e-3, "valid_fraction": 0.25}),
    ("sunspots, a month ahead", "monthly-sunspots.csv", "below 20.1",
     {"horizon": 1, "lookback": 48, "holdout": 564, "season": [1], "calendar": "none", "hidden_size": 32,
      "lr": 3e-3, "batch_size": 64, "epochs": 10, "valid_fraction": 0.3, "scaling_over": "series"}),
]  # fmt: skip


def main(folder: str, *seeds: str) -> None:
    for what, name, reference, options in RUNS:
        held = []
        for seed in map(int, seeds or ("1",)):
            model = Forecaster(**options, schedule="cosine", patience=None, seed=seed)
            model.fit(Path(folder) / name, progress=Progress.auto())
            found = model.backtest(Path(folder) / name, stride=1)
            print(found)
            own = found.rows["model"]
            held.append(own["coverage_80"])
            report(f"{what}, RMSE (80 % intervals hold {held[-1]:.3f})", own["rmse"], reference, model)
        if len(held) > 1:
            print(f"\n{what}: over {len(held)} seeds the 80 % intervals hold {np.mean(held):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
