"""A tagger that reads words by their letters tags words that do not exist: `python examples/tag_words.py`.

It learns from sentences of invented words with English endings, then reads Jabberwocky, or something like it.
"""

from __future__ import annotations

import numpy as np

from elman.models import SequenceTagger

ENDINGS = {"ADJ": ("y", "ish", "ous"), "NOUN": ("er", "ness", "ock"), "VERB": ("ed", "ified"), "ADV": ("ly", "wise")}
WORDS = {"DET": ("the", "a", "every"), "ADP": ("in", "on", "under"), "PUNCT": (".", "!")}
PATTERNS = ("DET ADJ NOUN VERB ADV PUNCT", "DET NOUN VERB ADP DET ADJ NOUN PUNCT", "ADV DET NOUN VERB PUNCT")


def sentence(generator: np.random.Generator) -> tuple[list[str], list[str]]:
    """Words and their tags."""
    tags = str(generator.choice(PATTERNS)).split()
    words = []
    for tag in tags:
        stem = "".join(str(generator.choice(list(kind))) for kind in ("bcdfglmrstvw", "aeiou", "bgklmnprtv"))
        words.append(str(generator.choice(WORDS[tag])) if tag in WORDS else stem + str(generator.choice(ENDINGS[tag])))
    return words, tags


def main() -> None:
    """Learn, judge, read."""
    generator = np.random.default_rng(0)
    made = [sentence(generator) for _ in range(400)]
    words, tags = [w for w, _ in made], [t for _, t in made]
    model = SequenceTagger(
        cell="gru", hidden_size=24, word_size=16, letter_size=12, letter_hidden_size=16, epochs=8, lr=0.01
    )
    model.fit(words[:300], tags[:300])
    figures = model.evaluate(words[300:], tags[300:])
    print(f"right in {figures['accuracy']:.1%} of the words of new sentences,")
    print(f"and in {figures['accuracy_unknown']:.1%} of those that it had never seen\n")

    for text in (
        "the slithous tover gimbled mimsly .",
        "frumiously a bandersnatcher burbled under every tulgy wockness !",
    ):
        own = text.split()
        print("  ".join(f"{word}/{tag}" for word, tag in zip(own, model.predict([own])[0])))


if __name__ == "__main__":
    main()
