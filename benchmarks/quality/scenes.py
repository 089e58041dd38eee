"""Captions of made scenes and clips: exact match of what is said, and BLEU, with combinations that were never shown.

    python benchmarks/quality/scenes.py              # pictures of one to three shapes
    python benchmarks/quality/scenes.py clips        # eight frames of one or two moving shapes
    python benchmarks/quality/scenes.py scenes 1000 3 100     # other numbers to learn from, of epochs, to judge by

"Exact" is the share of captions whose parsed content (objects, colours, sizes, order, motion) is that of the scene; one
object of three that is wrong makes the caption wrong. Judged on new scenes of the combinations of colour and shape that
were shown, and on scenes that have one of the four that were kept out (elman.data.scenes.HELD_OUT). The baseline says
of everything what is most often right in training.
"""

from __future__ import annotations

import sys
from collections import Counter

from report import report

from elman.data import Table
from elman.data.scenes import make_scenes, parse
from elman.models import Captioner
from elman.training.progress import Progress
from elman.training.text_metrics import bleu

SETTINGS = {"scenes": (10_000, 32, 1000), "clips": (6000, 18, 1000)}
"""How many to learn from, epochs, how many to judge by: some nine minutes on two cores."""
SEED = 1


def exact(texts: list[str], table: Table) -> float:
    """The share of texts that say what is in the scene, whatever the wording."""
    true = [parse(caption) for caption in table.columns["caption"]]
    return sum(parse(text) == own for text, own in zip(texts, true)) / len(true)


def main(kind: str = "scenes", *sizes: str) -> None:
    count, epochs, judged = map(int, sizes or SETTINGS[kind])
    clips = kind == "clips"
    train, valid = (make_scenes(n, SEED + k, clips=clips) for k, n in enumerate((count, 400)))
    tests = {
        f"made {kind}, new": make_scenes(judged, SEED + 10, clips=clips),
        f"made {kind}, combinations never shown": make_scenes(judged, SEED + 11, clips=clips, held_out="always"),
    }
    model = Captioner(
        cell="gru", hidden_size=192, embedding_size=64, channels=64, dropout=0.1, batch_size=32, lr=2e-3,
        schedule="cosine", warmup_steps=100, epochs=epochs, patience=None, seed=SEED,
        input="clip" if clips else "image", target="references",
    )  # fmt: skip
    model.fit(train, valid=valid, progress=Progress.auto())
    common = Counter(text for own in train.columns["references"] for text in own).most_common(1)[0][0]
    for what, table in tests.items():
        baseline = exact([common] * len(table), table)
        for beam_size in (1, 5):
            texts = model.set_params(beam_size=beam_size).predict(table)
            score = bleu(texts, table.columns["references"])
            report(f"{what}: exact match, beam {beam_size} (BLEU {score:.1f})", exact(texts, table),
                   f"most frequent caption {baseline:.3f}", model)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
