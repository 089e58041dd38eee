"""Initialisers of recurrent layers, in place. A new `Recurrent` has `default_`: Glorot for inputs, orthogonal for
states, forget bias 1. The drop-ins keep torch's own.

A layer's state columns are the part of an affine map's matrix that multiplies a state or a computed vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from elman.compiler.interpret import column_ranges
from elman.compiler.ir import Program, resolve
from elman.errors import OptionError

KEEP_SIGN = {"f": 1.0, "z": 1.0, "i": -1.0, "u": -1.0}
"""The gates of the memory by the names of their maps in the catalogue: +1 keeps the old state, −1 lets a new one in."""


def _maps(layer: nn.Module) -> Iterator[tuple[Program, dict[str, Tensor], dict[str, int]]]:
    """(program, weights by name, sizes) of each layer and direction."""
    parts = getattr(layer, "parts", None)
    if parts is None:
        raise OptionError(f"initialisers of elman.nn.init take an elman.nn.Recurrent, not {type(layer).__name__}")
    for part in parts():
        yield part.program, part.weights, resolve(part.input_size, part.hidden_size, part.output_size)


def _state_blocks(program: Program, weights: dict[str, Tensor], sizes: dict[str, int]) -> Iterator[Tensor]:
    for node in program.affine_maps:
        for argument, (a, b) in zip(node.args, column_ranges(program, node, sizes)):
            if program.nodes[argument].op != "input":
                yield weights[f"weight_{node.name}"][:, a:b]


def _fill(block: Tensor, maker: Callable[[Tensor], Tensor]) -> None:
    # no orthogonal matrix is made in a type of 16 bits
    dtype = block.dtype if block.dtype.itemsize >= 4 else torch.float32
    block.copy_(maker(torch.empty(block.shape, dtype=dtype, device=block.device)))


@torch.no_grad()
def default_(layer: nn.Module, forget_bias: float = 1.0) -> None:
    """Glorot-uniform input columns, orthogonal state columns, biases 0, `forget_bias` for a gate called f, per-unit
    parameters 0 (1 where they scale a normalised vector)."""
    for program, weights, sizes in _maps(layer):
        for name, weight in weights.items():
            if weight.dim() == 1:
                nn.init.constant_(weight, 1.0 if _scales(program, name) else 0.0)
        for node in program.affine_maps:
            for argument, (a, b) in zip(node.args, column_ranges(program, node, sizes)):
                maker = nn.init.xavier_uniform_ if program.nodes[argument].op == "input" else nn.init.orthogonal_
                _fill(weights[f"weight_{node.name}"][:, a:b], maker)
    forget_bias_(layer, forget_bias)


def _scales(program: Program, name: str) -> bool:
    """True for a parameter that multiplies a normalised vector: zero there would close the unit for good."""
    for node in program.nodes:
        if node.op == "mul" and any(
            program.nodes[a].name == name and program.nodes[a].op == "parameter" for a in node.args
        ):
            for other in (program.nodes[a] for a in node.args):
                if other.op == "mul" and any(_is_rsqrt(program, a) for a in other.args):
                    return True
    return False


def _is_rsqrt(program: Program, position: int) -> bool:
    node = program.nodes[position]
    return node.op == "rsqrt" or (node.op == "spread" and _is_rsqrt(program, node.args[0]))


@torch.no_grad()
def forget_bias_(layer: nn.Module, value: float = 1.0) -> None:
    """The bias of every gate called f (Gers et al. 2000; Jozefowicz et al. 2015)."""
    for _, weights, _ in _maps(layer):
        if "bias_f" in weights:
            nn.init.constant_(weights["bias_f"], value)


@torch.no_grad()
def orthogonal_(layer: nn.Module, gain: float = 1.0) -> None:
    """State columns orthogonal, times `gain` (Saxe et al. 2014)."""
    for program, weights, sizes in _maps(layer):
        for block in _state_blocks(program, weights, sizes):
            _fill(block, lambda fresh: nn.init.orthogonal_(fresh, gain))


@torch.no_grad()
def identity_(layer: nn.Module, scale: float = 1.0) -> None:
    """State columns `scale` times the identity (Le, Jaitly & Hinton 2015, with the relu cell: IRNN)."""
    for program, weights, sizes in _maps(layer):
        for block in _state_blocks(program, weights, sizes):
            _fill(block, lambda fresh: nn.init.eye_(fresh).mul_(scale))


@torch.no_grad()
def chrono_(layer: nn.Module, t_max: int, generator: torch.Generator | None = None) -> None:
    """Gate biases for memories of 1 to `t_max` steps: keep gates log(U[1, t_max − 1]), input gates its negative
    (Tallec & Ollivier 2018). Gates are those called f, z (keep) and i, u (let in)."""
    if t_max < 3:
        raise OptionError(f"chrono needs a longest memory of 3 steps or more, not {t_max}")
    for program, weights, _ in _maps(layer):
        spans: Tensor | None = None
        for gate, sign in KEEP_SIGN.items():
            bias = weights.get(f"bias_{gate}")
            if bias is None:
                continue
            if spans is None or spans.shape != bias.shape:
                spans = torch.empty_like(bias).uniform_(1, t_max - 1, generator=generator).log_()
            bias.copy_(sign * spans)
        if spans is None:
            raise OptionError(f"chrono finds no gate of memory in {program.name}: those are called f, z, i, u")
