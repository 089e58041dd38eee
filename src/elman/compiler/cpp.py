"""Prints the loops of a cell's plan as C++: what the engine runs between its products. A pure function to text.

Every loop becomes a function that the engine calls for some rows and some vectors of units:

    void forward_2_H(const Place* p, long from, long to, long first, long last, long units, const Noise* noise)

p: where the values lie, numbered as the plan's places. A loop over numbers (`forward_2_1`) walks over rows alone.
Nothing of the program's names or texts is printed: programs come out of model files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from zlib import crc32

from elman.compiler.ir import REDUCTIONS, Node, Program
from elman.compiler.plan import plan
from elman.compiler.stages import DENSE, Loop, Place, Steps

ABI = 3
"""Goes up whenever the printed text and what calls it no longer fit to older ones."""

MOST_PRINTED = 500
"""Values and their arguments in a program that is printed: beyond, a compiler takes gigabytes, and a file may claim
thousands. The longest cell of the catalogue has less than half."""

_FORMS = {
    "neg": "-{0}", "sigmoid": "sigmoid({0})", "tanh": "tanh_({0})", "relu": "rectify({0})", "softplus": "softplus({0})",
    "exp": "exponential({0})", "log": "logarithm({0})", "abs": "absolute({0})", "rsqrt": "(real)1 / root({0})",
    "reciprocal": "(real)1 / {0}", "step": "step({0})", "sign": "sign({0})", "spread": "{0}",
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "minimum": "least({0}, {1})", "maximum": "most({0}, {1})", "less": "pick({0} < {1}, all(1), V{{}})",
}  # fmt: skip


def printable(program: Program) -> bool:
    """False for a program that is too long for a compiler."""
    return sum(1 + len(node.args) for node in program.nodes) <= MOST_PRINTED


def as_cpp(program: Program) -> str:
    """The loops of both directions; it includes engine/cell.h."""
    both = plan(program, False)
    lines = ['#include "cell.h"', ""]
    for direction, steps in (("forward", both.forward), ("backward", both.backward)):
        for name, size, loop in loops(direction, steps):
            lines += _Printer(steps).numbers(name, loop) if size == "1" else _Printer(steps).vectors(name, size, loop)
    return "\n".join([*lines, ""])


def loops(direction: str, steps: Steps) -> Iterator[tuple[str, str, Loop]]:
    """(name of its function, size, loop) of every loop that does anything."""
    for number, stage in enumerate(steps.stages):
        for size, loop in [("1", stage.numbers), *stage.loops.items()]:
            if loop.stores or loop.sums:
                yield f"{direction}_{number}_{size}", size, loop


class _Printer:
    def __init__(self, steps: Steps) -> None:
        self.nodes = steps.program.nodes
        self.number = {place: k for k, place in enumerate(steps.places)}

    def vectors(self, name: str, size: str, loop: Loop) -> list[str]:
        once: list[str] = []
        rows: list[str] = []
        after: list[str] = []
        for position, places in loop.loads.items():
            text = f"const V n{position} = {self._loaded(position, places)};"
            fixed = self.nodes[position].op != "mask" and (not places or places[0].kind == "parameter")
            (once if fixed else rows).append(text)
        rows += [f"const V n{p} = {self._formula(self.nodes[p])};" for p in loop.work]
        for place, position in loop.stores:
            at = f"p{self.number[place]} + r * w{self.number[place]}"
            if place.kind in DENSE:
                rows.append(f"put<full>({at}, n{position}, lanes);")
            else:  # gradients beyond the units would meet the products of the step
                rows.append(f"store({at}, full ? n{position} : first_lanes(n{position}, lanes));")
        for k, (place, position) in enumerate(loop.sums):
            once.append(f"V s{k}{{}};")
            rows.append(f"s{k} += n{position};")
            at = f"p{self.number[place]}"
            after.append(f"store({at}, load({at}) + s{k});")
        used = {p for found in loop.loads.values() for p in found} | {p for p, _ in [*loop.stores, *loop.sums]}
        heads = []
        for k in sorted(self.number[place] for place in used):
            heads.append(f"real* const p{k} = p[{k}].at + u * p[{k}].block; const long w{k} = p[{k}].row;")
        return [
            "template <bool full>",
            f"ALWAYS void {name}_unit(",
            "    const Place* p, long from, long to, long u, long lanes, const Noise* noise, long units)",
            "{",
            *(f"    {line}" for line in [*heads, *once]),
            "    for (long r = from; r < to; r++) {",
            *(f"        {line}" for line in rows),
            "    }",
            *(f"    {line}" for line in after),
            "}",
            f"LOOP({name})",
        ]

    def numbers(self, name: str, loop: Loop) -> list[str]:
        lines = []
        for position, places in loop.loads.items():
            if self.nodes[position].size == "1":
                text = f"p[{self.number[places[0]]}].at[r]" if places else self._constant(position)
                lines.append(f"const real n{position} = {text};")
        for position in loop.work:
            node = self.nodes[position]
            if node.op in REDUCTIONS:
                argument = node.args[0]
                units = f"units[{'IHO'.index(self.nodes[argument].size)}]"
                places = loop.loads[argument]
                if places:
                    terms = " + ".join(f"sum_of_row(p[{self.number[q]}], r, {units})" for q in places)
                else:
                    terms = f"({self._constant(argument)}) * {units}"
                text = terms if node.op == "sum" else f"({terms}) / {units}"
            else:
                arguments = [f"all(n{a})" for a in node.args]
                text = f"({_FORMS[node.op].format(*arguments)})[0]"
            lines.append(f"const real n{position} = {text};")
        lines += [f"p[{self.number[place]}].at[r] = n{position};" for place, position in loop.stores]
        return [
            f'extern "C" void {name}(const Place* p, long from, long to, const long* units)',
            "{",
            "    for (long r = from; r < to; r++) {",
            *(f"        {line}" for line in lines),
            "    }",
            "}",
        ]

    def _loaded(self, position: int, places: tuple[Place, ...]) -> str:
        node = self.nodes[position]
        if node.op == "mask":
            fresh = "true" if node.index else "false"
            return f"kept<{fresh}>(noise, {crc32(node.name.encode())}u, {round(node.value * 2**24)}u, r, u)"
        if not places:
            return f"all({self._constant(position)})"
        return " + ".join(self._read(place) for place in places)

    def _read(self, place: Place) -> str:
        k = self.number[place]
        if place.size == "1":
            return f"all(p{k}[r * w{k}])"
        if place.kind == "parameter":
            return f"load(p{k})"
        if place.kind == "grad":
            return f"given<full>(p[{k}].at, p{k} + r * w{k}, lanes)"
        return f"get<full>(p{k} + r * w{k}, lanes)" if place.kind in DENSE else f"load(p{k} + r * w{k})"

    def _constant(self, position: int) -> str:
        node = self.nodes[position]
        if node.op == "constant":
            return f"(real){node.value!r}" if math.isfinite(node.value) else _extreme(node.value)
        return self._constant(node.args[0])

    def _formula(self, node: Node) -> str:
        if node.op == "share":
            return f"n{node.args[0]} / (real)units"
        return _FORMS[node.op].format(*(f"n{a}" for a in node.args))


def _extreme(value: float) -> str:
    if value != value:
        return '(real)__builtin_nan("")'
    return f"{'-' if value < 0 else ''}(real)__builtin_inf()"
