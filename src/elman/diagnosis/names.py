"""What the values of a cell's program are called: the author's names, the states', or the function and its argument."""

from __future__ import annotations

from elman.compiler.ir import Program

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
    """ "high" where the value multiplies an old state as it is, "low" where 1 minus it does, "" where neither."""
    nodes = program.nodes
    one = {p for p, node in enumerate(nodes) if node.op == "constant" and node.value == 1}
    one |= {p for p, node in enumerate(nodes) if node.op == "spread" and node.args[0] in one}
    rest = {p for p, node in enumerate(nodes) if node.op == "sub" and node.args[0] in one and node.args[1] == position}
    for node in nodes:
        if node.op == "mul" and any(nodes[a].op == "state" for a in node.args):
            if position in node.args:
                return "high"
            if rest & set(node.args):
                return "low"
    return ""
