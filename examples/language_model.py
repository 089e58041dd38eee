"""A language model of characters learns from Python's own manual in a few seconds: `python examples/language_model.py`.

Compared with count models of characters, by the bits that each needs per character of a text it has not seen.
"""

from __future__ import annotations

from pydoc_data.topics import topics  # what help("if") shows, as every Python carries it

from elman.models import LanguageModel
from elman.models.language.ngram import character_bits

TEXT = "".join(topics[name] for name in sorted(topics))[:120_000]
LEARN, CHECK = TEXT[:108_000], TEXT[108_000:]


def main() -> None:
    """Learn, compare, write."""
    model = LanguageModel(cell="gru", hidden_size=96, bptt=64, batch_size=32, epochs=6, lr=0.01, schedule="linear")
    model.fit(LEARN, valid=CHECK)
    print(f"{len(LEARN):,} characters learnt in {model.summary_.seconds:.0f} s; bits per character of the next 12,000:")
    print(f"  letter frequencies        {character_bits(LEARN, CHECK, 0):.2f}")
    print(f"  the letter before         {character_bits(LEARN, CHECK, 1):.2f}")
    print(f"  this model                {model.evaluate(CHECK)['bits_per_character']:.2f}")

    print("\nHow much of a surprise (nats per character):")
    for sentence in ("The class definition is an executable statement.", "Statement the executable class an is."):
        score = model.score([sentence])[0]
        print(f"  {-score['log_probability'] / score['tokens']:.2f}  {sentence}")

    for temperature in (0.0, 0.5, 1.0):
        print(f"\nWritten at temperature {temperature}:")
        print("  " + " ".join(model.generate("The ", 150, temperature=temperature, seed=1).split()))


if __name__ == "__main__":
    main()
