"""BLiMP, 67 sets of 1,000 minimal pairs: how often a language model finds the sound sentence the likelier.

    python benchmarks/quality/blimp.py MODEL ../shared/data/blimp [PAIRS]

PAIRS: so many of each set, for a first impression. Reference, mean over the sets: chance 50 %; published: 5-gram 61.2,
LSTM of 83 M tokens 69.8, Transformer-XL 69.6, GPT-2 83.0, people 88.6.
A model with few words does not know many of those in the sentences.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.cli.report import probed
from elman.models import load
from elman.models.probes import blimp


def main(path: str, folder: str, most: str | None = None) -> None:
    model = load(path)
    figures = blimp(model, Path(folder) / "blimp.tsv.gz", None if most is None else int(most))
    print(probed(figures))
    for name, accuracy in figures["paradigms"].items():
        print(f"  {name:<56} {accuracy:.3f}")
    report("BLiMP, accuracy over all pairs", figures["rows"][-1]["accuracy"], "0.612", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
