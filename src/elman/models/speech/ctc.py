"""Decoding for connectionist temporal classification (Graves et al. 2006): best path, and prefix beam search.

Class 0 is the blank, class v + 1 the token v. All in log probabilities, float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LogProbabilities = npt.NDArray[np.floating]
Prefix = tuple[int, ...]
Scorer = Callable[[Sequence[Prefix]], npt.NDArray[np.floating]]
"""Prefixes -> log probabilities (N, V + 1) of the token that follows each, and in the last column of the end."""


def steps_needed(tokens: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """The steps that a transcript takes at least: one a token, and a blank between two that are the same."""
    numbers = np.asarray(tokens)
    return len(numbers) + int((numbers[1:] == numbers[:-1]).sum())


def greedy(log_probabilities: LogProbabilities) -> list[int]:
    """(T, 1 + V) -> the tokens of the likeliest path: repeats become one, blanks none."""
    best = log_probabilities.argmax(1)
    changes = np.concatenate([[True], best[1:] != best[:-1]])
    return [int(v) - 1 for v in best[changes] if v]


@dataclass(frozen=True)
class Candidate:
    """A transcript that beam search found: `log_probability` over the alignments it followed, `score` what ranks it."""

    tokens: Prefix
    log_probability: float
    score: float


@dataclass
class _Entry:
    """A prefix: log probabilities of the alignments that end in a blank and in its last token; from the language
    model its own, and those of what may follow."""

    blank: float = -math.inf
    token: float = -math.inf
    language: float = 0.0
    following: npt.NDArray[np.floating] | None = None

    @property
    def total(self) -> float:
        return _add(self.blank, self.token)


def beam_search(
    log_probabilities: LogProbabilities,
    width: int,
    *,
    language: Scorer | None = None,
    weight: float = 0.5,
    bonus: float = 0.0,
    least: float = -12.0,
) -> list[Candidate]:
    """(T, 1 + V) -> up to `width` transcripts, the best first (Graves & Jaitly 2014; Hannun et al. 2014).

    Ranks by log P(tokens | sound) + weight · log P(tokens, end | language) + bonus · tokens. A beam is wide enough when
    no prefix falls out of it: log_probability is then the sum over all alignments. least: a token that is less likely
    than this at a step does not begin anything there (-inf: follow everything).
    """
    beam: dict[Prefix, _Entry] = {(): _Entry(blank=0.0)}

    def rank(item: tuple[Prefix, _Entry]) -> float:
        return item[1].total + weight * item[1].language + bonus * len(item[0])

    for row in log_probabilities.tolist():
        if language is not None:
            _look_ahead(beam, language)
        beam = _step(beam, row, [v for v in range(1, len(row)) if row[v] > least])
        beam = dict(sorted(beam.items(), key=rank, reverse=True)[:width])
    if language is not None:
        _look_ahead(beam, language)
        for entry in beam.values():
            assert entry.following is not None
            entry.language += float(entry.following[-1])
    return [Candidate(prefix, e.total, rank((prefix, e))) for prefix, e in sorted(beam.items(), key=rank, reverse=True)]


def _step(beam: dict[Prefix, _Entry], row: Sequence[float], classes: Sequence[int]) -> dict[Prefix, _Entry]:
    """One step further: every prefix as it is, and longer by each of the classes."""
    new: dict[Prefix, _Entry] = {}
    for prefix, entry in beam.items():
        last, total = prefix[-1] + 1 if prefix else 0, entry.total
        same = new.setdefault(prefix, _Entry())
        same.language, same.following = entry.language, entry.following
        same.blank = _add(same.blank, total + row[0])
        if last:
            same.token = _add(same.token, entry.token + row[last])
        for v in classes:
            # Two equal tokens in a row are two only where a blank parts them.
            came = (entry.blank if v == last else total) + row[v]
            if came == -math.inf:
                continue
            longer = (*prefix, v - 1)
            after = new.get(longer)
            if after is None:
                after = new[longer] = _Entry()
                if entry.following is not None:
                    after.language = entry.language + float(entry.following[v - 1])
            after.token = _add(after.token, came)
    return new


def _look_ahead(beam: dict[Prefix, _Entry], language: Scorer) -> None:
    """Ask the language model what follows those prefixes that are new, all at once."""
    fresh = [prefix for prefix, entry in beam.items() if entry.following is None]
    if fresh:
        for prefix, row in zip(fresh, language(fresh)):
            beam[prefix].following = row


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
