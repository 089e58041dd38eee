"""Character language model on Tiny Shakespeare: nats per character on the last 10 %.

    python benchmarks/quality/tinyshakespeare.py ../shared/data/tinyshakespeare

Reference: a Witten-Bell 5-gram has 1.669 nats per character on the same split, a 10.7 M parameter transformer 1.47.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.data.readers import read_text
from elman.models import LanguageModel
from elman.training.progress import Progress


def main(folder: str, epochs: int = 15) -> None:
    text = read_text(Path(folder) / "input.txt.gz")
    cut = len(text) * 9 // 10
    model = LanguageModel(
        hidden_size=512, dropout=0.4, batch_size=32, bptt=128, lr=2e-3, schedule="cosine", epochs=epochs, seed=1
    )  # fmt: skip
    model.fit(text[:cut], valid=text[cut:], progress=Progress.auto())
    figures = model.evaluate(text[cut:])
    report("tinyshakespeare, nats per character", figures["loss"], "1.55 or less", model)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:]))
