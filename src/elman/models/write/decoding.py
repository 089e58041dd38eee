"""Beam search over any step function: the likeliest sequences, with length normalisation, several of them if asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.errors import OptionError

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Tokens (N) and what is carried (nested tuples of tensors with N rows, None) -> logits (N, V) and what to carry on."""


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that was found: its tokens without the end, its log-probability (nats), the score that ranks it."""

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool
    """False where it reached the length limit before its end."""


def check(beam_size: int, n_best: int, length_penalty: float) -> None:
    """Raises OptionError for what cannot be searched with."""
    for flag, value in (("--beam-size", beam_size), ("--n-best", n_best)):
        if type(value) is not int or value < 1:
            raise OptionError(f"{flag} must be a whole number, 1 or more, not {value!r}")
    if n_best > beam_size:
        raise OptionError(f"--n-best {n_best} needs a --beam-size of {n_best} or more, not {beam_size}")
    if type(length_penalty) not in (int, float) or not 0 <= length_penalty < math.inf:
        raise OptionError(f"--length-penalty must be a number, 0 or more, not {length_penalty!r}")


def rows(carried: Any, index: Tensor) -> Any:
    """These rows of everything that is carried."""
    if isinstance(carried, Tensor):
        return carried.index_select(0, index)
    if isinstance(carried, tuple):
        parts = [rows(part, index) for part in carried]
        return type(carried)(*parts) if hasattr(carried, "_fields") else tuple(parts)
    return carried


@torch.no_grad()
def beam_search(
    step: Step,
    carried: Any,
    limits: Sequence[int],
    *,
    start: int,
    end: int,
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float = 1.0,
    never: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """For each of B inputs its `n_best` hypotheses, best first; a beam of 1 is greedy search.

    step, carried: the network and what it carries at the start, B rows. It is called with K·B rows, row k·B + b for
    hypothesis k of input b. limits (B): most tokens of each, the end among them. never: tokens that are not written.
    A hypothesis of n tokens, the end among them, is ranked by log-probability / n**length_penalty (0: not normalised;
    1: the mean). An input is done when it has K ended hypotheses and none that is open would, ended now, be better than
    the last of them. Those cut off at the limit come after those that ended.
    """
    check(beam_size, n_best, length_penalty)
    search = _Search(limits, beam_size, n_best, length_penalty, end)
    if not limits:
        return []
    index = torch.arange(len(limits)).repeat(beam_size)
    carried, device = _first(carried, index)
    tokens = torch.full((len(index),), start, device=device)
    forbidden = torch.tensor(list(never), dtype=torch.long, device=device)
    while not search.over:
        logits, carried = step(tokens, carried)
        nats = logits.log_softmax(-1).index_fill_(-1, forbidden, -torch.inf)
        tokens, origin = search.extend(nats)
        if not search.over:
            carried = rows(carried, origin.to(device))
            tokens = tokens.to(device)
    return search.best()


def _first(carried: Any, index: Tensor) -> tuple[Any, torch.device]:
    """What is carried, for each hypothesis, and where it lies."""
    found: list[torch.device] = []

    def look(part: Any) -> None:
        if isinstance(part, Tensor):
            found.append(part.device)
        elif isinstance(part, tuple):
            for inner in part:
                look(inner)

    look(carried)
    device = found[0] if found else torch.device("cpu")
    return rows(carried, index.to(device)), device


class _Search:
    """The open and the ended hypotheses of every input, on the CPU: (K, B) and lists."""

    def __init__(self, limits: Sequence[int], beam_size: int, n_best: int, length_penalty: float, end: int) -> None:
        self.limits, self.beam, self.wanted, self.penalty, self.end = limits, beam_size, n_best, length_penalty, end
        self.length = 0
        self.scores = torch.full((beam_size, len(limits)), -torch.inf, dtype=torch.float64)
        self.scores[0] = 0  # all hypotheses of an input begin alike: one is enough
        self.written = torch.zeros(beam_size, len(limits), 0, dtype=torch.long)
        self.ended: list[list[Hypothesis]] = [[] for _ in limits]
        self.done = [limit < 1 for limit in limits]

    @property
    def over(self) -> bool:
        return all(self.done)

    def extend(self, nats: Tensor) -> tuple[Tensor, Tensor]:
        """One more token for each hypothesis, of log-probabilities (K·B, V) -> the tokens (K·B), and the row that each
        open hypothesis comes from."""
        beam, batch = self.scores.shape
        classes = nats.shape[-1]
        # Each open hypothesis has one end, so that among twice as many candidates enough stay open.
        count = min(2 * beam, classes)
        best, which = nats.view(beam, batch, classes).topk(count, -1)  # of each row, then of all rows of an input
        total = self.scores[..., None] + best.double().cpu()
        total, place = total.transpose(0, 1).flatten(1).topk(min(2 * beam, beam * count), 1)  # (B, 2K)
        origin = place // count
        token = which.cpu().transpose(0, 1).flatten(1).gather(1, place)
        self.length += 1
        ends = token == self.end
        self._note_ended(total[:, :beam], origin, ends[:, :beam])
        first = ends.to(torch.int8).argsort(dim=1, stable=True)[:, :beam]  # the open ones, still in order
        scores, origin, token, ends = (t.gather(1, first).T for t in (total, origin, token, ends))
        self.scores = scores.masked_fill(ends, -torch.inf).contiguous()
        self.written = torch.cat([self.written.gather(0, origin[..., None].expand(-1, -1, self.length - 1)),
                                  token[..., None]], -1)  # fmt: skip
        self._close()
        return token.flatten(), (origin * batch + torch.arange(batch)).flatten()

    def _note_ended(self, total: Tensor, origin: Tensor, ends: Tensor) -> None:
        for b, j in (ends & total.isfinite()).nonzero().tolist():
            if not self.done[b]:
                self._note(b, self.written[origin[b, j], b], float(total[b, j]), True)

    def _note(self, b: int, tokens: Tensor, nats: float, ended: bool) -> None:
        self.ended[b].append(Hypothesis(tuple(tokens.tolist()), nats, self._score(nats), ended))

    def _score(self, nats: float) -> float:
        return float(nats / self.length**self.penalty)

    def _close(self) -> None:
        """Which inputs are done; at its limit an input takes open hypotheses where it has too few that ended."""
        for b, limit in enumerate(self.limits):
            if self.done[b]:
                continue
            found = sorted((h.score for h in self.ended[b]), reverse=True)
            hopes = float(self.scores[0, b])
            enough = len(found) >= self.beam and not self._score(hopes) > found[self.beam - 1]
            if self.length >= limit:
                for k in range(min(self.beam, self.wanted - len(found))):
                    if self.scores[k, b].isfinite():
                        self._note(b, self.written[k, b], float(self.scores[k, b]), False)
            self.done[b] = enough or self.length >= limit or not math.isfinite(hopes)

    def best(self) -> list[list[Hypothesis]]:
        """The hypotheses, ranked."""
        return [sorted(found, key=lambda h: (not h.ended, -h.score))[: self.wanted] for found in self.ended]
