"""Parity of a bit string, learnt on lengths 1 to 20: how many of 1,000 strings of length 10,000 are right.

    python benchmarks/quality/parity.py

Chance is 50 %. Lengths are spread evenly on a logarithmic scale, so that the rule can be found on short strings.
"""

from __future__ import annotations

from report import report

from elman.data.made import make
from elman.models import SequenceClassifier
from elman.training.progress import Progress


def main() -> None:
    for cell in ("rnn", "lstm"):
        for seed in (1, 2, 3):
            model = SequenceClassifier(
                cell=cell, hidden_size=16, bidirectional=False, lr=1e-2, schedule="cosine", patience=None, seed=seed
            )
            train, valid = make("parity", 8_000, (1, 20), seed=seed), make("parity", 500, 200, seed=seed + 100)
            model.fit(train, valid=valid, progress=Progress.auto())
            right = model.score(make("parity", 1_000, 10_000, seed=seed + 200))
            report(f"made:parity, {cell}: accuracy on 1,000 strings of length 10,000", right, "1.0", model)


if __name__ == "__main__":
    main()
