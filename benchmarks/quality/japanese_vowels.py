"""Japanese vowels, nine speakers from 12 channels of 7 to 29 steps: test accuracy.

    python benchmarks/quality/japanese_vowels.py ../shared/data/japanese_vowels

Reference on the same split: logistic regression on summaries 98.4 %, hidden Markov model 96.2 % (published).
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.models import SequenceClassifier
from elman.training.progress import Progress


def main(folder: str) -> None:
    model = SequenceClassifier(
        input="x", cell="gru", hidden_size=100, pooling="mean", dropout=0.3, batch_size=16, lr=2e-3, schedule="cosine",
        epochs=40, patience=None, valid_fraction=0.0, seed=1,
    )  # fmt: skip
    model.fit(Path(folder) / "train.jsonl.gz", progress=Progress.auto())
    report("japanese_vowels, test accuracy", model.score(Path(folder) / "test.jsonl.gz"), "0.97 or more", model)


if __name__ == "__main__":
    main(sys.argv[1])
