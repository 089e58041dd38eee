"""Linear-chain conditional random field: the tags of a sequence chosen together, above the logits of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.errors import DataError, OptionError
from elman.nn import chain, ragged
from elman.nn.loss import REDUCTIONS, Reduction


def bio(tags: Sequence[str]) -> np.ndarray:
    """Which of the tags B-..., I-..., O may follow which, booleans (V + 1, V); the last row: which may begin.

    I-X follows B-X and I-X alone (Ramshaw & Marcus 1995).
    """
    first = np.array([not tag.startswith("I-") for tag in tags])
    kinds = [tag[2:] if tag[:2] in ("B-", "I-") else None for tag in tags]
    same = np.array([[one is not None and one == other for other in kinds] for one in kinds])
    return np.concatenate([first | same, first[None]])


def obeys(rules: np.ndarray, tags: np.ndarray) -> bool:
    """Whether a sequence of numbers of tags (T,) is one that the rules (V + 1, V) allow."""
    return not len(tags) or bool(rules[-1, tags[0]] and rules[tags[:-1], tags[1:]].all())


class CRF(nn.Module):
    """p(y | x) ∝ exp(start[y_1] + Σ_t logits[t, y_t] + Σ_t transitions[y_t, y_t+1] + end[y_T]) (Lafferty et al. 2001).

    tags: V. allowed: booleans (V + 1, V) as `bio` gives them, or a function that gives them once they are needed:
    decoding, probabilities and `log_partition` keep to sequences that they allow; the loss is that of the model over
    all sequences, so that what breaks the rules in the data has a loss too. All weights are 0 at first: the tags are
    then independent. Works on logits (T, B, V) with `lengths` (B) as the recurrent layers take them, 0 included.
    """

    def __init__(self, tags: int, allowed: Any = None) -> None:
        super().__init__()
        if type(tags) is not int or tags < 1:
            raise OptionError(f"a CRF needs a whole number of tags, 1 or more, not {tags!r}")
        self.tags = tags
        self.transitions = nn.Parameter(torch.zeros(tags, tags))
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))
        self._allowed = allowed if callable(allowed) else self._sound(allowed)

    def _sound(self, allowed: Any) -> np.ndarray | None:
        """What may follow what, checked."""
        if allowed is None:
            return None
        found = np.asarray(allowed)
        if found.dtype != bool or found.shape != (self.tags + 1, self.tags):
            raise OptionError(f"allowed must be booleans of shape ({self.tags + 1}, {self.tags})")
        if not found.any(1).all():
            raise OptionError("allowed leaves a tag that nothing may follow, or no tag to begin with")
        return found

    @property
    def allowed(self) -> np.ndarray | None:
        """Which tag may follow which (V + 1, V), the last row: which may begin; None: all may."""
        if callable(self._allowed):
            self._allowed = self._sound(self._allowed())
        return self._allowed

    def forward(
        self, logits: Tensor, targets: Tensor, lengths: Any = None, *, reduction: Reduction = "step"
    ) -> Tensor:  # fmt: skip
        """−log p(targets), nats: logits (T, B, V), targets (T, B) -> a scalar; reduction as in `loss.cross_entropy`."""
        logits, ends = self._checked(logits, lengths)
        if reduction not in REDUCTIONS:
            raise OptionError(f"unknown reduction {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
        if targets.shape != logits.shape[:2]:
            raise DataError(f"the targets must have the shape {tuple(logits.shape[:2])}, not {tuple(targets.shape)}")
        if not logits.numel():
            return logits.sum()
        targets = targets.masked_fill(_outside(logits, ends), 0)
        weights = (weight.to(logits.dtype) for weight in (self.transitions, self.start, self.end))
        total = chain.losses(logits, targets, ends, *weights).sum()
        if reduction == "step":
            return total / ends.sum().clamp(min=1)
        return total / (logits.shape[1] if reduction == "sequence" else 1)

    @torch.no_grad()
    def log_partition(self, logits: Tensor, lengths: Any = None) -> Tensor:
        """log of the sum over all allowed sequences of e^score (B,), in float64."""
        logits, ends = self._checked(logits.double(), lengths)
        if not logits.numel():
            return logits.new_zeros(logits.shape[1])
        transitions, start, end = self._scores(logits)
        last = chain.log_forward(logits, ends, transitions, start)[-1]
        return torch.where(ends > 0, (last + end).logsumexp(1), 0)

    @torch.no_grad()
    def marginals(self, logits: Tensor, lengths: Any = None) -> Tensor:
        """p(y_t = v) among the allowed sequences (T, B, V), in float64; zeros beyond the ends."""
        logits, ends = self._checked(logits.double(), lengths)
        if not logits.numel():
            return logits
        transitions, start, end = self._scores(logits)
        alphas = torch.stack(chain.log_forward(logits, ends, transitions, start))
        betas = torch.stack(chain.log_backward(logits, ends, transitions, end))
        return (alphas + betas).softmax(2).masked_fill(_outside(logits, ends)[..., None], 0)

    @torch.no_grad()
    def viterbi(self, logits: Tensor, lengths: Any = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The n best allowed sequences of tags, best first (n, T, B), and their scores (n, B), float64 (Viterbi 1967).

        Beyond a sequence's end its tags are 0. Where there are fewer than n sequences, the scores of the rest are −∞.
        The score minus `log_partition` is the log-probability.
        """
        if type(n) is not int or n < 1:
            raise OptionError(f"the number of sequences must be a whole number, 1 or more, not {n!r}")
        logits, ends = self._checked(logits.double(), lengths)
        steps, batch, tags = logits.shape
        if not logits.numel():
            scores = logits.new_full((n, batch), -torch.inf)
            scores[0] = 0
            return torch.zeros(n, steps, batch, dtype=torch.long, device=logits.device), scores
        transitions, start, end = self._scores(logits)
        # best (B, V, n): scores of the n best beginnings that end in a tag; back: which of (V·n) each goes on from.
        best = logits.new_full((batch, tags, n), -torch.inf)
        best[..., 0] = start + logits[0]
        bests, back = [best], [torch.zeros_like(best, dtype=torch.long)]
        step = transitions.T.repeat_interleave(n, 1)  # (V, V·n)
        for row in logits[1:].unbind(0):
            every = best.flatten(1)[:, None] + step
            top, place = every.max(2, keepdim=True) if n == 1 else every.topk(n, 2)
            best = top + row[..., None]
            bests.append(best)
            back.append(place)
        final = torch.stack(bests)[(ends - 1).clamp(min=0), torch.arange(batch, device=ends.device)] + end[:, None]
        empty = (ends == 0)[:, None, None]
        final = final.masked_fill(empty, -torch.inf)  # no words: one sequence, without tags
        final[:, :1, :1] = final[:, :1, :1].masked_fill(empty, 0)
        scores, last = final.flatten(1).topk(n, 1)  # (B, n)
        tags_of = _followed(torch.stack(back).flatten(2).cpu().numpy(), last.cpu().numpy(), ends.cpu().numpy()) // n
        paths = torch.from_numpy(tags_of).to(logits.device)  # (T, B, n)
        return paths.permute(2, 0, 1).masked_fill(_outside(logits, ends), 0), scores.T

    def extra_repr(self) -> str:
        return f"{self.tags}{'' if self._allowed is None else ', constrained'}"

    def _checked(self, logits: Tensor, lengths: Any) -> tuple[Tensor, Tensor]:
        """The logits, 0 beyond the ends and at least float32, and the ends as a tensor (B,)."""
        if logits.dim() != 3 or logits.shape[2] != self.tags:
            raise DataError(f"the logits must have the shape (T, B, {self.tags}), not {tuple(logits.shape)}")
        steps, batch, _ = logits.shape
        found = [steps] * batch if lengths is None else ragged.checked_lengths(lengths, steps, batch)
        ends = torch.tensor(found, dtype=torch.long, device=logits.device)
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        return logits if lengths is None else logits.masked_fill(_outside(logits, ends)[..., None], 0), ends

    def _scores(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """transitions (V, V), start and end (V,), −∞ where `allowed` forbids them."""
        transitions, start, end = (weight.to(like.dtype) for weight in (self.transitions, self.start, self.end))
        if self.allowed is None:
            return transitions, start, end
        forbidden = torch.from_numpy(~self.allowed).to(like.device)
        lowest = -torch.inf
        return transitions.masked_fill(forbidden[:-1], lowest), start.masked_fill(forbidden[-1], lowest), end


def _outside(logits: Tensor, ends: Tensor) -> Tensor:
    """Which steps lie beyond the ends (T, B)."""
    return torch.arange(logits.shape[0], device=ends.device)[:, None] >= ends


def _followed(back: np.ndarray, last: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The places (T, B, n) on the way back from the last (B, n), each given by the one after it: back (T, B, V·n)."""
    places = np.empty((len(back), *last.shape), np.int64)
    rows = np.arange(len(last))[:, None]
    place = last
    for t in range(len(back) - 1, -1, -1):
        if t + 1 < len(back):
            place = np.where((t + 1 < ends)[:, None], back[t + 1][rows, place], last)
        places[t] = place
    return places
