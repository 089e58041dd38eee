"""Word language model on WikiText-2: test perplexity within a given time, and the curve on the way.

    python benchmarks/quality/wikitext2.py ../shared/data/wikitext2            # 2 x 200 tied, 60 minutes
    python benchmarks/quality/wikitext2.py ../shared/data/wikitext2 awd cuda   # 2 x 650 by the recipe, for a GPU
    python benchmarks/quality/wikitext2.py ../shared/data/wikitext2 subword    # 2 x 300, subwords, for blimp.py

Tokens are what spaces separate, and <eos> at the end of every line, the empty ones too: 2,088,628 to learn from and
245,569 to judge by (and one end mark), over the 33,278 of the vocabulary, <unk> among them. Published: LSTM 99.3 (Grave
et al. 2017), tied variational LSTM of 650 units 87.7 (Inan et al. 2017), AWD-LSTM of 1150 units 65.8 (Merity et al.
2018). Subwords are learnt from the text as people write it, signs at their words, and each <unk> one sign: their
perplexity is another's, bits per character can be compared.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import report

from elman.data import detokenize
from elman.data.readers import read_text
from elman.models import LanguageModel
from elman.training.progress import Progress

# Of trials of 300 to 700 steps Adam was the quickest start: plain gradient descent at the usual rate of 20 stayed at
# the words' frequencies for 700 steps, which Adam left after 50. One core reads 9 epochs in 39 minutes.
SMALL: dict[str, Any] = {
    "num_layers": 2, "hidden_size": 200, "tied": True, "dropout": 0.2, "batch_size": 20, "bptt": 35, "lr": 3e-3,
    "schedule": "cosine", "softmax_samples": 4096, "epochs": 9, "max_seconds": 3600.0,
}  # fmt: skip
AWD: dict[str, Any] = {
    "recipe": "awd", "num_layers": 2, "hidden_size": 650, "embedding_size": 650, "batch_size": 80, "epochs": 300,
    "max_seconds": 3600.0, "patience": 30,
}  # fmt: skip
SUBWORD: dict[str, Any] = {
    "level": "subword", "num_layers": 2, "hidden_size": 300, "tied": True, "dropout": 0.2, "batch_size": 32, "bptt": 40,
    "lr": 3e-3, "schedule": "cosine", "softmax_samples": 2048, "epochs": 7,
}  # fmt: skip
KINDS = {"small": SMALL, "awd": AWD, "subword": SUBWORD}
LENGTHS = {"train": 2_088_628, "valid": 217_646, "test": 245_569}


def tokens(folder: Path, part: str) -> str:
    """A part of the text, its tokens separated by spaces."""
    words = read_text(folder / f"wiki.{part}.tokens.gz").replace("\n", " <eos> ").split()
    if len(words) != LENGTHS[part]:
        raise SystemExit(f"{part} has {len(words):,} tokens, not {LENGTHS[part]:,}")
    return " ".join(words)


def as_written(text: str) -> str:
    """Text of tokens without the spaces, signs and line ends that are the tokens' alone."""
    words = re.sub(r" @(.)@ ", r"\1", text).replace("<unk>", "\N{REPLACEMENT CHARACTER}").replace("<eos>", "").split()
    return re.sub(r" '(?=(?:t|s|re|ve|ll|d|m)\b)", "'", detokenize(words, "word"))


def main(folder: str, kind: str = "small", device: str = "cpu", options: str = "{}", out: str | None = None) -> None:
    """options: JSON, for trials; out: where the model goes, for blimp.py."""
    train, valid, test = (tokens(Path(folder), part) for part in ("train", "valid", "test"))
    if kind == "subword":
        train, valid, test = map(as_written, (train, valid, test))
    settings = {"level": "space", **KINDS[kind], **json.loads(options)}
    model = LanguageModel(lines=False, seed=1, device=device, **settings)
    with tempfile.TemporaryDirectory() as run:
        model.fit(train, valid=valid, folder=Path(run), progress=Progress.auto())
        lines = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]
    if out:
        model.save(Path(out))
    print("minutes  epoch  validation perplexity")
    for line in lines:
        if "validation" in line:
            print(f"{line['seconds'] / 60:7.1f}  {line['epoch']:5.2f}  {math.exp(line['validation']['loss']):8.2f}")
    figures = model.evaluate(test)
    name = "bits_per_character" if kind == "subword" else "perplexity"
    target = {"small": "130", "awd": "90", "subword": "report"}[kind]
    report(f"wikitext2, {kind}, test {name.replace('_', ' ')}", figures[name], target, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
