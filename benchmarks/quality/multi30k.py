"""German to English, Multi30k, from scratch: BLEU of test2016, lower-cased (sacrebleu, tokenization 13a).

    python benchmarks/quality/multi30k.py ../shared/data/multi30k

Reference: a BiGRU with additive attention 28.3 by greedy search; published attention models stand near 30 with a beam.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import report

from elman.data.parallel import read_parallel
from elman.models import EncoderDecoder
from elman.training.progress import Progress


def main(folder: str, epochs: str = "16") -> None:
    train, dev, test = (
        read_parallel(Path(folder) / f"{name}.de.gz", Path(folder) / f"{name}.en.gz")
        for name in ("train", "val", "test_2016_flickr")
    )
    model = EncoderDecoder(
        cell="gru", level="word", lower=True, min_count=2, attention="additive", hidden_size=256, embedding_size=256,
        tied=True, dropout=0.4, label_smoothing=0.1, batch_size=64, lr=2e-3, schedule="cosine", warmup_steps=400,
        epochs=int(epochs), patience=None, monitor="bleu", seed=1,
    )  # fmt: skip
    model.fit(train, valid=dev, progress=Progress.auto())
    for beam_size, target in ((1, "28.3 or more"), (5, "30 or more")):
        figures = model.set_params(beam_size=beam_size).evaluate(test)
        what = f"multi30k de-en test2016, beam {beam_size} (perplexity {figures['perplexity']:.2f}): BLEU"
        report(what, figures["bleu"], target, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
