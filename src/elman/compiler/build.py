"""The builder: programs are made node by node, each value once (equal computations share a node)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from elman.compiler.ir import BINARY, LEAVES, REDUCTIONS, Node, Program, Size


class Builder:
    """Collects nodes; every method returns the position of the value it makes."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._seen: dict[Node, int] = {}

    def add(self, node: Node) -> int:
        """The position of `node`, which is added unless the same computation is there already."""
        if node not in self._seen:
            self._seen[node] = len(self.nodes)
            self.nodes.append(node)
        return self._seen[node]

    def leaf(self, op: str, name: str, size: Size) -> int:
        return self.add(Node(op, name=name, size=size))

    def constant(self, value: float, size: Size = "1") -> int:
        """A number, spread to `size` units."""
        return self.fit(self.add(Node("constant", size="1", value=float(value))), size)

    def fit(self, position: int, size: Size) -> int:
        """The value itself, or the number `position` spread to `size` units."""
        if self.nodes[position].size == size:
            return position
        return self.add(Node("spread", (position,), size))

    def apply(self, op: str, *args: int) -> int:
        """A per-unit function, arithmetic or a reduction; trivial arithmetic (x·1, x+0, ...) is left out."""
        size = "1" if op in REDUCTIONS else self.nodes[args[0]].size
        if op in BINARY:
            known = [self._constant_value(a) for a in args]
            if op in ("mul", "div") and known[1] == 1.0:
                return args[0]
            if op == "mul" and known[0] == 1.0:
                return args[1]
            if op in ("add", "sub") and known[1] == 0.0:
                return args[0]
            if op == "add" and known[0] == 0.0:
                return args[1]
        return self.add(Node(op, args, size))

    def sum_of(self, positions: Iterable[int]) -> int:
        """The sum of one or more values of the same size."""
        first, *rest = positions
        for position in rest:
            first = self.apply("add", first, position)
        return first

    def _constant_value(self, position: int) -> float | None:
        node = self.nodes[position]
        if node.op == "spread":
            node = self.nodes[node.args[0]]
        return node.value if node.op == "constant" else None

    def program(
        self, name: str, outputs: Sequence[tuple[str, int]], labels: Sequence[tuple[str, int]] = (), **about: str
    ) -> Program:
        """The finished program, without nodes that no output needs (inputs and states stay: they are its signature).

        Labels of leaves, of outputs and of what was left out are dropped: these have a name already, or no value. So
        are labels that have the name of a leaf, for that name is taken.
        """
        kept = self.needed(position for _, position in outputs)
        place = {old: new for new, old in enumerate(kept)}
        nodes = tuple(renumber(self.nodes[p], place) for p in kept)
        leaves = {p for p in kept if self.nodes[p].op in LEAVES}
        taken = {self.nodes[p].name for p in leaves}
        named = {position for _, position in outputs} | leaves
        return Program(
            name,
            nodes,
            tuple((key, place[p]) for key, p in outputs),
            tuple((key, place[p]) for key, p in labels if p in place and p not in named and key not in taken),
            **about,
        )

    def needed(self, outputs: Iterable[int]) -> list[int]:
        """The positions that `outputs` are computed from, inputs and states in any case."""
        needed = set(outputs)
        for position in reversed(range(len(self.nodes))):
            if position in needed:
                needed.update(self.nodes[position].args)
        return [p for p, node in enumerate(self.nodes) if p in needed or node.op in ("input", "state")]


def renumber(node: Node, place: Mapping[int, int]) -> Node:
    """`node` with its arguments at their new places."""
    return replace(node, args=tuple(place[a] for a in node.args))
