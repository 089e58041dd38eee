"""M4 competition, the 414 hourly series, 48 steps ahead: sMAPE on the published test values.

    python benchmarks/quality/m4_hourly.py ../shared/data/m4_hourly [EPOCHS]

Reference on the same files: seasonal naive (24) sMAPE 13.91, MASE 1.193; the winner ES-RNN 9.33, 0.893 (published).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from report import report

from elman.data import TimeSeries, read_table
from elman.data.timeseries import find_columns, read_series
from elman.models import Forecaster
from elman.training.progress import Progress


def read(path: Path) -> dict[str, TimeSeries]:
    """The series of one file, a row each, by name."""
    table = read_table(path)
    series, _ = read_series(table, find_columns(table, layout="rows", series="V1"))
    return {one.name: one for one in series}


def main(folder: str, epochs: int = 40) -> None:
    train, test = (read(Path(folder) / f"Hourly-{part}.csv.gz") for part in ("train", "test"))
    data = {name: np.concatenate([one.values, test[name].values]) for name, one in train.items()}
    model = Forecaster(
        horizon=48, lookback=168, season=[168, 24], holdout=48, valid_fraction=0.05, scaling="mean", loss="quantile",
        hidden_size=64, head_sizes=[64], batch_size=64, lr=5e-3, schedule="cosine", epochs=epochs, patience=None,
        seed=1,
    )  # fmt: skip
    model.fit(data, progress=Progress.auto())
    found = model.backtest(data)
    print(found)
    own = found.rows["model"]
    what = f"m4_hourly, sMAPE (MASE by the week {own['mase']:.3f}; 80 % intervals hold {own['coverage_80']:.3f})"
    report(what, own["smape"], "below 12", model)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:]))
