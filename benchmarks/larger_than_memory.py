"""A file of 2 GB teaches a classifier: how much memory that takes, and how long it takes to make ready.

    python benchmarks/larger_than_memory.py FOLDER [tsv|parquet] [GB]

Makes the file of random words in FOLDER (label: which of two words it begins with), trains for a minute, and prints the
process's largest resident set.
"""

from __future__ import annotations

import datetime
import resource
import sys
import time
from pathlib import Path

import numpy as np

from elman.models import SequenceClassifier
from elman.training.progress import Progress

WORDS, STEPS = 20_000, 80


def texts(count: int, seed: int) -> list[str]:
    """Random words, the common ones more often."""
    generator = np.random.default_rng(seed)
    numbers = (WORDS ** generator.random((count, STEPS))).astype(np.int64)
    return [" ".join(f"word{n}" for n in row) for row in numbers]


def labelled(text: str) -> str:
    """The label of a text, which its first word decides."""
    return "ab"[int(text.split(" ", 1)[0][4:]) % 2]


def make(path: Path, size: float) -> None:
    """A file of about `size` bytes: a block of texts again and again, its records turned from block to block."""
    block = texts(20_000, 0)
    if path.suffix == ".tsv":
        lines = "".join(f"{text}\t{labelled(text)}\n" for text in block)
        with path.open("w") as file:
            file.write("text\tlabel\n")
            while file.tell() < size:
                file.write(lines)
        return
    import polars

    repeats = round(size / sum(map(len, block)))
    frame = polars.DataFrame({"text": block, "label": [labelled(text) for text in block]})
    polars.concat([frame.lazy()] * repeats).sink_parquet(path, compression="uncompressed", row_group_size=20_000)


def main(folder: str, kind: str = "tsv", gigabytes: str = "2") -> None:
    path = Path(folder) / f"large.{kind}"
    if not path.exists():
        make(path, float(gigabytes) * 1e9)
    start = time.perf_counter()
    model = SequenceClassifier(hidden_size=64, bidirectional=False, max_seconds=60, epochs=1, seed=1)
    model.fit(path, folder=Path(folder) / f"{kind}.run", progress=Progress.auto())
    seconds = time.perf_counter() - start - model.summary_.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {kind} | {path.stat().st_size / 1e9:.2f} GB | at most {peak:,.0f} MiB | {seconds:,.0f} s to read | "
        f"{model.summary_.best} | {datetime.date.today()} |"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
