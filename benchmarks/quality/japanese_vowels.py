"""Japanese vowels, nine speakers from 12 channels of 7 to 29 steps: test accuracy.

    python benchmarks/quality/japanese_vowels.py ../shared/data/japanese_vowels [SEED...]

Reference on the same split: logistic regression on summaries 98.4 %, hidden Markov model 96.2 % (published).
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report
from ucr import frames, read

from elman.models import SequenceClassifier
from elman.training.progress import Progress


def main(folder: str, *seeds: str) -> None:
    train, test = (
        ([frames(one, slope=2.0) for one in series], labels)
        for series, labels in (read(Path(folder), part) for part in ("train", "test"))
    )
    for seed in map(int, seeds or ("1",)):
        model = SequenceClassifier(
            cell="gru", hidden_size=100, pooling="mean", dropout=0.3, noise=0.2, batch_size=16, lr=2e-3,
            schedule="cosine", epochs=25, patience=None, valid_fraction=0.0, seed=seed,
        )  # fmt: skip
        model.fit(*train, progress=Progress.auto())
        report("japanese_vowels, test accuracy", model.score(*test), "0.985 or more", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
