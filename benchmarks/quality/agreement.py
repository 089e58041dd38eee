"""Subject-verb agreement: the verb's number (sg, pl) from the words before it; test accuracy by attractors.

    python benchmarks/quality/agreement.py ../shared/data/agreement [SEED...]
    python benchmarks/quality/agreement.py ../shared/data/agreement MODEL

A classifier learns from the treebank's training part and from Linzen's 4,000 sentences, and is judged by the treebank's
test part and by Linzen's other 1,000, less the prefixes that it has seen. Every word is followed by its ending, a
token of its own, since most nouns are rare and their number shows in their last letters; X marks a capital. MODEL: a
language model's file, which is asked instead.

Reference on the same files: the majority class 76.8 % (treebank), 65.9 % (Linzen). Published, from 121,500 sentences:
99 %, 82 % with four attractors.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from report import report

from elman.cli.report import probed
from elman.data.probes import Agreement, read_agreement
from elman.models import SequenceClassifier, load
from elman.models.probes import agreement
from elman.training.progress import Progress

TESTS = ("ud_ewt_test.jsonl", "linzen_wiki_dev.tsv")


def with_endings(item: Agreement) -> Agreement:
    """The item with `##` and two letters after each word."""
    words = item.prefix.split(" ")
    marked = (f"{word.lower()} ##{'X' if word[:1].isupper() else ''}{word[-2:].lower()}" for word in words)
    return replace(item, prefix=" ".join(marked))


def items(folder: Path, *names: str) -> list[Agreement]:
    return [with_endings(item) for name in names for item in read_agreement(folder / name)[0]]


def examples(found: list[Agreement]) -> tuple[list[str], list[str]]:
    return [item.prefix for item in found], [item.number for item in found]


LEARN = ("ud_ewt_train.jsonl.gz", "linzen_wiki_test.tsv")


def trained(folder: Path, seed: int) -> SequenceClassifier:
    model = SequenceClassifier(
        level="space", hidden_size=100, pooling="last", dropout=0.5, batch_size=32, lr=2e-3, schedule="cosine",
        epochs=8, patience=None, seed=seed,
    )  # fmt: skip
    valid = examples(items(folder, "ud_ewt_dev.jsonl"))
    return model.fit(*examples(items(folder, *LEARN)), valid=valid, progress=Progress.auto())


def train(folder: Path, seed: int) -> None:
    model, seen = trained(folder, seed), {item.prefix for item in items(folder, *LEARN)}
    for name in TESTS:
        figures = agreement(model, [item for item in items(folder, name) if item.prefix not in seen])
        print(f"\n{name}\n{probed(figures)}\n")
        row = figures["rows"][-1]
        report(f"agreement, {name}, accuracy", row["accuracy"], f"{row['baseline'] + 0.15:.3f}", model)


def main(folder: str, *rest: str) -> None:
    if rest and not rest[0].isdigit():
        for name in TESTS:
            print(f"\n{name}\n{probed(agreement(load(rest[0]), Path(folder) / name))}")
        return
    for seed in map(int, rest or ("1",)):
        train(Path(folder), seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
