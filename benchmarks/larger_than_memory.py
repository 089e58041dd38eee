"""Data of 2 GB teach a model: how much memory that takes, and how long it takes to make them ready.

    python benchmarks/larger_than_memory.py tsv|parquet|characters|words|sounds [GB] [FOLDER]

Makes the data in FOLDER, by default a temporary one that is removed again: random words with a label that the first of
them decides (a classifier), the words alone (a language model), or tones that are letters (a transcriber). Trains for
half a minute and prints the process's largest resident set, and the seconds, also of processor time, before the first
step.
"""

from __future__ import annotations

import datetime
import resource
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np

from elman.models import LanguageModel, SequenceClassifier, Transcriber
from elman.training.progress import Progress

WORDS, STEPS = 20_000, 80
RATE, SECONDS, CLIPS = 16_000, 3, 200
COMMON: dict[str, Any] = {"hidden_size": 64, "max_seconds": 30, "epochs": 1, "seed": 1}


class Ready(Progress):
    """Notes when the first step begins."""

    began = done = (0.0, 0.0)

    def start(self, epochs: int) -> None:
        self.done = (time.perf_counter(), time.process_time())


def texts(count: int, seed: int) -> list[str]:
    """Random words, the common ones more often."""
    generator = np.random.default_rng(seed)
    numbers = (WORDS ** generator.random((count, STEPS))).astype(np.int64)
    return [" ".join(f"word{n}" for n in row) for row in numbers]


def labelled(text: str) -> str:
    """The label of a text, which its first word decides."""
    return "ab"[int(text.split(" ", 1)[0][4:]) % 2]


def make_file(path: Path, size: float) -> None:
    """A file of about `size` bytes: a block of texts again and again."""
    block = texts(20_000, 0)
    if path.suffix != ".parquet":
        table = path.suffix == ".tsv"
        lines = "".join(f"{text}\t{labelled(text)}\n" if table else f"{text}\n" for text in block)
        with path.open("w") as file:
            file.write("text\tlabel\n" if table else "")
            while file.tell() < size:
                file.write(lines)
        return
    import polars

    repeats = round(size / sum(map(len, block)))
    frame = polars.DataFrame({"text": block, "label": [labelled(text) for text in block]})
    polars.concat([frame.lazy()] * repeats).sink_parquet(path, compression="uncompressed", row_group_size=20_000)


def make_sounds(folder: Path, size: float) -> None:
    """A list of sounds that have `size` bytes together: some clips again and again, each with a text of tones."""
    generator = np.random.default_rng(0)
    clips = []
    for _ in range(CLIPS):
        letters = generator.integers(0, 8, 10)
        hertz = np.repeat(300.0 * 1.3**letters, RATE * SECONDS // 10)
        sound = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE) + generator.normal(0, 0.05, RATE * SECONDS)
        clips.append(((sound * 32767).astype("<i2").tobytes(), "".join("abcdefgh"[k] for k in letters)))
    with (folder / "list.tsv").open("w") as file:
        file.write("path\ttext\n")
        for number in range(round(size / len(clips[0][0]))):
            samples, text = clips[number % CLIPS]
            with wave.open(str(folder / f"{number:06}.wav"), "wb") as clip:
                clip.setparams((1, 2, RATE, 0, "NONE", ""))
                clip.writeframes(samples)
            file.write(f"{number:06}.wav\t{text}\n")


def train(kind: str, folder: Path, size: float) -> None:
    """Make what is not there, learn from it, print what it took."""
    path = folder / {"sounds": "list.tsv", "tsv": "large.tsv", "parquet": "large.parquet"}.get(kind, "large.txt")
    if not path.exists():
        make_sounds(folder, size) if kind == "sounds" else make_file(path, size)
    model: Any
    if kind == "sounds":
        model = Transcriber(**COMMON, num_layers=1, valid_fraction=0.02)
    elif kind in ("characters", "words"):
        level = {"characters": "char", "words": "word"}[kind]
        model = LanguageModel(**COMMON, level=level, softmax_samples=1000 if kind == "words" else None)
    else:
        model = SequenceClassifier(**COMMON, bidirectional=False)
    ready = Ready()
    ready.began = (time.perf_counter(), time.process_time())
    model.fit(path, folder=folder / f"{kind}.run", progress=ready)
    seconds, own = (b - a for a, b in zip(ready.began, ready.done))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    data = sum(file.stat().st_size for file in (folder.glob("*.wav") if kind == "sounds" else [path]))
    print(
        f"| {kind} | {data / 1e9:.2f} GB | at most {peak:,.0f} MiB | ready in {seconds:,.0f} s ({own:,.0f} s) | "
        f"{model.summary_.steps:,} steps, {model.summary_.best} | {datetime.date.today()} |"
    )


def main(kind: str, gigabytes: str = "2", folder: str | None = None) -> None:
    with tempfile.TemporaryDirectory(prefix="elman-large-") as own:
        train(kind, Path(folder or own), float(gigabytes) * 1e9)


if __name__ == "__main__":
    main(*sys.argv[1:])
