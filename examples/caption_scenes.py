"""A captioner of made pictures, each of one coloured shape: it learns to say which, in some ten seconds.

`python examples/caption_scenes.py` learns and judges. `python examples/caption_scenes.py FOLDER` writes the same
pictures as PNG files with lists of their captions, for the command line. They are drawn by Pillow (elman[data]).
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from elman.data.scenes import make_scenes
from elman.models import Captioner

PARTS = {"train": (600, 1), "test": (100, 2)}
"""How many pictures each part has, and its seed."""


def write(folder: Path) -> None:
    """The pictures, and train.tsv and test.tsv, in which each stands once for every right caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (count, seed) in PARTS.items():
        scenes = make_scenes(count, seed, size=32, most=1).columns
        lines = ["image\tcaption"]
        for place, (image, captions) in enumerate(zip(scenes["image"], scenes["references"])):
            name = f"{part}-{place:03}.png"
            Image.fromarray(image).save(folder / name)
            lines += [f"{name}\t{caption}" for caption in captions]
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Learn, judge, look."""
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
        return
    train, test = (make_scenes(count, seed, size=32, most=1) for count, seed in PARTS.values())
    model = Captioner(
        cell="gru", hidden_size=48, embedding_size=24, channels=32, lr=0.008, schedule="cosine", batch_size=16,
        epochs=12, target="references",
    ).fit(train)  # fmt: skip
    figures = model.evaluate(test)
    print(
        f"learnt from {len(train)} pictures in {model.summary_.seconds:.0f} s; of {len(test)} others "
        f"{figures['accuracy']:.0%} are described rightly, BLEU {figures['bleu']:.1f}"
    )
    for image, caption in zip(test.columns["image"][:3], test.columns["caption"]):
        print(f"{caption}: it says {model.predict([image])[0]!r}")


if __name__ == "__main__":
    main()
