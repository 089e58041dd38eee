"""What the plans of forward and backward steps have in common: stages, homes of values, loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from elman.compiler.ir import REDUCTIONS, Program, Size
from elman.compiler.stages import KINDS, Loop, Place, Product, Stage


class Lowering:
    """What both directions have in common: stages, places, loops."""

    def __init__(self, program: Program) -> None:
        self.program, self.nodes = program, program.nodes
        self.absorbed: set[int] = set()  # values that a product computes on its way
        self.sources: dict[int, tuple[int, ...]] = {}  # product -> the values it multiplies
        self.home: dict[int, Place] = {}  # where a value lies for later stages
        self.outputs: list[tuple[Place, int, int]] = []  # place, value, earliest stage
        self.sums: list[tuple[Place, int]] = []
        self.products: dict[int, list[Product]] = {}
        self.counts: dict[tuple[str, Size], int] = {}
        self.find_products()
        self.users: list[list[int]] = [[] for _ in self.nodes]
        for position, node in enumerate(self.nodes):
            for argument in self.sources.get(position, node.args):
                if position not in self.absorbed:
                    self.users[argument].append(position)
        self.stage = self._stages()

    def find_products(self) -> None:
        raise NotImplementedError

    def new_place(self, kind: str, size: Size) -> Place:
        number = self.counts.get((kind, size), 0)
        self.counts[kind, size] = number + 1
        return Place(kind, size, number)

    def inline(self, position: int) -> bool:
        """Constants are written where they are used."""
        node = self.nodes[position]
        return node.op == "constant" or (node.op == "spread" and self.nodes[node.args[0]].op == "constant")

    def leaf(self, position: int) -> bool:
        return self.nodes[position].op in ("input", "state", "parameter", "mask") or self.inline(position)

    def _stages(self) -> list[int]:
        stages: list[int] = []
        for position, node in enumerate(self.nodes):
            before = max((stages[a] for a in self.sources.get(position, node.args)), default=0)
            stages.append(before + (position in self.sources or node.op in REDUCTIONS))
        return stages

    def last_read(self, position: int) -> int:
        """The last stage that reads a value itself; -1 for none."""
        return max((self.stage[u] for u in self.users[position] if not self.inline(u)), default=-1)

    def keep(self, position: int, place: Place) -> None:
        """A value computed here is stored at `place` when it is computed, and found there later."""
        self.home.setdefault(position, place)
        if not self.leaf(position) and position not in self.sources:
            self.outputs.append((place, position, self.stage[position]))

    def settle(self) -> None:
        """A place for every value that a later stage, a product or a reduction reads."""
        for position, node in enumerate(self.nodes):
            if position in self.absorbed or position in self.home or (self.leaf(position) and node.op != "spread"):
                continue
            if node.size == "1":
                self.keep(position, self.new_place("number", "1"))
                continue
            late = any(
                self.stage[u] > self.stage[position] or u in self.sources or self.nodes[u].op in REDUCTIONS
                for u in self.users[position]
            )
            late = late or any(p == position and s > self.stage[position] for _, p, s in self.outputs)
            if late and not self.inline(position):
                self.keep(position, self.new_place("scratch", node.size))
            elif self.inline(position) and any(u in self.sources for u in self.users[position]):
                place = self.new_place("scratch", node.size)
                self.home[position] = place
                self.outputs.append((place, position, 0))

    def build(self) -> tuple[Stage, ...]:
        """The stages, with their loops."""
        self.settle()
        last = max([*self.stage, *(s for _, _, s in self.outputs)], default=0)
        stages = [Stage() for _ in range(last + 1)]
        for number, products in self.products.items():
            stages[number].products = products
        for position, node in enumerate(self.nodes):
            if self.leaf(position) or position in self.sources or position in self.absorbed:
                continue
            if node.size == "1":
                stages[self.stage[position]].numbers.work.append(position)
            elif self.users[position] or any(p == position for _, p, _ in [*self.outputs, *self._sums()]):
                stages[self.stage[position]].loops.setdefault(node.size, Loop()).work.append(position)
        for place, position, at in self.outputs:
            size = self.nodes[position].size
            stage = stages[max(at, self.stage[position])]
            (stage.numbers if size == "1" else stage.loops.setdefault(size, Loop())).stores.append((place, position))
        for place, position in self.sums:
            loop = stages[self.stage[position]].loops.setdefault(self.nodes[position].size, Loop())
            loop.sums.append((place, position))
        for stage in stages:
            for loop in [stage.numbers, *stage.loops.values()]:
                self._find_loads(loop)
        return tuple(stages)

    def _sums(self) -> Iterable[tuple[Place, int, int]]:
        return [(place, position, 0) for place, position in self.sums]

    def _find_loads(self, loop: Loop) -> None:
        made = set(loop.work)
        for position in loop.work:
            for argument in self.nodes[position].args:
                if argument not in made:
                    self._load(loop, argument)
        for _, position in [*loop.stores, *loop.sums]:
            if position not in made:
                self._load(loop, position)

    def _load(self, loop: Loop, position: int) -> None:
        if self.inline(position) or self.nodes[position].op == "mask":
            loop.loads[position] = ()
        else:
            loop.loads[position] = self.places_of(position)

    def places_of(self, position: int) -> tuple[Place, ...]:
        """Where a value is read from: the sum of what lies there."""
        return (self.home[position],)

    def used_places(self, stages: Sequence[Stage], products: Iterable[Product], more: Iterable[Place]) -> list[Place]:
        found: dict[Place, None] = {}
        every = [*products, *(p for stage in stages for p in stage.products)]
        for product in every:
            found |= dict.fromkeys([*product.outputs, *(s for term in product.terms for s in term.sources)])
        for stage in stages:
            for loop in [stage.numbers, *stage.loops.values()]:
                found |= dict.fromkeys(place for places in loop.loads.values() for place in places)
                found |= dict.fromkeys(place for place, _ in [*loop.stores, *loop.sums])
        # In an order of their own: printed loops serve plans of both kinds.
        return sorted(found | dict.fromkeys(more), key=lambda p: (KINDS.index(p.kind), p.size, p.index))


def products_first(program: Program) -> Program:
    """Sums of transposed maps and other values, ordered so that the maps come first: these become one product."""
    nodes = list(program.nodes)
    uses = Counter([a for node in nodes for a in node.args] + [p for _, p in program.outputs])
    inner = {a for node in nodes if node.op == "add" for a in node.args if nodes[a].op == "add" and uses[a] == 1}
    for root, node in enumerate(nodes):
        if node.op != "add" or root in inner:
            continue
        sums, terms, found = [root], [], list(node.args)
        while found:
            position = found.pop(0)
            if position in inner:
                sums.append(position)
                found[:0] = nodes[position].args
            else:
                terms.append(position)
        if max(terms) < min(sums):  # else a sum would come before what it sums
            total, *others = sorted(terms, key=lambda p: nodes[p].op != "transpose")
            for position, term in zip(sorted(sums), others, strict=True):
                nodes[position] = replace(nodes[position], args=(total, term))
                total = position
    return replace(program, nodes=tuple(nodes))
