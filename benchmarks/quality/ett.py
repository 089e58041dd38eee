"""ETTh1 (hourly, an electricity transformer), 24 hours ahead from every hour of the test months: squared error of
standardised values, of the oil temperature (OT) and over all seven columns.

    python benchmarks/quality/ett.py ../shared/data/ett [EPOCHS]

Informer's split: 12, 4 and 4 months of 30 days. References on the same split: OT last value 0.034, 24 hours ago 0.046,
LSTMa 0.114 (published); all columns 24 hours ago 0.424, last value 1.222, LSTMa 0.650 (published).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from report import report

from elman.data import read_table
from elman.models import Forecaster
from elman.training.progress import Progress

MONTH = 30 * 24
RUNS = (("OT", "last", "below 0.034"), ("*", "season", "below 0.424"))


def main(folder: str, epochs: int = 10) -> None:
    table = read_table(Path(folder) / "ETTh1.csv.gz").select(range(20 * MONTH))
    for target, relative, reference in RUNS:
        model = Forecaster(
            target=target, relative=relative, horizon=24, lookback=72, holdout=4 * MONTH, valid_fraction=0.25,
            hidden_size=32, batch_size=64, lr=2e-3, schedule="cosine", epochs=epochs, patience=None, seed=1,
        )  # fmt: skip
        model.fit(table, progress=Progress.auto())
        found = model.backtest(table, stride=1)
        print(found)
        scale = np.array([one.values[: 12 * MONTH].std() for one in found.forecasts.series])[:, None]
        error = float(np.mean(((found.true - found.forecasts.point) / scale) ** 2))
        held = found.rows["model"]["coverage_80"]
        name = target if target != "*" else "all columns"
        report(f"ETTh1 {name}, 24 ahead, squared error (80 % intervals hold {held:.3f})", error, reference, model)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:]))
