"""Masks in layers: what a call knows of its noise, the masks of a program step by step, dropout of inputs and weights.

Nothing here keeps a generator: `elman.compiler.masks` tells every mask from the call's seed and its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from elman.compiler import masks
from elman.compiler.interpret import column_ranges
from elman.compiler.ir import Node, Program
from elman.compiler.regularise import recurrent_dropout, recurrent_vectors, zoneout, zoneout_expected
from elman.errors import OptionError, did_you_mean

_BLOCK = 1 << 18
"""Numbers of a mask that are made at once: enough to make torch's calls cheap, too few to take memory."""


@dataclass(frozen=True)
class Noise:
    """Where the masks of one layer and direction come from in one call. Row b stands at the time start[b] + stride·s
    of its sequence at step s."""

    seed: Tensor
    """64 bits, of no dimensions; a tensor, so that compilation and vmap go through."""
    rows: Tensor
    """The number of each sequence in the batch as the user gave it (B)."""
    start: Tensor
    """(B)."""
    stride: int = 1

    @classmethod
    def draw(cls, batch: int, device: torch.device) -> Noise:
        """Noise with a new seed from torch's default generator, for sequences that are walked from step 0 on."""
        seed = torch.randint(-(1 << 63), (1 << 63) - 1, (), dtype=torch.int64)
        rows = torch.arange(batch, device=device)
        return cls(seed, rows, torch.zeros_like(rows))

    def part(self, number: int) -> Noise:
        """The noise of a layer and direction, by its number."""
        return replace(self, seed=self.seed ^ masks.fmix(number))

    def reversed(self, lengths: Sequence[int]) -> Noise:
        """For sequences that are walked from their last step to the first."""
        return replace(self, start=self.start.new_tensor(lengths) - 1, stride=-self.stride)

    def segment(self, rows: Tensor, first: int) -> Noise:
        """For these rows of the batch, from step `first` on."""
        start = self.start.index_select(0, rows) + self.stride * first
        return replace(self, rows=self.rows.index_select(0, rows), start=start)


class Masks:
    """The masks of a program's steps, numbers like x (T, B, I); fresh ones are made for a block of steps at a time, so
    that those of a long sequence never exist all at once."""

    def __init__(self, program: Program, noise: Noise | None, sizes: Mapping[str, int], x: Tensor) -> None:
        # without noise a program with masks is refused by the interpreter, which is not given them
        self.nodes = [node for node in program.nodes if node.op == "mask"] if noise is not None else []
        self.noise, self.sizes, self.like = noise, sizes, x
        self.count = max(1, _BLOCK // max(1, x.shape[1] * max(sizes.values())))
        self.block = -1
        self.fresh: dict[str, Sequence[Tensor]] = {}
        self.fixed = {node.name: self._make(node, None) for node in self.nodes if not node.index}

    def at(self, step: int) -> dict[str, Tensor]:
        """The masks of this step by name, (B, units) each."""
        if len(self.fixed) == len(self.nodes):
            return self.fixed
        block, place = divmod(step, self.count)
        if block != self.block:
            steps = range(block * self.count, min((block + 1) * self.count, len(self.like)))
            self.block, self.fresh = block, {n.name: self._make(n, steps).unbind(0) for n in self.nodes if n.index}
        return self.fixed | {name: steps[place] for name, steps in self.fresh.items()}

    def _make(self, node: Node, steps: range | None) -> Tensor:
        """The mask (B, units), or (T, B, units) at `steps`."""
        noise, like = self.noise, self.like
        assert noise is not None
        units = torch.arange(self.sizes[node.size], device=like.device)
        times = None
        if steps is not None:
            walked = torch.arange(steps.start, steps.stop, device=like.device)[:, None]
            times = noise.start + noise.stride * walked
        kept: Tensor = masks.kept(masks.number(node.name), node.value, noise.seed, noise.rows, units, times)
        return kept.to(like.dtype)


@dataclass(frozen=True)
class Regularisers:
    """The regularisers of a layer, all rates in [0, 1)."""

    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float | Mapping[str, float] = 0.0
    """One rate for every state, or rates by the names of states."""
    weight_dropout: float = 0.0

    def __post_init__(self) -> None:
        by_state = self.zoneout.items() if isinstance(self.zoneout, Mapping) else ()
        named = [*((f"zoneout of {state!r}", rate) for state, rate in by_state)]
        named += [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "zoneout" or not by_state]
        for name, rate in named:
            if type(rate) not in (int, float) or not 0 <= rate < 1:
                raise OptionError(f"{name} must be a number in [0, 1), not {rate!r}")

    @property
    def noisy(self) -> bool:
        """Whether training draws anything."""
        zones = any(self.zoneout.values()) if isinstance(self.zoneout, Mapping) else self.zoneout
        return bool(self.input_dropout or self.recurrent_dropout or self.weight_dropout or zones)

    def check(self, programs: Sequence[Program]) -> None:
        """OptionError for what would do nothing in a stack of these cells: a state or a map that none of them has."""
        states = list(dict.fromkeys(state for program in programs for state in program.states))
        for state in self.zoneout if isinstance(self.zoneout, Mapping) else ():
            if state not in states:
                known = f"the states are {', '.join(states)}"
                raise OptionError(f"zoneout: there is no state {state!r}{did_you_mean(str(state), states)}; {known}")
        if not any(recurrent_vectors(program) for program in programs):
            for name in ("recurrent_dropout", "weight_dropout"):
                if getattr(self, name):
                    cells = ", ".join(dict.fromkeys(program.name for program in programs))
                    raise OptionError(f"{name} acts where a state enters an affine map, which none does in {cells}")

    def rates(self, program: Program) -> dict[str, float]:
        """Zoneout's rate of every state."""
        given = self.zoneout
        return {s: given.get(s, 0.0) if isinstance(given, Mapping) else given for s in program.states}

    def training(self, program: Program) -> Program:
        """The step as it is in training."""
        return recurrent_dropout(zoneout(program, self.rates(program)), self.recurrent_dropout)

    def evaluation(self, program: Program) -> Program:
        """The step as it is in evaluation and in model files: without masks."""
        return zoneout_expected(program, self.rates(program))


def drop_input(x: Tensor, rate: float, noise: Noise) -> Tensor:
    """x (T, B, I) with the same units dropped at every step of a sequence (Gal & Ghahramani 2016)."""
    units = torch.arange(x.shape[-1], device=x.device)
    kept: Tensor = masks.kept(masks.number("input"), rate, noise.seed, noise.rows, units)
    return x * (kept.to(x.dtype) / (1 - rate))


def drop_weights(
    program: Program, weights: Mapping[str, Tensor], sizes: Mapping[str, int], rate: float, noise: Noise
) -> dict[str, Tensor]:
    """The weights, with entries dropped where a matrix multiplies a state, the same in the whole call (Merity, Keskar &
    Socher 2018, after DropConnect). An entry stands at the unit of its column in the row of its row."""
    dropped = dict(weights)
    for node, index in recurrent_vectors(program):
        name = f"weight_{node.name}"
        weight = dropped[name]
        a, b = column_ranges(program, node, sizes)[index]
        rows, columns = (torch.arange(*ends, device=weight.device) for ends in ((len(weight),), (a, b)))
        kept = masks.kept(masks.number(name), rate, noise.seed, rows, columns).to(weight.dtype)
        dropped[name] = torch.cat([weight[:, :a], weight[:, a:b] * (kept / (1 - rate)), weight[:, b:]], 1)
    return dropped
