"""Words to their sounds, CMU pronouncing dictionary without stress: test word error rate, any listed sound is right.

    python benchmarks/quality/cmudict.py ../shared/data/cmudict                     # with attention
    python benchmarks/quality/cmudict.py ../shared/data/cmudict none                # without

Published on older splits of the dictionary, none of which is this one: encoder-decoder LSTM 28.6 % (Yao & Zweig 2015),
with attention 21.7 % (Toshniwal & Livescu 2016).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from report import report

from elman.data import Table, read_text
from elman.models import EncoderDecoder
from elman.training.progress import Progress


def table(path: Path) -> Table:
    """A line is a word and its sounds, tab-separated; stress digits go, and with them some differences of sounds."""
    rows = [line.split("\t") for line in read_text(path).split("\n") if line]
    targets = [list(dict.fromkeys(re.sub(r"\d", "", sound) for sound in sounds)) for _, *sounds in rows]
    return Table(path.name, {"source": [row[0] for row in rows], "target": targets}, list(range(1, len(rows) + 1)))


def main(folder: str, attention: str = "additive", epochs: str = "12") -> None:
    train, dev, test = (table(Path(folder) / name) for name in ("train.tsv.gz", "dev.tsv", "test.tsv"))
    model = EncoderDecoder(
        level="char", target_level="space", attention=attention, hidden_size=256, num_layers=2,
        embedding_size=128, dropout=0.2, label_smoothing=0.1, batch_size=64, lr=2e-3, schedule="cosine",
        warmup_steps=200, epochs=int(epochs), patience=None, monitor="accuracy", seed=1,
    )  # fmt: skip
    model.fit(train, valid=dev, progress=Progress.auto())
    for beam_size in (1, 5):
        figures = model.set_params(beam_size=beam_size).evaluate(test)
        what = f"cmudict without stress, {attention} attention, beam {beam_size}: phoneme error rate"
        what = f"{what} {figures['error_rate']:.4f}, word error rate"
        report(what, 1 - figures["accuracy"], "0.286 or less" if attention == "none" else "0.25 or less", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
