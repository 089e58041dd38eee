"""A transcriber that hears which numbers are dialled: telephone keys as pairs of tones, in noise, in half a minute.

`python examples/transcribe_tones.py` learns and judges. `python examples/transcribe_tones.py FOLDER` writes the same
sounds as WAV files with lists of their numbers, for the command line.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elman.models import Transcriber

RATE = 8000
KEYS = ("123A", "456B", "789C", "*0#D")
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)  # Hz of the rows and the columns
PAIRS = {key: (LOW[row], HIGH[column]) for row, keys in enumerate(KEYS) for column, key in enumerate(keys)}
Samples = npt.NDArray[np.float32]


def dialled(number: str, random: np.random.Generator) -> Samples:
    """Every key for 60 to 150 ms, some silence between them, noise over all of it."""
    parts = [np.zeros(random.integers(200, 800))]
    for key in number:
        time = np.arange(random.integers(480, 1200)) / RATE
        low, high = (np.sin(2 * np.pi * hertz * random.uniform(0.99, 1.01) * time) for hertz in PAIRS[key])
        parts += [random.uniform(0.1, 0.4) * (low + high), np.zeros(random.integers(200, 800))]
    sound = np.concatenate(parts)
    return np.asarray(sound + random.normal(0, 0.05, len(sound)), np.float32).clip(-1, 1)


def numbers(count: int, seed: int) -> tuple[list[Samples], list[str]]:
    """Dialled numbers of 3 to 8 keys, and what they are."""
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list("0123456789"), random.integers(3, 9))) for _ in range(count)]
    return [dialled(text, random) for text in texts], texts


def write(folder: Path) -> None:
    """The sounds as 16-bit WAV files, and train.tsv and test.tsv, which list them."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("train", 300, 0), ("test", 100, 1)):
        lines = ["path\ttext"]
        for place, (sound, text) in enumerate(zip(*numbers(count, seed))):
            with wave.open(str(folder / f"{part}-{place:03}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes((sound * 32767).astype("<i2").tobytes())
            lines.append(f"{part}-{place:03}.wav\t{text}")
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Learn, judge, listen."""
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
        return
    model = Transcriber(rate=RATE, cell="gru", hidden_size=32, num_layers=1, stack=2, dropout=0.1, epochs=15, lr=0.01)
    model.set_params(warp=0.0, mel_masks=0, time_masks=0)  # a key is its pitch, and too short to lose a part of it
    model.fit(*numbers(300, seed=0))
    figures = model.evaluate(*numbers(100, seed=1))
    print(
        f"learnt from 300 numbers in {model.summary_.seconds:.0f} s; of 100 others "
        f"{figures['character_error_rate']:.1%} of the digits wrong, {figures['word_error_rate']:.1%} of the numbers"
    )
    sound = dialled("5550123", np.random.default_rng(7))
    print(f"5550123 is heard as {model.predict([sound])[0]}")


if __name__ == "__main__":
    main()
