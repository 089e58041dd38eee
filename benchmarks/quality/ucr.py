"""Four small sets of the UCR and UEA archives, 36 to 67 series to learn from: test accuracy.

    python benchmarks/quality/ucr.py ../shared/data basic_motions [SEED...]
    python benchmarks/quality/ucr.py ../shared/data gunpoint cv ['{"pooling": "last"}']

cv: six-fold cross-validation on the training part alone, three times; the JSON changes some of the settings, which were
chosen in this way (and by five folds, twice).

References on the same files: nearest neighbour by Euclidean distance 60.0, 80.0, 91.3, 95.5 % (basic_motions,
arrowhead, gunpoint, italy_power_demand); dynamic time warping 97.5, 70.3, 90.7, 95.0 % (published).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from report import report

from elman.data import read_table
from elman.models import SequenceClassifier
from elman.training.progress import Progress

Series = npt.NDArray[np.float32]
Part = tuple[list[Series], list[str]]

COMMON: dict[str, Any] = {
    "cell": "gru", "hidden_size": 64, "dropout": 0.2, "batch_size": 8, "lr": 2e-3, "schedule": "cosine", "epochs": 60,
    "patience": None, "valid_fraction": 0.0,
}  # fmt: skip
# What to reach, and the settings. "width" values side by side make a step, "hop" on the next one begins; with "slope"
# so many times the differences of neighbours stand beside the values.
SETS: dict[str, tuple[float, dict[str, Any]]] = {
    "basic_motions": (0.975, {"pooling": "max", "noise": 0.3}),
    "arrowhead": (0.80, {"pooling": "max", "noise": 0.05, "width": 30, "hop": 5, "slope": 5}),
    "gunpoint": (0.96, {"pooling": "last", "noise": 0.1, "width": 10, "hop": 5, "slope": 5}),
    "italy_power_demand": (0.96, {"pooling": "last", "noise": 0.2}),
}


def read(folder: Path, part: str) -> Part:
    """The series (T, I) and their labels."""
    if (path := folder / f"{part}.jsonl.gz").exists():
        table = read_table(path)
        return [np.asarray(x, np.float32) for x in table.column("x")], [str(label) for label in table.column("label")]
    rows = np.loadtxt(folder / f"{part}.csv", delimiter=",", dtype=np.float32)
    return list(rows[:, 1:, None]), [str(int(label)) for label in rows[:, 0]]


def frames(series: Series, width: int = 1, hop: int = 1, slope: float = 0.0) -> Series:
    """The series (T, I) as fewer and wider steps."""
    if slope:
        series = np.concatenate([series, slope * np.gradient(series, axis=0)], 1)
    return np.stack([series[start : start + width].ravel() for start in range(0, len(series) - width + 1, hop)])


def learnt(
    learn: Part, judge: Part, settings: dict[str, Any], seed: int, progress: Progress | None = None
) -> tuple[SequenceClassifier, float]:
    """A model and its accuracy."""
    shape = {name: settings[name] for name in ("width", "hop", "slope") if name in settings}
    model = SequenceClassifier(**{n: v for n, v in settings.items() if n not in shape}, seed=seed)
    (x, y), (test, true) = (([frames(one, **shape) for one in part], labels) for part, labels in (learn, judge))
    model.fit(x, y, progress=progress)
    return model, model.score(test, true)


def cross_validate(data: Part, settings: dict[str, Any], folds: int = 6, repeats: int = 3) -> float:
    """The share of the series that a model of the others tells, each class spread over the folds."""
    labels = np.array(data[1])
    right = 0.0
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(len(labels))
        fold = np.empty(len(labels), np.int64)
        fold[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % folds
        for own in range(folds):
            learn, judge = (
                ([data[0][i] for i in at], list(labels[at])) for at in map(np.flatnonzero, (fold != own, fold == own))
            )
            right += learnt(learn, judge, settings, repeat)[1] * len(judge[1])
    return right / repeats / len(labels)


def main(folder: str, name: str, *rest: str) -> None:
    target, own = SETS[name]
    train = read(Path(folder) / name, "train")
    if rest[:1] == ("cv",):
        settings = {**COMMON, **own, **json.loads("".join(rest[1:]) or "{}")}
        print(f"{name}, cross-validation on the training part: {cross_validate(train, settings):.4f}")
        return
    test = read(Path(folder) / name, "test")
    for seed in map(int, rest or ("1",)):
        model, accuracy = learnt(train, test, {**COMMON, **own}, seed, Progress.auto())
        report(f"{name}, test accuracy", accuracy, f"{target} or more", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
