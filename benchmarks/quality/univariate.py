"""Two famous small series: airline passengers (last 24 months) and sunspots (last 564 months), root mean squared error.

    python benchmarks/quality/univariate.py ../shared/data/univariate

References on the same files. Airline, a year ahead from every month: the naive forecasts are printed beside. Airline, a
month ahead: last value 51.8, value 12 months ago 50.0, Brownlee's LSTM tutorial about 47 to 50. Sunspots, a month
ahead: last value 20.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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


def main(folder: str) -> None:
    for what, name, reference, options in RUNS:
        model = Forecaster(**options, schedule="cosine", patience=None, seed=1)
        model.fit(Path(folder) / name, progress=Progress.auto())
        found = model.backtest(Path(folder) / name, stride=1)
        print(found)
        own = found.rows["model"]
        report(f"{what}, RMSE (80 % intervals hold {own['coverage_80']:.3f})", own["rmse"], reference, model)


if __name__ == "__main__":
    main(sys.argv[1])
