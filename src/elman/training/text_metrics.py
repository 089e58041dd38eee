"""Figures by which texts are judged, each against one or several references: BLEU and error rates.

The libraries that compute them are loaded when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from elman.errors import DataError, OptionError


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], *, lower: bool = False) -> float:
    """Corpus BLEU, 0 to 100, by sacrebleu (tokenization 13a): texts as they are read, not cut into tokens."""
    _check(texts, references)
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise OptionError("BLEU needs the library sacrebleu; install it with: pip install 'elman[data]'") from None
    most = max(map(len, references), default=1)
    streams = [[own[k] if k < len(own) else None for own in references] for k in range(most)]
    return float(corpus_bleu(list(texts), streams, lowercase=lower).score) if texts else 0.0  # type: ignore[arg-type]


def error_rate(texts: Sequence[str], references: Sequence[Sequence[str]], *, characters: bool = False) -> float:
    """Words (or characters) inserted, deleted and replaced as a share of those of the references, by jiwer; of several
    references the one that is nearest counts. Words are what white space separates."""
    _check(texts, references)
    try:
        import jiwer
    except ImportError:
        raise OptionError("error rates need the library jiwer; install it with: pip install 'elman[data]'") from None
    process = jiwer.process_characters if characters else jiwer.process_words
    pairs = [(i, reference) for i, own in enumerate(references) for reference in own]
    if not pairs:
        return 0.0
    found = process([reference for _, reference in pairs], [texts[i] for i, _ in pairs])
    best: dict[int, tuple[float, int, int]] = {}
    for (i, _), words, chunks in zip(pairs, found.references, found.alignments):
        wrong = sum(
            max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx) for c in chunks if c.type != "equal"
        )
        best[i] = min(best.get(i, (float("inf"), 0, 0)), (wrong / max(1, len(words)), wrong, len(words)))
    return sum(wrong for _, wrong, _ in best.values()) / max(1, sum(size for _, _, size in best.values()))


def exact(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of texts that are one of their references; 0 where there are none."""
    _check(texts, references)
    return sum(text in own for text, own in zip(texts, references)) / max(1, len(texts))


def _check(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(texts) != len(references):
        raise DataError(f"{len(texts)} texts against {len(references)} lists of references: they must be as many")
    if not all(references):
        raise DataError("a text has no reference to be judged by; give each at least one")
