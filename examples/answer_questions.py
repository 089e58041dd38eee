"""Questions about made stories are answered, by a network that learns it in some ten seconds, and judged by their kind.

`python examples/answer_questions.py` learns and judges. `python examples/answer_questions.py MODEL 2-5 5000` judges
MODEL, of `elman train transduce made:stories --length 2-5 --count 5000`.
"""

from __future__ import annotations

import sys
from collections import Counter

from elman.data import Table, make
from elman.models import EncoderDecoder


def most_frequent(answers: list[str]) -> str:
    """The answer to give without reading anything."""
    return Counter(answers).most_common(1)[0][0]


def of_kind(table: Table, kind: str) -> tuple[list[str], list[str]]:
    """The sources and the targets of one kind of question."""
    rows = zip(table.column("source"), table.column("target"), table.column("kind"))
    sources, targets = zip(*((source, target) for source, target, own in rows if own == kind))
    return list(sources), list(targets)


def main(path: str = "", sentences: str = "2-4", count: str = "3000") -> None:
    """Learn, judge, look: exact matches on stories that it has not learnt, beside answers that need no story."""
    low, high = map(int, sentences.split("-"))
    known, new = make("stories", int(count), (low, high), seed=0), make("stories", 500, (low, high), seed=2)
    learnt = set(known.column("source"))  # of stories so short, some are made twice
    new = new.select([place for place, source in enumerate(new.column("source")) if source not in learnt])
    if path:
        model = EncoderDecoder.load(path)
    else:
        model = EncoderDecoder(
            cell="gru", hidden_size=48, embedding_size=32, lr=0.01, schedule="cosine", batch_size=16, epochs=7,
            dropout=0.0,
        ).fit(known)  # fmt: skip
        print(f"learnt from {len(known):,} stories in {model.summary_.seconds:.0f} s")
    always, shares = most_frequent(known.column("target")), []
    for kind in dict.fromkeys(sorted(known.column("kind"))):
        sources, targets = of_kind(new, kind)
        answer = most_frequent(of_kind(known, kind)[1])
        given = model.predict(sources)
        shares.append([sum(a == b for a, b in zip(answers, targets)) / len(targets) for answers in
                       (given, [answer] * len(targets), [always] * len(targets))])  # fmt: skip
        print(f"{kind:9} {shares[-1][0]:4.0%} right; always {answer!r}: {shares[-1][1]:.0%}")
    # the kinds count alike
    mean = [sum(column) / len(shares) for column in zip(*shares)]
    print(f"together  {mean[0]:.0%} right; by the question alone {mean[1]:.0%}, always {always!r} {mean[2]:.0%}")
    for source, target in list(zip(new.column("source"), new.column("target")))[:3]:
        print(f"{source}\n  it says {model.predict([source])[0]!r}, right is {target!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
