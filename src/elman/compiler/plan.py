"""From a program to the engine's plan of a step and of its backward step: products, slots of records, loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from elman.compiler.adjoint import Adjoint, adjoint
from elman.compiler.ir import REDUCTIONS, Node, Program, Size
from elman.compiler.lowering import Lowering, products_first
from elman.compiler.stages import SIZES, GradWeight, Place, Plan, Product, Steps, Term


@lru_cache(maxsize=256)
def plan(program: Program, fused: bool) -> Plan:
    """The plan of a cell. fused: products with the input are taken step by step, together with those of the states."""
    back = adjoint(program, products_of_input=False)
    forward = _Forward(program, back.saved, fused)
    backward = _Backward(program, back, forward)
    reduces = any(node.op in REDUCTIONS for p in (program, back.program) for node in p.nodes)
    slots: dict[Size, int] = {size: max(forward.slots[size], backward.slots[size]) for size in SIZES}
    return Plan(program, forward.steps(), backward.steps(), slots, len(forward.saved_numbers), reduces)


class _Forward(Lowering):
    def _stages(self) -> list[int]:
        """What needs no product is computed where it is first used: the states are at hand there, and nothing is
        carried through memory. (In a backward step it would keep slots from their new owners.)"""
        stages = super()._stages()
        for position in reversed(range(len(self.nodes))):
            node = self.nodes[position]
            if stages[position] or node.op in REDUCTIONS or self.leaf(position) or node.size == "1":
                continue
            users = self.users[position]
            wanted = [stages[u] - (u in self.sources or self.nodes[u].op in REDUCTIONS) for u in users]
            stages[position] = max(0, min(wanted, default=0))
        return stages

    def __init__(self, program: Program, saved: Sequence[int], fused: bool) -> None:
        self.fused = fused
        super().__init__(program)
        self.maps = [p for p, node in enumerate(program.nodes) if node.op == "affine"]
        self.slots: dict[Size, int] = dict.fromkeys(SIZES, 0)
        self.saved_numbers: list[int] = []
        self.saved_place: dict[int, Place] = {}
        states, parameters = program.states, [n.name for n in program.nodes if n.op == "parameter"]
        for position, node in enumerate(program.nodes):
            if node.op == "input":
                self.home[position] = Place("input", node.size)
            elif node.op == "state":
                self.home[position] = Place("old", node.size, states.index(node.name))
            elif node.op == "parameter":
                self.home[position] = Place("parameter", node.size, parameters.index(node.name))
        self._give_slots()
        for name, position in program.outputs:
            place = Place("new", program.nodes[position].size, states.index(name))
            self.outputs.append((place, position, self.stage[position]))
            if position not in self.sources and not self.leaf(position):
                self.home.setdefault(position, place)
        self._save(saved)
        self.row_places: dict[int, Place] = {}
        self.projections: list[Product] = []
        self._group()

    def find_products(self) -> None:
        self.sources = {p: node.args for p, node in enumerate(self.nodes) if node.op == "affine"}

    def _key(self, position: int) -> tuple[int, Size, tuple[int, ...]]:
        recurrent = tuple(a for a in self.nodes[position].args if self.nodes[a].op != "input")
        return self.stage[position], self.nodes[position].size, recurrent

    def _give_slots(self) -> None:
        """Slots of maps, those of one product next to each other."""
        order: dict[tuple[int, Size, tuple[int, ...]], list[int]] = {}
        for position in self.maps:
            order.setdefault(self._key(position), []).append(position)
        self.groups = sorted(order.items(), key=lambda item: (item[0][0], not item[0][2]))
        for (_, size, _), members in self.groups:
            for position in members:
                self.home[position] = Place("record", size, self.slots[size])
                self.slots[size] += 1

    def _save(self, saved: Sequence[int]) -> None:
        """A kept value takes the slot of a map that nobody reads any more, its own argument's if it can."""
        kept = [p for p in saved if p not in self.sources and self.nodes[p].size != "1"]
        pinned = {self.home[p] for p in saved if p in self.sources}
        free = {
            self.home[p]: max(self.last_read(p), *(s for _, q, s in self.outputs if q == p), self.stage[p])
            for p in self.maps
            if self.home[p] not in pinned
        } if self.maps else {}  # fmt: skip
        self.saved_place = {p: self.home[p] for p in saved if p in self.sources}
        for position in sorted(kept, key=lambda p: self.stage[p]):
            size, stage = self.nodes[position].size, self.stage[position]
            able = [place for place, last in free.items() if place.size == size and last <= stage]
            own = [self.home[a] for a in self.nodes[position].args if self.home.get(a) in able]
            if own or able:
                place = (own or able)[0]
                del free[place]
            else:
                place = Place("record", size, self.slots[size])
                self.slots[size] += 1
            self.saved_place[position] = place
            self.keep(position, place)
        for position in saved:
            if self.nodes[position].size == "1":
                place = Place("saved", "1", len(self.saved_numbers))
                self.saved_numbers.append(position)
                self.saved_place[position] = place
                self.keep(position, place)

    def _rows(self, position: int) -> Place:
        """Where a product finds a vector, row by row: a map's or kept value is copied for it."""
        home = self.home.get(position)
        if home is not None and home.kind != "record":
            return home
        if position not in self.row_places:
            self.row_places[position] = self.new_place("scratch", self.nodes[position].size)
            self.outputs.append((self.row_places[position], position, self.stage[position]))
            self.home.setdefault(position, self.row_places[position])
        return self.row_places[position]

    def _group(self) -> None:
        for (stage, _, _), members in self.groups:
            for some in self._alike(members) if self.fused else _split(members, 8):
                vectors = [a for p in some for a in self.nodes[p].args]
                if self.fused or any(self.nodes[a].op != "input" for a in vectors):
                    ready = [not self.fused and self._of_input(p) > 0 for p in some]
                    product = self._product(some, ready, lambda node: self.fused or node.op != "input")
                    self.products.setdefault(stage, []).append(product)
        for size in SIZES:
            maps = [p for p in self.maps if self.home[p].size == size and self._of_input(p)]
            for some in self._alike(sorted(maps, key=lambda p: self.home[p].index)) if not self.fused else []:
                self.projections.append(self._product(some, [False] * len(some), lambda node: node.op == "input"))

    def _of_input(self, position: int) -> int:
        """How often a map takes the input."""
        return sum(self.nodes[a].op == "input" for a in self.nodes[position].args)

    def _alike(self, members: list[int]) -> list[list[int]]:
        """Maps that take the input equally often: a block of zeros would make NaN of an infinite input."""
        groups: dict[int, list[int]] = {}
        for position in members:
            groups.setdefault(self._of_input(position), []).append(position)
        return [some for group in groups.values() for some in _split(group, 8)]

    def _product(self, members: list[int], ready: list[bool], wanted: Callable[[Node], bool]) -> Product:
        biases = tuple(self.maps.index(p) if self.nodes[p].bias else -1 for p in members)
        return Product(tuple(self.home[p] for p in members), self._terms(members, wanted), biases, tuple(ready))

    def _terms(self, members: list[int], wanted: Callable[[Node], bool]) -> tuple[Term, ...]:
        """One term for each vector (and each time a map names it)."""
        terms: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}
        for position in members:
            seen: dict[int, int] = {}
            for index, argument in enumerate(self.nodes[position].args):
                if wanted(self.nodes[argument]):
                    times = seen[argument] = seen.get(argument, -1) + 1
                    terms.setdefault((argument, times), {})[position] = (self.maps.index(position), index)
        return tuple(
            Term((self._rows(argument),), tuple(blocks.get(p) for p in members))
            for (argument, _), blocks in terms.items()
        )

    def steps(self) -> Steps:
        stages = self.build()
        places = self.used_places(stages, self.projections, [])
        return Steps(self.program, stages, tuple(places), tuple(self.projections))


class _Backward(Lowering):
    def __init__(self, cell: Program, back: Adjoint, forward: _Forward) -> None:
        self.cell, self.forward = cell, forward
        self.by_name = dict(back.program.outputs)
        self.terms: dict[int, list[int]] = {}  # product -> its transposed maps
        self.added: set[int] = set()  # products that are added to what lies there
        super().__init__(products_first(back.program))
        states = cell.states
        self.slots = dict(forward.slots)
        self.flow_of: dict[int, int] = {}
        parameters = [n.name for n in cell.nodes if n.op == "parameter"]
        for position, node in enumerate(self.nodes):
            if node.op == "input":
                self.home[position] = self._given(node)
            elif node.op == "parameter":
                self.home[position] = Place("parameter", node.size, parameters.index(node.name))
        self._give_slots()
        self._vectors()
        for name in states:
            self._flow(name, self.by_name[f"grad_{name}"])
        own_input = next(node.name for node in cell.nodes if node.op == "input")
        grad_x = self.by_name[f"grad_{own_input}"]
        self.adds_to_input = self._value(grad_x) != 0.0
        if self.adds_to_input:
            self.outputs.append((Place("grad_input", "I"), grad_x, self.stage[grad_x]))
        self.parameter_sums = []
        for index, name in enumerate(parameters):
            if f"grad_weight_{name}" in self.by_name:
                position = self.by_name[f"grad_weight_{name}"]
                place = self.new_place("sum", self.nodes[position].size)
                self.sums.append((place, position))
                self.parameter_sums.append((index, place))

    def _value(self, position: int) -> float | None:
        """The number that a value is everywhere, if it is one."""
        node = self.nodes[position]
        if node.op == "constant":
            return node.value
        return self._value(node.args[0]) if node.op == "spread" else None

    def _given(self, node: Node) -> Place:
        name, states = node.name, self.cell.states
        if name.startswith("grad_new_"):
            return Place("flow", node.size, states.index(name.removeprefix("grad_new_")))
        if name.startswith("new_") and name.removeprefix("new_") in states:
            return Place("new", node.size, states.index(name.removeprefix("new_")))
        if name.startswith("saved_"):
            return self.forward.saved_place[int(name.removeprefix("saved_"))]
        return Place("old", node.size, states.index(name)) if name in states else Place("input", node.size)

    def find_products(self) -> None:
        """Transposed maps, and sums of them that nothing else reads: one product each."""
        uses = [0] * len(self.nodes)
        for node in self.nodes:
            for argument in node.args:
                uses[argument] += 1
        for position in self.by_name.values():
            uses[position] += 1
        for position, node in enumerate(self.nodes):
            if node.op == "transpose":
                self.terms[position] = [position]
            elif node.op == "add" and all(a in self.terms and uses[a] == 1 for a in node.args):
                a, b = node.args
                if a != b:
                    self.terms[position] = self.terms.pop(a) + self.terms.pop(b)
                    self.absorbed |= {a, b}
        self.sources = {p: tuple(self.nodes[t].args[0] for t in terms) for p, terms in self.terms.items()}

    def _give_slots(self) -> None:
        """A map's gradient takes the map's own slot as soon as nobody reads what was kept there, or a free one."""
        busy: dict[Place, int] = {}  # slot -> the last stage that reads what the forward step left there
        for position, node in enumerate(self.nodes):
            if node.op == "input" and self.home[position].kind == "record":
                busy[self.home[position]] = self.last_read(position)
        taken: set[Place] = set()
        self.grad_slot: dict[int, Place] = {}
        self.bias_sums = []
        for index, forward_position in enumerate(self.forward.maps):
            node = self.cell.nodes[forward_position]
            if f"grad_map_{node.name}" not in self.by_name:
                continue
            position = self.by_name[f"grad_map_{node.name}"]
            stage = self.stage[position]
            own = self._map_slot(forward_position)
            slots = [own, *(Place("record", node.size, s) for s in range(self.slots[node.size]))]
            able = [s for s in slots if s not in taken and busy.get(s, -1) <= stage]
            place = able[0] if able else Place("record", node.size, self.slots[node.size])
            self.slots[node.size] = max(self.slots[node.size], place.index + 1)
            taken.add(place)
            self.grad_slot[index] = place
            self.outputs.append((place, position, stage))
            self.home.setdefault(position, place)
            if node.bias:
                total = self.new_place("sum", node.size)
                self.sums.append((total, position))
                self.bias_sums.append((index, total))

    def _map_slot(self, position: int) -> Place:
        """The slot in which the forward step had the map's value."""
        size, number = self.cell.nodes[position].size, 0
        for (_, of, _), members in self.forward.groups:
            for member in members:
                if member == position:
                    return Place("record", size, number)
                number += of == size
        raise AssertionError(position)

    def _vectors(self) -> None:
        """Computed vectors of maps, for the weights' gradients."""
        self.vectors: dict[tuple[int, int], Place] = {}
        chunk: dict[int, Place] = {}
        for index, forward_position in enumerate(self.forward.maps):
            node = self.cell.nodes[forward_position]
            for number in range(len(node.args)):
                position = self.by_name.get(f"vector_{node.name}_{number}")
                if position is not None:
                    if position not in chunk:
                        chunk[position] = self.new_place("chunk", self.nodes[position].size)
                        self.outputs.append((chunk[position], position, self.stage[position]))
                    self.vectors[index, number] = chunk[position]

    def _flow(self, name: str, position: int) -> None:
        """An old state's gradient is stored once nobody reads the new one's any more."""
        place = Place("flow", self.nodes[position].size, self.cell.states.index(name))
        read = [self.last_read(p) for p, n in enumerate(self.nodes) if n.op == "input" and n.name == f"grad_new_{name}"]
        if self._adds_to(place, position, max(read, default=-1)):
            return
        at = max([self.stage[position], *read])
        alone = position in self.sources and not self.users[position] and position not in self.home
        if alone and self.stage[position] > max(read, default=-1):
            self.home[position] = place  # the product itself writes it
        else:
            self.outputs.append((place, position, at))

    def _adds_to(self, place: Place, position: int, read: int) -> bool:
        """A product plus something else: that is stored, and the product is added to it. False where it cannot be."""
        if self.nodes[position].op != "add" or self.users[position] or position in self.home:
            return False
        product, rest = self.nodes[position].args
        at = max(self.stage[rest], read)
        alone = product in self.sources and self.users[product] == [position] and product not in self.home
        if not alone or rest in self.sources or self.leaf(rest) or at >= self.stage[product]:
            return False
        self.absorbed.add(position)
        self.users[product].clear()
        self.users[rest].remove(position)
        self.added.add(product)
        self.home[product] = place
        self.outputs.append((place, rest, at))
        return True

    def places_of(self, position: int) -> tuple[Place, ...]:
        home = self.home[position]
        if home.kind == "flow" and self.nodes[position].op == "input":
            return (Place("grad", home.size, home.index), home)
        return (home,)

    def steps(self) -> Steps:
        for position in self.sources:
            if position not in self.home:
                self.home[position] = self.new_place("scratch", self.nodes[position].size)
            terms = self._transposed(
                [(self._map_index(self.nodes[t].name), self.nodes[t].index) for t in self.terms[position]]
            )
            product = Product((self.home[position],), terms, (-1,), (position in self.added,))
            self.products.setdefault(self.stage[position], []).append(product)
        stages = self.build()
        inputs = [(m, k) for m, k in self._parts() if self._source(m, k).kind == "input"]
        projections = []
        if inputs:
            product = Product((Place("grad_input", "I"),), self._transposed(inputs), (-1,), (self.adds_to_input,))
            projections = [product]
        weights = self._grad_weights()
        more = [place for w in weights for place in (w.source, *w.grads)]
        places = self.used_places(stages, projections, more)
        return Steps(
            self.program, stages, tuple(places), tuple(projections), weights,
            tuple((m, places.index(p)) for m, p in self.bias_sums),
            tuple((i, places.index(p)) for i, p in self.parameter_sums),
        )  # fmt: skip

    def _map_index(self, name: str) -> int:
        return next(i for i, p in enumerate(self.forward.maps) if self.cell.nodes[p].name == name)

    def _parts(self) -> list[tuple[int, int]]:
        maps = [self.cell.nodes[p] for p in self.forward.maps]
        return [(m, k) for m in self.grad_slot for k in range(len(maps[m].args))]

    def _source(self, index: int, number: int) -> Place:
        argument = self.cell.nodes[self.forward.maps[index]].args[number]
        node = self.cell.nodes[argument]
        if node.op == "input":
            return Place("input", node.size)
        if node.op == "state":
            return Place("old", node.size, self.cell.states.index(node.name))
        return self.vectors[index, number]

    def _transposed(self, parts: list[tuple[int, int]]) -> tuple[Term, ...]:
        """Runs of neighbouring slots make one term."""
        ordered = sorted(parts, key=lambda part: (self.grad_slot[part[0]].size, self.grad_slot[part[0]].index))
        runs: list[list[tuple[int, int]]] = []
        for part in ordered:
            slot = self.grad_slot[part[0]]
            before = self.grad_slot[runs[-1][-1][0]] if runs else None
            if before is not None and before.size == slot.size and before.index + 1 == slot.index:
                runs[-1].append(part)
            else:
                runs.append([part])
        return tuple(Term(tuple(self.grad_slot[m] for m, _ in run), tuple(run)) for run in runs)

    def _grad_weights(self) -> tuple[GradWeight, ...]:
        jobs: dict[tuple[Place, Size], list[tuple[int, int]]] = {}
        for part in self._parts():
            jobs.setdefault((self._source(*part), self.grad_slot[part[0]].size), []).append(part)
        return tuple(
            GradWeight(source, tuple(self.grad_slot[m] for m, _ in some), tuple(some))
            for (source, _), parts in jobs.items()
            for some in _split(sorted(parts, key=lambda p: self.grad_slot[p[0]].index), 8)
        )


def _split(members: list, most: int) -> list[list]:  # type: ignore[type-arg]
    """In even groups of at most `most`."""
    groups = -(-len(members) // most)
    size = -(-len(members) // groups) if groups else 1
    return [members[a : a + size] for a in range(0, len(members), size)]
