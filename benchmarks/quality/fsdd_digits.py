"""Single spoken digits of a speaker never heard: a classifier of log-mel features, one for each speaker left out.

    python benchmarks/quality/fsdd_digits.py ../shared/data/fsdd [SPEAKER ...]

Beside fsdd.py, whose transcribers must also find where digits begin and end. Five speakers are few, so what tells them
apart is taken out: loudness and noise (energies are clipped at e^9 below the loudest) and most of the mean of every
band; and each clip is learnt from six times, five of them at another tempo and with another length of vocal tract.
Reference: 26 log-mel bands averaged in three segments, logistic regression 70 % over the speakers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from fsdd import RATE, Clips, read
from report import report

from elman.models import SequenceClassifier
from elman.models.speech.log_mel import LogMel
from elman.models.speech.perturb import Perturbation
from elman.runtime.features import Features
from elman.training.progress import Progress

MELS, STACK, COPIES, SEED = 40, 3, 5, 1
RANGE, LEVEL = 9.0, 0.8
"""Nats below the loudest that count; the share of a band's mean that is taken off."""
Steps = npt.NDArray[np.float32]


def steps(clips: Clips, random: np.random.Generator | None) -> list[Steps]:
    """The features (T, STACK * MELS) of each clip; `random` makes another voice of it."""
    front, voices = LogMel(Features(RATE, mels=MELS)), Perturbation(tempo=0.25, warp=0.2)
    made = []
    for begin in range(0, len(clips), 50):
        sounds = [sound for sound, _ in clips[begin : begin + 50]]
        lengths = [len(sound) for sound in sounds]
        padded = torch.from_numpy(np.stack([np.pad(one, (0, max(lengths) - len(one))) for one in sounds]))
        changed = (None, None) if random is None else voices.rates(random, len(sounds))
        energies, frames = front.log_mel(padded, lengths, *changed)
        made += [normalised(energies[:count, b].numpy()) for b, count in enumerate(frames)]
    return made


def normalised(x: Steps) -> Steps:
    x = np.maximum(x - np.percentile(x, 98), -RANGE)
    x -= LEVEL * x.mean(0)
    x /= x.std() + 1e-3
    x = np.pad(x, ((0, -len(x) % STACK), (0, 0)))
    return x.reshape(-1, STACK * MELS).astype(np.float32)


def main(folder: str, *chosen: str) -> None:
    every = read(Path(folder))
    random = np.random.default_rng(SEED)
    clean = {speaker: steps(clips, None) for speaker, clips in every.items()}
    learnt = {
        speaker: clean[speaker] + [s for _ in range(COPIES) for s in steps(clips, random)]
        for speaker, clips in every.items()
    }
    digits = {speaker: [digit for _, digit in clips] for speaker, clips in every.items()}
    found = []
    for left in chosen or tuple(sorted(every)):
        others = [speaker for speaker in every if speaker != left]
        model = SequenceClassifier(
            cell="gru", hidden_size=64, bidirectional=True, pooling="max", dropout=0.5, noise=0.3, batch_size=64,
            lr=2e-3, schedule="cosine", epochs=4, patience=None, valid_fraction=0.0, seed=SEED,
        )  # fmt: skip
        model.fit(
            [s for speaker in others for s in learnt[speaker]],
            [d for speaker in others for d in digits[speaker] * (1 + COPIES)], progress=Progress.auto(),
        )  # fmt: skip
        found.append(model.score(clean[left], digits[left]))
        what = f"fsdd without {left}: accuracy on single digits, a classifier"
        report(what, found[-1], "linear model 0.70 on average", model)
    print(f"\nmean over {len(found)} speakers: accuracy {np.mean(found):.4f} (to reach 0.85)")


if __name__ == "__main__":
    main(*sys.argv[1:])
