"""What the values of a cell's program are called: the author's names, the states', or the function and its argument."""

from __future__ import annotations

from elman.compiler.ir import Program
from elman.compiler.regularise import carriers

ACTIVATIONS = ("sigmoid", "tanh", "relu")


def node_name(program: Program, position: int) -> str:
    """A name for the node at `position`; not always the only one of its kind (see `named_values`)."""
    node = program.nodes[position]
    for table in (program.labels, program.outputs):
        for name, place in table:
            if place == position:
                return name
    if node.op in ("input", "state", "parameter"):
        return node.name
    if node.op == "affine":
        return f"W_{node.name}"
    return f"{node.op}({', '.join(_short(program, a) for a in node.args)})"


def _short(program: Program, position: int) -> str:
    name = node_name(program, position)
    return name if len(name) <= 24 else "…"


def named_values(program: Program) -> dict[str, int]:
    """What is worth looking at in a step: every state, activation and value that the author named, by name."""
    states = {place for _, place in program.outputs}
    named = {place for _, place in program.labels}
    found: dict[str, int] = {}
    for position, node in enumerate(program.nodes):
        if position in states | named or node.op in ACTIVATIONS:
            name = node_name(program, position)
            while name in found:
                name += "'"
            found[name] = position
    for name, position in program.outputs:  # a state under a name of its own, also where two share a value
        found.setdefault(name, position)
    return found


def keeping_end(program: Program, position: int) -> str:
    """The end at which a gate leaves the old state as it is: "high" where it multiplies the state, "low" where 1 minus
    it does, or where it multiplies what is added to the state; "" for any other value."""
    nodes = program.nodes
    if nodes[position].op == "tanh":  # multiplies too, and its lower end is -1
        return ""
    one = {p for p, node in enumerate(nodes) if node.op == "constant" and node.value == 1}
    one |= {p for p, node in enumerate(nodes) if node.op == "spread" and node.args[0] in one}
    rest = {p for p, node in enumerate(nodes) if node.op == "sub" and node.args[0] in one and node.args[1] == position}
    read = {a for node in nodes if node.op == "affine" for a in node.args}
    carried = set(carriers(program)) - read | {p for p, node in enumerate(nodes) if node.op == "state"}
    for p, node in enumerate(nodes):
        if node.op == "mul" and p in carried and any(nodes[a].op == "state" for a in node.args):
            if position in node.args:
                return "high"
            if rest & set(node.args):
                return "low"
    for node in nodes:
        if node.op == "add" and carried & set(node.args):
            added = (nodes[a] for a in node.args if nodes[a].op == "mul" and a not in carried)
            if any(position in term.args for term in added):
                return "low"
    return ""
