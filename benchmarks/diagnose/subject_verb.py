"""The verb's sensitivity to its subject, across what stands between them (Linzen, Dupoux & Goldberg 2016).

    python benchmarks/diagnose/subject_verb.py ../shared/data/agreement [MODEL] [--picture FILE.png]

MODEL: a language model's file; without one a classifier is trained as benchmarks/quality/agreement.py does it. For each
verb, score = log p(the verb) - log p(the verb in the other number); each word before it gets ‖∂score/∂embedding‖ as its
share of the sum over all words before the verb. A word's share shrinks with its distance, so the subject's is put
beside that of other words as far from the verb. 1.0 x: the subject counts as any word would there.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "quality"))
from agreement import LEARN, TESTS, items, trained, with_endings

from elman.data.probes import Agreement, read_agreement
from elman.data.vocabulary import tokenize
from elman.models import LanguageModel, load

BINS = {"0": (0, 0), "1 to 2": (1, 2), "3 to 5": (3, 5), "6 to 10": (6, 10), "11 or more": (11, 10**9)}
"""Words between subject and verb."""
FEWEST = 10
"""Items for a point in the picture."""


@dataclass(frozen=True)
class Verb:
    item: Agreement
    right: bool
    """Whether the score is above 0."""
    shares: np.ndarray
    """Of each word before the verb."""

    @property
    def subject(self) -> float:
        return float(self.shares[-1 - self.item.distance])


def gradients(model: Any, rows: list[list[int]], signs: list[tuple[int, int]]) -> list[tuple[float, np.ndarray]]:
    """(score, ‖∂score/∂embedding‖ of each token) of rows of tokens; signs: the places of right and wrong output."""
    seen: list[Tensor] = []

    def keep(module: Any, given: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    model.module_.eval()
    hook = model.module_.embedding.register_forward_hook(keep)
    found = []
    for row, (right, wrong) in zip(rows, signs, strict=True):
        tokens = torch.tensor(row)[:, None]
        if isinstance(model, LanguageModel):
            outputs = model.module_(tokens)[0][-1, 0]
        else:
            outputs = model.module_(tokens, np.array([len(row)]))[0]
        score = outputs[right] - outputs[wrong]
        (gradient,) = torch.autograd.grad(score, seen.pop())
        found.append((score.item(), gradient[:, 0].norm(dim=-1).double().numpy()))
    hook.remove()
    return found


def of_language_model(model: LanguageModel, items: list[Agreement]) -> list[Verb]:
    """The items both of whose verbs the model has as words."""
    kept, rows, signs = [], [], []
    lower = not any(token != token.lower() for token in model.vocabulary_.tokens)
    for item in items:
        forms = [item.verb, item.other or ""]
        if not all(form in model.vocabulary_ for form in forms):
            continue
        words = item.prefix.lower() if lower else item.prefix
        kept.append(item)
        rows.append([model.vocabulary_.start_index, *model.vocabulary_.encode(words.split(" "))])
        right, wrong = model.vocabulary_.encode(forms)
        signs.append((int(right), int(wrong)))
    return [
        Verb(item, score > 0, norms[1:] / norms[1:].sum())
        for item, (score, norms) in zip(kept, gradients(model, rows, signs), strict=True)
    ]


def of_classifier(model: Any, items: list[Agreement]) -> list[Verb]:
    """Of a classifier of the verb's number (sg, pl); a word's two tokens, itself and its ending, count as one."""
    rows, signs = [], []
    for item in items:
        rows.append([int(n) for n in model.vocabulary_.encode(tokenize(with_endings(item).prefix, model.level))])
        right = list(model.classes_).index(item.number)
        signs.append((right, 1 - right))
    verbs = []
    for item, (score, norms) in zip(items, gradients(model, rows, signs), strict=True):
        words = np.sqrt(np.square(norms).reshape(-1, 2).sum(-1))
        verbs.append(Verb(item, score > 0, words / words.sum()))
    return verbs


@dataclass(frozen=True)
class Row:
    group: str
    items: int
    accuracy: float
    subject: float
    others: float
    """The share of other words as far from the verb."""
    ratio: float
    right: float
    wrong: float
    """The ratio where the verb was chosen right, and where wrong."""


def table(verbs: list[Verb]) -> list[Row]:
    """By the words between subject and verb, by attractors where they are known, and of all."""
    elsewhere: defaultdict[int, list[float]] = defaultdict(list)
    for verb in verbs:
        for back, share in enumerate(verb.shares[::-1]):
            if back != verb.item.distance:
                elsewhere[back].append(float(share))
    usual = {back: float(np.mean(shares)) for back, shares in elsewhere.items()}
    groups = {
        f"{name} words between": [v for v in verbs if low <= v.item.distance <= high]
        for name, (low, high) in BINS.items()
    }
    for count, name in enumerate(("0 attractors", "1 attractor", "2 or more attractors")):
        groups[name] = [v for v in verbs if v.item.attractors is not None and min(v.item.attractors, 2) == count]
    groups["all"] = verbs

    def shares(own: list[Verb]) -> tuple[float, float, float]:
        """(share of the subject, of other words as far, the one by the other)."""
        there = [(v.subject, usual[v.item.distance]) for v in own if v.item.distance in usual]
        subject, others = np.mean(there, axis=0).tolist() if there else (float("nan"), float("nan"))
        return subject, others, subject / others

    return [
        Row(
            name, len(own), float(np.mean([v.right for v in own])), *shares(own),
            shares([v for v in own if v.right])[2], shares([v for v in own if not v.right])[2],
        )
        for name, own in groups.items()
        if own
    ]  # fmt: skip


def picture(tables: dict[str, list[Row]], path: str) -> None:
    """The ratio over the words between."""
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (name, rows), colour in zip(tables.items(), ("#4477aa", "#cc3311")):
        found = {row.group: row for row in rows if row.items >= FEWEST}
        there = [
            (k, found[f"{bin} words between"].ratio) for k, bin in enumerate(BINS) if f"{bin} words between" in found
        ]
        axes.plot(*zip(*there), "o-", color=colour, label=name)
    axes.axhline(1, color="#777777", linewidth=0.8)
    axes.text(len(BINS) - 1, 1.03, "any word at that place", ha="right", color="#555555", fontsize=8)
    axes.set_xticks(range(len(BINS)), list(BINS))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("words between subject and verb")
    axes.set_ylabel("subject's share of the verb's\nsensitivity, to other words as far")
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--picture")
    chosen = parser.parse_args()
    model = load(chosen.model) if chosen.model else trained(chosen.folder, seed=1)
    seen = set() if chosen.model else {item.prefix for item in items(chosen.folder, *LEARN)}
    tables = {}
    for name in TESTS:
        wanted = [item for item in read_agreement(chosen.folder / name)[0] if with_endings(item).prefix not in seen]
        verbs = of_language_model(model, wanted) if isinstance(model, LanguageModel) else of_classifier(model, wanted)
        tables[name] = table(verbs)
        print(f"\n{name}: {len(verbs)} of {len(wanted)} items\n")
        print("| items | number | accuracy | subject's share | of other words as far | ratio | where right | wrong |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for row in tables[name]:
            shown = f"{row.accuracy:.3f} | {row.subject:.3f} | {row.others:.3f} | {row.ratio:.1f} x"
            print(f"| {row.group} | {row.items} | {shown} | {row.right:.1f} x | {row.wrong:.1f} x |")
    if chosen.picture:
        picture(tables, chosen.picture)


if __name__ == "__main__":
    main()
