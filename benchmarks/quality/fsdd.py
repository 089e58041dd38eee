"""Spoken digits of a speaker never heard, single and in strings of one to five, by one transcriber for each speaker.

    python benchmarks/quality/fsdd.py ../shared/data/fsdd [SPEAKER ...]

For each speaker (default: all six) a model learns from the other five, from their clips and from strings of them with
noise between, and is judged by that speaker's: which digit a clip is (the likeliest string of one digit), and the error
rate of digits over strings. The settings are those of smaller runs with four speakers to learn from (twenty takes of
each digit) and two left out, which differed by no more than their seeds would: networks, bands, normalisation; much
noise (0.8) and warp (0.25) hurt. Speakers differ in their microphones and in what is silent behind them; the limit of
40 dB (top_db) takes that out.
Reference for single digits: 26 log-mel bands averaged in three segments, logistic regression 70 % over the speakers.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from report import report
from torch.nn.functional import ctc_loss

from elman.data.audio import read_sound
from elman.models import Transcriber
from elman.training.metrics import accuracy
from elman.training.progress import Progress

RATE, SEED = 8000, 1
STRINGS = 200
"""Of the speaker to judge by; half as many again of each to learn from."""
Sound = npt.NDArray[np.float32]
Clips = list[tuple[Sound, str]]


def read(folder: Path) -> dict[str, Clips]:
    """The clips of each speaker, with their digit."""
    clips: defaultdict[str, Clips] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        for part in ("train", "test"):
            with tarfile.open(folder / f"{part}.tar.gz") as archive:
                archive.extractall(place, filter="data")
        for path in sorted(Path(place).rglob("*.wav")):
            digit, speaker, _ = path.stem.split("_")
            clips[speaker].append((read_sound(path)[0], digit))
    return clips


def strings(clips: Clips, count: int, *seeds: int) -> Clips:
    """One to five clips of a speaker one after the other, 30 to 300 ms of faint noise before, between and after."""
    random = np.random.default_rng(seeds)
    made = []
    for _ in range(count):
        chosen = [clips[i] for i in random.integers(0, len(clips), random.integers(1, 6))]
        level = 10 ** random.uniform(-4, -2.5)
        pauses = [random.normal(0, level, random.integers(240, 2400)).astype(np.float32) for _ in range(6)]
        parts = [pauses[5], *(part for pause, (sound, _) in zip(pauses, chosen) for part in (sound, pause))]
        made.append((np.concatenate(parts), "".join(digit for _, digit in chosen)))
    return made


def single(model: Transcriber, sounds: list[Sound]) -> list[str]:
    """The likeliest string of one digit for each clip."""
    found = []
    for heard in model.predict_proba(sounds):
        rows = torch.from_numpy(np.log(heard))[:, None].expand(-1, 10, -1)  # (T, 10, 1 + V): against every digit
        digits = torch.arange(1, 11)[:, None]
        lengths = torch.full((10,), len(heard)), torch.ones(10, dtype=torch.long)
        found.append(model.classes_[1 + int(ctc_loss(rows, digits, *lengths, reduction="none").argmin())])
    return found


def main(folder: str, *chosen: str) -> None:
    every = read(Path(folder))
    speakers = chosen or tuple(sorted(every))
    results = []
    for left in speakers:
        learn = [
            clip
            for place, (speaker, clips) in enumerate(sorted(every.items()))
            if speaker != left
            for clip in (*clips, *strings(clips, 3 * STRINGS // 2, SEED, place))
        ]
        model = Transcriber(
            rate=RATE, cell="gru", hidden_size=96, num_layers=2, mels=32, stack=3, top_db=40, dropout=0.3,
            batch_size=32, lr=2e-3, schedule="cosine", warmup_steps=50, epochs=30, patience=None, valid_fraction=0.0,
            tempo=0.2, warp=0.15, noise=0.3, time_masks=1, mel_masks=2, seed=SEED,
        )  # fmt: skip
        model.fit(*map(list, zip(*learn)), progress=Progress.auto())
        sounds, digits = map(list, zip(*every[left]))
        right = accuracy(digits, single(model, sounds))
        texts = strings(every[left], STRINGS, SEED, 100)
        figures = model.evaluate(*map(list, zip(*texts)))
        wrong, lost = figures["character_error_rate"], figures["word_error_rate"]
        report(f"fsdd without {left}: accuracy on single digits", right, "linear model 0.70 on average", model)
        report(f"fsdd without {left}: error rate of digits in strings ({lost:.3f} of strings)", wrong, "report", model)
        results.append((right, wrong))
    mean = np.mean(results, axis=0)
    print(f"\nmean over {len(results)} speakers: accuracy {mean[0]:.4f} (to reach 0.85), error rate {mean[1]:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
