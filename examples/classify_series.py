"""A classifier of movements from two sensor channels, and its opinion while one is under way: a few seconds.

Each series is a path in the plane, seen through noise: round to the left, round to the right, or to and fro.
`python examples/classify_series.py`
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elman.models import SequenceClassifier

KINDS = ("left", "right", "to and fro")
Series = npt.NDArray[np.float32]


def movement(kind: str, generator: np.random.Generator) -> Series:
    """(T, 2): 20 to 60 steps from a random point of the movement on, at a random speed."""
    steps = np.arange(generator.integers(20, 61))
    angle = generator.uniform(0, 2 * np.pi) + generator.uniform(0.1, 0.3) * steps * (-1 if kind == "right" else 1)
    path = np.stack([np.cos(angle), np.cos(angle) if kind == "to and fro" else np.sin(angle)], -1)
    return (path + generator.normal(0, 0.4, path.shape)).astype(np.float32)


def made(count: int, seed: int) -> tuple[list[Series], list[str]]:
    """Movements of every kind and their names."""
    generator = np.random.default_rng(seed)
    labels = [KINDS[i % len(KINDS)] for i in range(count)]
    return [movement(label, generator) for label in labels], labels


def main() -> None:
    """Learn, judge, watch."""
    model = SequenceClassifier(cell="gru", hidden_size=24, bidirectional=False, epochs=12, lr=0.01)
    model.fit(*made(600, seed=0))
    figures = model.evaluate(*made(300, seed=1))
    print(
        f"learnt from 600 movements in {model.summary_.seconds:.0f} s; right in {figures['accuracy']:.1%} of 300 others"
    )

    path = movement("right", np.random.default_rng(7))
    print("\nA turn to the right, as it goes on (the probability of each):")
    print("  steps  " + "  ".join(f"{name:>10}" for name in model.classes_))
    for steps in (1, 2, 4, 8, 16, len(path)):
        print(f"  {steps:5}  " + "  ".join(f"{p:10.3f}" for p in model.predict_proba([path[:steps]])[0]))


if __name__ == "__main__":
    main()
