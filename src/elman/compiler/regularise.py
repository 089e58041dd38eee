"""Regularisers of the recurrence, as programs made of a cell's program: zoneout and recurrent dropout.

In training they hold `mask` nodes. What they are in evaluation is a program without masks, which is what may be saved.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from elman.compiler.build import Builder, renumber
from elman.compiler.ir import Node, Program
from elman.compiler.verify import verify

_ENDING, _DROPPED = "_zoneout", "_recurrent_dropout"
"""What the names of the programs end in, so that messages do not take them for the plain cells."""


def zoneout(program: Program, rates: Mapping[str, float]) -> Program:
    """The step in training with zoneout (Krueger et al. 2017): a unit of the state s stays as it was with probability
    rates[s], drawn at every step: s' = s + keep ∘ (computed − s).

    What the step computes goes on inside it: an LSTM's h' is made of the computed c, as in the paper.
    """
    return _zoned(program, rates, expected=False)


def zoneout_expected(program: Program, rates: Mapping[str, float]) -> Program:
    """The same in evaluation, the mean over all masks: s' = s + (1 − rate)·(computed − s)."""
    return _zoned(program, rates, expected=True)


def without_zoneout(program: Program, rates: Mapping[str, float]) -> Program:
    """The cell that `zoneout_expected` with these rates has made `program` of; where it has not, `program` itself."""
    out, place = _copied(program)
    outputs = [(name, _computed(out, place[p], name, 1 - rates.get(name, 0.0))) for name, p in program.outputs]
    return _finished(out, place, program, program.name.removesuffix(_ENDING), outputs)


def recurrent_dropout(program: Program, rate: float) -> Program:
    """The step in training with dropout of the recurrent connections (Gal & Ghahramani 2016): what a state brings into
    an affine map is multiplied by a mask/(1 − rate), the same mask in all maps and at every step of a sequence.

    What a state brings: the state itself, and a vector of which it is a factor or a term (r ∘ h in a GRU that resets
    before the matrix, the inner layers of a highway step). Elsewhere in the step the state stays whole.
    """
    out, place, carried = Builder(), dict[int, int](), carriers(program)
    for position, node in enumerate(program.nodes):
        args = [place[a] for a in node.args]
        for index, argument in enumerate(node.args):
            if node.op == "affine" and argument in carried and rate:
                size = program.nodes[argument].size
                mask = out.add(Node("mask", size=size, name=f"recurrent_{carried[argument]}", value=rate))
                scaled = out.apply("mul", mask, out.constant(1 / (1 - rate), size))
                args[index] = out.apply("mul", args[index], scaled)
        place[position] = out.add(replace(node, args=tuple(args)))
    outputs = [(name, place[position]) for name, position in program.outputs]
    return _finished(out, place, program, program.name[: 64 - len(_DROPPED)] + _DROPPED, outputs)


def recurrent_vectors(program: Program) -> list[tuple[Node, int]]:
    """(affine map, number of its vector) wherever a state enters a map, as `recurrent_dropout` understands it."""
    carried = carriers(program)
    return [(node, index) for node in program.affine_maps for index, a in enumerate(node.args) if a in carried]


def carriers(program: Program) -> dict[int, str]:
    """The nodes that a state is a factor or a term of, itself among them -> the name of that state (the first one)."""
    found: dict[int, str] = {}
    for position, node in enumerate(program.nodes):
        if node.op == "state":
            found[position] = node.name
        elif node.op in ("neg", "add", "sub", "mul", "div"):
            names = [found[a] for a in node.args if a in found]
            if names:
                found[position] = names[0]
    return found


def _zoned(program: Program, rates: Mapping[str, float], *, expected: bool) -> Program:
    (out, place), outputs = _copied(program), []
    for name, position in program.outputs:
        new, rate, old = place[position], rates.get(name, 0.0), _state(out, name)
        size = out.nodes[old].size
        if 1 - rate < 1 and new != old:
            if expected:
                keep = out.constant(1 - rate, size)
            else:
                keep = out.add(Node("mask", size=size, name=f"zoneout_{name}", value=rate, index=1))
            new = out.apply("add", old, out.apply("mul", keep, out.apply("sub", new, old)))
        outputs.append((name, new))
    return _finished(out, place, program, program.name[: 64 - len(_ENDING)] + _ENDING, outputs)


def _computed(out: Builder, position: int, name: str, keep: float) -> int:
    """What the state `name` becomes without zoneout, where `position` is old + keep·(it − old); else `position`."""
    old, new = _state(out, name), out.nodes[position]
    if new.op != "add" or new.args[0] != old or out.nodes[new.args[1]].op != "mul":
        return position
    factor, change = (out.nodes[a] for a in out.nodes[new.args[1]].args)
    known = factor.op == "spread" and out.nodes[factor.args[0]] == Node("constant", size="1", value=keep)
    return change.args[0] if known and change.op == "sub" and change.args[1] == old else position


def _state(out: Builder, name: str) -> int:
    return next(p for p, node in enumerate(out.nodes) if node.op == "state" and node.name == name)


def _copied(program: Program) -> tuple[Builder, dict[int, int]]:
    """The nodes of `program`, and where each stands now."""
    out, place = Builder(), dict[int, int]()
    for position, node in enumerate(program.nodes):
        place[position] = out.add(renumber(node, place))
    return out, place


def _finished(
    out: Builder, place: Mapping[int, int], program: Program, name: str, outputs: list[tuple[str, int]]
) -> Program:
    """The new program, verified; `program` itself where nothing has become of it."""
    labels = [(label, place[position]) for label, position in program.labels]
    new = out.program(name, outputs, labels, doc=program.doc, source=program.source)
    return program if new.same_step(program) else verify(new)
