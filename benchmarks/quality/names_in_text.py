"""Names of people, places, organisations and others in texts (BIO), no pretrained vectors: test span F1.

    python benchmarks/quality/names_in_text.py ../shared/data wikigold|wnut17 [SEED ...]

Wikigold, 1,227 sentences of Wikipedia to learn from: logistic regression on a window with affixes has 43.0 F1 on the
same split. WNUT 2017, rare and emerging names in tweets and comments, few of which are in the training set: 10.8 on the
same files; published, with pretrained vectors: BiLSTM-CRF 40.8.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from report import report

from elman.models import SequenceTagger
from elman.training.progress import Progress

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "wikigold": ("0.55", {"dropout": 0.5, "epochs": 20}),
    "wnut17": ("report", {"dropout": 0.4, "epochs": 16}),
}


def main(folder: str, name: str, *seeds: str) -> None:
    target, options = SETTINGS[name]
    train, dev, test = (Path(folder) / name / f"{n}.conll" for n in ("train", "dev", "test"))
    for seed in map(int, seeds or ("1",)):
        model = SequenceTagger(
            hidden_size=100, word_size=50, shape_size=16, word_dropout=0.25, batch_size=16, lr=3e-3, schedule="cosine",
            patience=None, seed=seed, **options,
        )  # fmt: skip
        model.fit(train, valid=dev, progress=Progress.auto())
        figures = model.evaluate(test)
        about = f"precision {figures['precision']:.3f}, recall {figures['recall']:.3f}"
        report(f"{name}, test span F1 ({about}; dev {model.summary_.best['f1']:.3f})", figures["f1"], target, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
