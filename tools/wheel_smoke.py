"""Streams with an installed wheel: every cell of the catalogue by the wheel's kernels; called by wheel_smoke.sh."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import elman
from elman.cells import CATALOGUE
from elman.engine import build
from elman.engine.step import Interpreted
from elman.runtime import Document, Layer, save
from elman.runtime.claims import layer_weights
from elman.runtime.stream import Stream

TEXT, TOKENS, UNITS = "abba cab", ["a", "b", "c", " "], 6


def model(name: str, path: Path) -> dict[str, np.ndarray]:
    """Saves a language model of one layer of the cell, and gives its weights."""
    program, size = CATALOGUE[name].program, len(TOKENS)
    random = np.random.default_rng(7)
    weights = {f"recurrent.layers.0.forward_{n}": s for n, s in program.parameter_shapes(size, UNITS, UNITS).items()}
    weights |= {"embedding.weight": (size, size), "output.weight": (size, UNITS), "output.bias": (size,)}
    tensors = {n: (random.standard_normal(shape) / 2).astype(np.float32) for n, shape in weights.items()}
    save(path, Document(
        format=1, elman=elman.__version__, task="language-model",
        networks={"recurrent": (Layer(program, size, UNITS, UNITS, direction="forward"),)},
        options={"level": "char"}, vocabularies={"tokens": {"tokens": TOKENS, "unknown": None}},
        scaling={}, training={},
    ), tensors)  # fmt: skip
    return tensors


def main() -> None:
    """Raises for a wrong number, a warning (-W error) and for a library from elsewhere than the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        for name in CATALOGUE:
            path = Path(folder) / "model.elman"
            tensors = model(name, path)
            found = Stream(path).run(TEXT)
            slow = Interpreted(CATALOGUE[name].program, layer_weights(tensors, "recurrent", 0, "forward"),
                               (len(TOKENS), UNITS, UNITS))  # fmt: skip
            x = tensors["embedding.weight"][[TOKENS.index(letter) for letter in TEXT]]
            slow.call(slow.bind(x, out := np.zeros((len(TEXT), UNITS), np.float32)))
            wanted = out @ tensors["output.weight"].T + tensors["output.bias"]
            assert np.allclose(found, wanted, rtol=1e-4, atol=1e-5), name
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "elman" in line}
    kernels = [path for path in loaded if path.endswith(".so")]
    assert len(kernels) == 1 + len(CATALOGUE), kernels
    assert all(path.startswith(f"{Path(elman.__file__).parent}/engine/built/") for path in kernels), kernels
    assert "site-packages" in elman.__file__, elman.__file__
    assert "torch" not in sys.modules
    print(f"wheel: {len(CATALOGUE)} cells stream on {build.chosen_isa()}")


main()
