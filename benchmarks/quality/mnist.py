"""Sequential MNIST: a digit from its 784 pixels, one a step, as they stand or in one fixed random order: test accuracy.

    python benchmarks/quality/mnist.py ../shared/data/mnist [permuted]

Published: LSTM 98.9 % and 90.2 % permuted, small GRU 96.2 % and 87.3 %, JANET 99.0 % and 92.5 %. Those read the last
state. In order, each unit's largest value over the steps is read here, so that the gradient need not cross them all;
permuted, no step is more telling than another, and the last state of a JANET learns several times as fast.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
from report import report

from elman.models import SequenceClassifier
from elman.training.progress import Progress

PERMUTATION = np.random.default_rng(92916).permutation(784)


def read(folder: str, name: str, order: np.ndarray | slice) -> tuple[list[np.ndarray], list[str]]:
    """The images as series (784, 1) of numbers from 0 to 1, and their labels."""
    images = gzip.decompress((Path(folder) / f"{name}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((Path(folder) / f"{name}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)[:, order].astype(np.float32) / 255
    return list(pixels[..., None]), [str(label) for label in labels[8:]]


SETTINGS: dict[str, dict[str, Any]] = {
    "sequential": {"cell": "gru", "pooling": "max", "epochs": 14},
    "permuted": {"cell": "janet", "pooling": "last", "epochs": 18},
}


def main(folder: str, kind: str = "sequential") -> None:
    order = PERMUTATION if kind == "permuted" else slice(None)
    model = SequenceClassifier(
        hidden_size=128, chrono=784, bidirectional=False, dropout=0.1, batch_size=32, lr=4e-3, schedule="cosine",
        valid_fraction=0.05, patience=None, seed=1, **SETTINGS[kind],
    )  # fmt: skip
    model.fit(*read(folder, "train", order), progress=Progress.auto())
    target = "0.92 or more" if kind == "permuted" else "0.985 or more"
    report(f"{kind} MNIST, test accuracy", model.score(*read(folder, "t10k", order)), target, model)
    model.save(f"mnist-{kind}.elman")


if __name__ == "__main__":
    main(*sys.argv[1:])
