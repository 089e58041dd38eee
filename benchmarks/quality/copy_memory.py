"""Copy memory over 200 blank steps: ten symbols of eight kinds, to be told again in order; the share that is right.

    python benchmarks/quality/copy_memory.py              # the linear recurrence below
    python benchmarks/quality/copy_memory.py lstm         # gates with memories of 1 to 220 steps (chrono) instead

Chance is 0.125; remembering nothing, the best loss is 10 ln 8 / 220 = 0.0945 nats a step. Each sequence is seen once.
rnn_identity is linear and starts from an orthogonal matrix, which forgets nothing (Henaff, Szlam & LeCun 2016): 256
units have room for what was shown when, and the output finds the symbol of 210 steps ago. Its tokens enter as vectors
of deviation 1, so that small steps, which keep the matrix near orthogonal, are enough for the output.
"""

from __future__ import annotations

import math
import sys
from itertools import chain

from report import report
from torch import nn

from elman.data.made import make
from elman.models import SequenceTagger
from elman.nn import Recurrent
from elman.nn.init import chrono_
from elman.training.metrics import accuracy
from elman.training.progress import Progress

BLANKS, SHOWN, SEED = 200, 10, 1


class Remembering(SequenceTagger):
    """A tagger that starts with a long memory."""

    def _build(self, recurrent: Recurrent, letters: Recurrent | None) -> None:
        if self.cell == "rnn_identity":
            super()._build(recurrent, letters)
            nn.init.normal_(self.module_.words.weight)
        else:
            chrono_(recurrent, BLANKS + 2 * SHOWN)
            super()._build(recurrent, letters)


def main(cell: str = "rnn_identity", learn: str = "16000") -> None:
    linear = cell == "rnn_identity"
    model = Remembering(
        cell=cell, hidden_size=256 if linear else 128, bidirectional=False, word_size=16, letter_hidden_size=0,
        dropout=0.0, word_dropout=0.0, batch_size=32, lr=2e-4 if linear else 2e-3, schedule="cosine", epochs=1,
        validate_every=100, patience=None, seed=SEED,
    )  # fmt: skip
    model.fit(make("copy", int(learn), BLANKS, SEED), valid=make("copy", 200, BLANKS, SEED + 100),
              progress=Progress.auto())  # fmt: skip
    test = make("copy", 1000, BLANKS, SEED + 200)
    true, told = ([tags[-SHOWN:] for tags in found] for found in (test.columns["tags"], model.predict(test)))
    whole = sum(own == ours for own, ours in zip(true, told)) / len(true)
    loss, nothing = model.evaluate(test)["loss"], SHOWN * math.log(8) / (BLANKS + 2 * SHOWN)
    figures = f"{whole:.3f} of sequences whole; loss {loss:.5f}, without memory {nothing:.4f}"
    what = f"made:copy, T = {BLANKS}, {cell}, {int(learn):,} sequences seen once ({figures}): accuracy of the ten"
    report(what, accuracy(list(chain(*true)), list(chain(*told))), "1.0", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
