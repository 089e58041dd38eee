"""Polyphonic music: negative log-likelihood of a step, nats, summed over the 88 keys of a piano.

    python benchmarks/quality/music.py ../shared/data/music_jsb_chorales
    python benchmarks/quality/music.py ../shared/data/music_nottingham

Settings were chosen on the validation pieces. The mean is over the steps of all test pieces, the first one of each
included; the second figure leaves that one out, as Bai et al. 2018 do, whose LSTM has 8.45 and 3.29. A second argument,
independent, is the head that they have: every key for itself. Marginal frequencies have 11.06 and 10.25.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from report import report

from elman.models import LabelSetModel
from elman.training.progress import Progress

JSB: dict[str, Any] = {
    "hidden_size": 200, "dropout": 0.3, "transpose": 6, "batch_size": 16, "lr": 4e-3, "epochs": 80, "patience": None,
}  # fmt: skip
NOTTINGHAM: dict[str, Any] = {
    "hidden_size": 256, "dropout": 0.2, "transpose": 6, "batch_size": 4, "lr": 3e-3, "epochs": 40, "patience": None,
}  # fmt: skip


def main(folder: str, head: str = "nade", options: str = "{}") -> None:
    """options: JSON, for trials."""
    place = Path(folder)
    gz = "" if (place / "train.jsonl").exists() else ".gz"
    train, valid, test = (place / f"{part}.jsonl{gz}" for part in ("train", "valid", "test"))
    jsb = "jsb" in place.name
    settings = {**(JSB if jsb else NOTTINGHAM), **json.loads(options)}
    model = LabelSetModel(head=head, labels="21-108", schedule="cosine", seed=1, **settings)
    model.fit(train, valid=valid, progress=Progress.auto())
    figures = model.evaluate(test)
    what = f"{place.name}, {head}, test nats a step (without the first of each piece {figures['loss_after_first']:.4f})"
    print(f"validation {model.evaluate(valid)}")
    report(what, figures["loss"], "8.45" if jsb else "3.29", model)


if __name__ == "__main__":
    main(*sys.argv[1:])
