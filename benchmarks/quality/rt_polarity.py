"""Sentiment of film review sentences (two classes), no pretrained vectors: test accuracy.

    python benchmarks/quality/rt_polarity.py ../shared/data/rt_polarity

Reference on the same split: tf-idf logistic regression 78.4 %; convolutional network without pretraining 75.9 %
(published, other splits).
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.models import SequenceClassifier
from elman.training.progress import Progress


def main(folder: str) -> None:
    train, dev, test = (Path(folder) / n for n in ("train.csv.gz", "dev.csv", "test.csv"))
    model = SequenceClassifier(
        level="space", hidden_size=128, embedding_size=128, dropout=0.6, pooling="max", batch_size=50, lr=1e-3,
        schedule="cosine", epochs=12, weight_decay=1e-5, patience=None, seed=1,
    )  # fmt: skip
    model.fit(train, valid=dev, progress=Progress.auto())
    report("rt_polarity, test accuracy", model.score(test), "0.75 or more", model)


if __name__ == "__main__":
    main(sys.argv[1])
