"""The verifier: a program is well formed or refused with a named error. JSON comes in through here, and only here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from elman.compiler.ir import BINARY, BROADCASTS, LEAVES, OPS, REDUCTIONS, UNARY, Node, Program
from elman.errors import ProgramError, did_you_mean

MAX_NODES = 4096
MAX_JSON = 1 << 20
MAX_ABOUT = 1000
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""Names of programs, vectors, weights and outputs: they become names in files and in generated code."""


_RULE = "a name of letters a-z, digits and _, at most 64"
_RESERVED = {
    "input": ("new_", "saved_", "grad_", "map_", "weight_"),
    "state": ("new_", "saved_", "grad_", "map_", "weight_"),
    "parameter": ("new_", "saved_", "grad_"),
    "mask": ("new_", "saved_", "grad_"),
}
"""How the names of a cell must not begin: its backward program puts these words before the names of the forward one."""


def reserved(op: str, name: str) -> bool:
    """True where a cell's `op` (input, state or parameter) must not be called `name`."""
    return name.startswith(_RESERVED.get(op, ()))


def from_json(text: bytes | str) -> Program:
    """The verified program that `text` describes.

    Raises ProgramError where the text is not JSON, not a program, or not well formed. Nothing of it is executed.
    """
    if len(text) > MAX_JSON:
        raise ProgramError(f"a program's JSON has {len(text):,} bytes, more than the {MAX_JSON:,} allowed")
    try:
        program = msgspec.json.decode(text, type=Program)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProgramError(f"this is not a program's JSON: {error}") from None
    return verify(program)


def verify(program: Program) -> Program:
    """The same program, when every node is one that the interpreter and the printers understand; else ProgramError."""
    if not program.nodes or len(program.nodes) > MAX_NODES:
        raise ProgramError(f"program {program.name!r} has {len(program.nodes)} nodes; 1 to {MAX_NODES} are allowed")
    if not NAME.fullmatch(program.name):
        raise ProgramError(f"a program must have {_RULE}, not {program.name[:80]!r}")
    taken: set[str] = set()
    for position, node in enumerate(program.nodes):
        _verify_node(program, position, node, taken)
    if not program.outputs:
        raise ProgramError(f"program {program.name!r} has no outputs")
    for name, position in (*program.outputs, *program.labels):
        if not 0 <= position < len(program.nodes):
            raise ProgramError(
                f"program {program.name!r}: {name[:80]!r} refers to node {position}, which does not exist"
            )
    _verify_outputs_and_labels(program)
    for about in (program.doc, program.source):
        if len(about) > MAX_ABOUT or not about.isprintable():
            raise ProgramError(
                f"program {program.name!r}: its doc and source must be one line of printable text, "
                f"at most {MAX_ABOUT} characters"
            )
    return program


def _verify_outputs_and_labels(program: Program) -> None:
    """Outputs have names of their own; labels, which are for people, may use any letter but no name that is taken."""
    names = [name for name, _ in program.outputs]
    for name in names:
        if not NAME.fullmatch(name):
            raise ProgramError(f"program {program.name!r}: an output must have {_RULE}, not {name[:80]!r}")
    if len(set(names)) != len(names):
        raise ProgramError(f"program {program.name!r}: two outputs have the same name")
    labels = [name for name, _ in program.labels]
    for name in labels:
        if not name.isidentifier() or len(name) > 64:
            raise ProgramError(f"program {program.name!r}: a label must be an identifier, not {name[:80]!r}")
    leaves = {node.name for node in program.nodes if node.op in LEAVES}
    if len(set(labels)) != len(labels) or leaves & set(labels):
        raise ProgramError(f"program {program.name!r}: a label has a name that is taken")


def verify_cell(program: Program) -> Program:
    """`verify`, and what makes a program a cell: one input, states that come back in order at their own size."""
    verify(program)
    inputs = [node for node in program.nodes if node.op == "input"]
    if len(inputs) != 1 or inputs[0].size != "I":
        raise ProgramError(f"cell {program.name!r} must have exactly one input, of I units")
    for node in program.nodes:
        if reserved(node.op, node.name):
            raise ProgramError(
                f"cell {program.name!r}: {node.name!r} begins as names in backward programs do; rename it"
            )
        if node.op in ("state", "parameter") and node.size == "1":
            raise ProgramError(f"cell {program.name!r}: {node.name!r} must be a vector, not a number")
        if node.op == "state" and node.size == "I":
            raise ProgramError(
                f"cell {program.name!r}: the state {node.name!r} must have H or O units, not the input's"
            )
    states = program.state_sizes()
    if not states or tuple(states) != tuple(name for name, _ in program.outputs):
        raise ProgramError(
            f"cell {program.name!r}: the outputs must be the new states, in order: {', '.join(states) or 'none found'}"
        )
    for name, position in program.outputs:
        if program.nodes[position].size != states[name]:
            raise ProgramError(f"cell {program.name!r}: state {name!r} comes back with another size than it has")
    for op, what, where in (
        ("transpose", "a transposed map", "backward programs"),
        ("mask", "a mask", "programs made for training"),
    ):
        if any(node.op == op for node in program.nodes):
            raise ProgramError(f"cell {program.name!r} holds {what}, which only {where} may")
    return program


def _verify_node(program: Program, position: int, node: Node, taken: set[str]) -> None:
    def fail(why: str) -> ProgramError:
        return ProgramError(f"program {program.name!r}, node {position} ({node.op[:40]}): {why}")

    if node.op not in OPS:
        raise fail(f"unknown operation{did_you_mean(node.op[:40], OPS)}")
    if any(not 0 <= a < position for a in node.args):
        raise fail("an argument must be an earlier node")
    sizes = [program.nodes[a].size for a in node.args]
    _verify_names(node, taken, fail)
    if not math.isfinite(node.value) or (node.value and node.op not in ("constant", "mask")):
        raise fail("only a constant has a value, and a mask its rate, and it must be finite")
    if node.op == "mask" and (not 0 <= node.value < 1 or node.index > 1 or node.size == "1"):
        raise fail("a mask is a vector, its value the rate at which it drops, in [0, 1), its index 0 or 1")
    expected = 0 if node.op in LEAVES else 2 if node.op in BINARY else 1
    if node.op != "affine" and len(node.args) != expected:
        raise fail(f"takes {expected} arguments, has {len(node.args)}")
    if node.op == "affine" and (not node.args or len(node.args) > 64 or node.size == "1" or "1" in sizes):
        raise fail("an affine map takes 1 to 64 vectors and gives a vector")
    if node.op == "constant" and node.size != "1":
        raise fail("a constant has size 1")
    if node.op in (*UNARY, *BINARY) and any(size != node.size for size in sizes):
        raise fail(f"sizes cannot agree: {', '.join(sizes)} into {node.size}")
    if node.op in REDUCTIONS and (node.size != "1" or sizes[0] == "1"):
        raise fail("a reduction takes a vector and gives a number")
    if node.op in BROADCASTS and (sizes[0] != "1" or node.size == "1"):
        raise fail("a broadcast takes a number and gives a vector")
    if (
        not 0 <= node.index < 64
        or (node.index and node.op not in ("transpose", "mask"))
        or (not node.bias and node.op != "affine")
    ):
        raise fail("carries a field that does not belong to it")


def _verify_names(node: Node, taken: set[str], fail: Callable[[str], ProgramError]) -> None:
    """Weights and vectors have names, each its own; `transpose` names a map that may stand in another program."""
    if node.op in ("input", "state", "parameter", "mask", "affine", "transpose"):
        if not NAME.fullmatch(node.name):
            raise fail(f"must have {_RULE}, not {node.name[:80]!r}")
    elif node.name:
        raise fail("has no name")
    if node.op == "affine":
        names = [f"weight_{node.name}", f"bias_{node.name}"]
    elif node.op in ("input", "state", "parameter", "mask"):
        names = [node.name]
    else:
        names = []
    for name in names:
        if name in taken:
            raise fail(f"the name {node.name!r} is taken")
        taken.add(name)
