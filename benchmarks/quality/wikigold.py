"""Names of people, places, organisations and others in Wikipedia (wikigold, BIO), no pretrained vectors: test span F1.

    python benchmarks/quality/wikigold.py ../shared/data/wikigold [SEED...]

Reference on the same split: logistic regression on a window with affixes 43.0 F1. Only 1,227 sentences to learn from.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.models import SequenceTagger
from elman.training.progress import Progress


def main(folder: str, *seeds: str) -> None:
    train, dev, test = (Path(folder) / f"{n}.conll" for n in ("train", "dev", "test"))
    for seed in map(int, seeds or ("1",)):
        model = SequenceTagger(
            hidden_size=100, word_size=50, shape_size=16, dropout=0.5, word_dropout=0.25, batch_size=16, lr=3e-3,
            schedule="cosine", epochs=20, patience=None, seed=seed,
        )  # fmt: skip
        model.fit(train, valid=dev, progress=Progress.auto())
        figures = model.evaluate(test)
        about = f"precision {figures['precision']:.3f}, recall {figures['recall']:.3f}"
        report(f"wikigold, test span F1 ({about}; dev {model.summary_.best['f1']:.3f})", figures["f1"], "0.55", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
