"""The golden model of format 1, built by hand; `python tests/golden_model.py` writes it anew, byte for byte the same.

The file in golden/ is what the first release wrote. It is never changed: a new format gets a golden file of its own,
and elman goes on reading this one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elman.compiler.ir import Node, Program
from elman.runtime import Document, Layer, save

GOLDEN = Path(__file__).parent / "golden" / "model-format-1.elman"


def elman_rnn() -> Program:
    """Elman's network: h' = tanh(W_h [x, h] + b_h)."""
    return Program(
        name="elman_rnn",
        nodes=(
            Node(op="input", size="I", name="x"),
            Node(op="state", size="H", name="h"),
            Node(op="affine", args=(0, 1), size="H", name="h"),
            Node(op="tanh", args=(2,), size="H"),
        ),
        outputs=(("h", 3),),
        source="Elman 1990",
    )


def golden_document() -> Document:
    """A network over a vocabulary of three letters, with one unit of everything that a document can hold."""
    return Document(
        format=1,
        elman="0.1.0",
        task="language-model",
        networks={"recurrent": (Layer(elman_rnn(), input_size=3, hidden_size=2, output_size=2, direction="forward"),)},
        options={"level": "character", "tie": False, "dropout": 0.25, "pooling": None, "sizes": [2, 3]},
        vocabularies={"letters": {"entries": ["a", "b", "é"], "unknown": None}},
        scaling={"mean": [0.5, -1.5], "deviation": [1.0, 2.0]},
        training={"epochs": 3, "validation": {"bits_per_character": 2.125}},
    )


def golden_tensors() -> dict[str, np.ndarray]:
    """Weights that are exact in every floating type."""
    return {
        "recurrent.layers.0.forward_weight_h": np.arange(10, dtype=np.float32).reshape(2, 5) / 8,
        "recurrent.layers.0.forward_bias_h": np.array([-1.0, 0.5], np.float32),
        "output.weight": np.array([[1.0, -2.0], [0.25, 4.0], [0.0, -0.125]], np.float64),
        "output.counts": np.array([7, -8, 9], np.int64),
        "output.half": np.array([1.5], np.float16),
        "output.mask": np.array([True, False, True]),
    }


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    save(GOLDEN, golden_document(), golden_tensors())
    print(f"wrote {GOLDEN.name}: {GOLDEN.stat().st_size} bytes")
