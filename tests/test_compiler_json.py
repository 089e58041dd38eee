"""Programs as JSON: both ways for every cell and adjoint; damaged and hostile text gives ProgramError and no harm."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_kit import ALL
from elman.compiler.adjoint import adjoint
from elman.compiler.interpret import Stacked, run
from elman.compiler.ir import OPS, Node, Program, resolve, to_json
from elman.compiler.printers import as_latex, as_text, storage
from elman.compiler.verify import MAX_JSON, MAX_NODES, from_json, verify, verify_cell
from elman.errors import ProgramError

PROGRAMS = [c.program for c in ALL.values()]
PROGRAMS += [adjoint(p, products_of_input=whole).program for p in PROGRAMS for whole in (True, False)]
LSTM: dict[str, Any] = json.loads(to_json(ALL["lstm"].program))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_both_ways(program: Program) -> None:
    text = to_json(program)
    assert from_json(text) == program
    assert from_json(text.decode()) == program
    assert to_json(from_json(text)) == text
    json.loads(text)  # anyone's JSON


def test_the_text_is_plain_and_short() -> None:
    program = ALL["rnn"].program
    assert json.loads(to_json(program)) == {
        "name": "rnn",
        "nodes": [
            {"op": "input", "name": "x", "size": "I"},
            {"op": "state", "name": "h"},
            {"op": "affine", "args": [0, 1], "name": "h"},
            {"op": "tanh", "args": [2]},
        ],
        "outputs": [["h", 3]],
        "doc": "Vanilla (Elman) recurrent network, activation tanh.",
        "source": "Elman 1990, Finding structure in time",
    }


def changed(path: str, value: Any) -> bytes:
    """The LSTM's JSON with one thing set (`nodes.3.op`), or added where the last step is `+`."""
    document = json.loads(json.dumps(LSTM))
    *steps, last = path.split(".")
    here: Any = document
    for step in steps:
        here = here[int(step)] if isinstance(here, list) else here[step]
    if last == "+":
        here.append(value)
    else:
        here[int(last) if isinstance(here, list) else last] = value
    return json.dumps(document).encode()


NESTED = b"[" * 100_000
HOSTILE = {
    "empty": (b"", "not a program's JSON"),
    "truncated": (to_json(ALL["lstm"].program)[:-7], "not a program's JSON"),
    "not UTF-8": (b'{"name": "\xff"}', "not a program's JSON"),
    "lone surrogate": (b'{"name": "\\ud800", "nodes": [], "outputs": []}', "has 0 nodes|not a program's JSON"),
    "a list": (b"[]", "not a program's JSON"),
    "null": (b"null", "not a program's JSON"),
    "nested": (NESTED, "not a program's JSON"),
    "nested objects": (b'{"nodes":' * 50_000, "not a program's JSON"),
    "nested in a field": (b'{"name": "a", "outputs": [], "nodes": [{"op": ' + NESTED, "not a program's JSON"),
    "too long": (b" " * (MAX_JSON + 1), r"1,048,577 bytes, more than the 1,048,576 allowed"),
    "no name": (b'{"nodes": [], "outputs": []}', "missing required field `name`"),
    "no nodes": (changed("nodes", []), "has 0 nodes"),
    "too many nodes": (changed("nodes", [{"op": "input", "name": "x"}] * (MAX_NODES + 1)), "has 4097 nodes; 1 to 4096"),
    "no outputs": (changed("outputs", []), "has no outputs"),
    "unknown field": (changed("evil", 1), "unknown field `evil`"),
    "unknown field of a node": (changed("nodes.3.code", "import os"), "unknown field `code`"),
    "unknown op": (
        changed("nodes.4.op", "sigmod"),
        r"node 4 \(sigmod\): unknown operation \(did you mean 'sigmoid'\?\)",
    ),
    "enormous op": (changed("nodes.4.op", "s" * 900_000), r"node 4 \(s{40}\): unknown operation"),
    "op is a number": (changed("nodes.4.op", 3), "Expected `str`"),
    "unknown size": (changed("nodes.4.size", "Z"), "Invalid enum value 'Z'"),
    "forward reference": (changed("nodes.4.args", [5]), "an argument must be an earlier node"),
    "cycle": (changed("nodes.4.args", [4]), "an argument must be an earlier node"),
    "cycle of two": (changed("nodes.3.args", [0, 4]), "an argument must be an earlier node"),
    "negative argument": (changed("nodes.4.args", [-1]), "an argument must be an earlier node"),
    "huge argument": (changed("nodes.4.args", [10**30]), "an argument must be an earlier node|program's JSON"),
    "fractional argument": (changed("nodes.4.args", [3.5]), "Expected `int`"),
    "argument is a truth value": (changed("nodes.4.args", [True]), "Expected `int`"),
    "arguments are text": (changed("nodes.4.args", "33"), "Expected `array`"),
    "too few arguments": (changed("nodes.11.args", [6]), "takes 2 arguments, has 1"),
    "too many arguments": (changed("nodes.4.args", [3, 3]), "takes 1 arguments, has 2"),
    "affine of nothing": (changed("nodes.3.args", []), "takes 1 to 64 vectors"),
    "affine of 65": (changed("nodes.3.args", [0] * 65), "takes 1 to 64 vectors"),
    "affine of half a million": (changed("nodes.3.args", [0] * 500_000), "more than|takes 1 to 64"),
    "affine to a number": (changed("nodes.3.size", "1"), "gives a vector"),
    "sizes that differ": (changed("nodes.4.size", "I"), "sizes cannot agree: H into I"),
    "NaN": (changed("nodes.3.value", 1).replace(b'"value": 1', b'"value": NaN'), "not a program's JSON"),
    "infinity": (changed("nodes.3.value", 1).replace(b'"value": 1', b'"value": Infinity'), "not a program's JSON"),
    "a number out of range": (changed("nodes.3.value", 1).replace(b'"value": 1', b'"value": 1e999'), "JSON|finite"),
    "a value where none belongs": (changed("nodes.4.value", 2.0), "only a constant has a value"),
    "an index where none belongs": (changed("nodes.4.index", 1), "does not belong"),
    "a huge index": (changed("nodes.3.index", 2**70), "does not belong|program's JSON"),
    "no bias where none belongs": (changed("nodes.4.bias", False), "does not belong"),
    "bias is a number": (changed("nodes.3.bias", 1), "Expected `bool`"),
    "a name where none belongs": (changed("nodes.4.name", "q"), "has no name"),
    "a weight twice": (changed("nodes.5.name", "i"), "the name 'i' is taken"),
    "a state twice": (changed("nodes.2.name", "h"), "the name 'h' is taken"),
    "a state like the input": (changed("nodes.2.name", "x"), "the name 'x' is taken"),
    "a state like a weight": (changed("nodes.2.name", "weight_i"), "is taken"),
    "a name with a path": (changed("nodes.3.name", "../etc"), "must have a name of letters"),
    "an empty name": (changed("nodes.3.name", ""), "must have a name of letters"),
    "a long name": (changed("nodes.3.name", "i" * 65), "must have a name of letters"),
    "a name with a line": (changed("nodes.3.name", "i\n"), "must have a name of letters"),
    "a name of a program": (changed("name", "a b"), "must have a name of letters"),
    "an output twice": (changed("outputs", [["h", 3], ["h", 4]]), "two outputs have the same name"),
    "an output of nothing": (changed("outputs", [["h", 99]]), "'h' refers to node 99, which does not exist"),
    "an output before the first": (changed("outputs", [["h", -1]]), "'h' refers to node -1"),
    "an output's name": (changed("outputs", [["h h", 3]]), "an output must have a name of letters"),
    "an output of three": (changed("outputs", [["h", 3, 3]]), "Expected `array` of length 2"),
    "a label of nothing": (changed("labels", [["i", 99]]), "'i' refers to node 99"),
    "a label's name": (changed("labels", [["\x1b[2J", 4]]), "a label must be an identifier"),
    "a label like a state": (changed("labels", [["c", 4]]), "a label has a name that is taken"),
    "two labels of one name": (changed("labels", [["i", 4], ["i", 6]]), "a label has a name that is taken"),
    "control characters": (changed("doc", "\x1b[2J"), "one line of printable text"),
    "a long source": (changed("source", "a" * 1001), "at most 1000 characters"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_text(name: str) -> None:
    text, message = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(ProgramError, match=message) as caught:
            from_json(text)
        assert tracemalloc.get_traced_memory()[1] < 64 * MAX_JSON
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("cut", range(0, len(to_json(ALL["gru"].program)), 7))
def test_cut_short(cut: int) -> None:
    with pytest.raises(ProgramError, match="not a program's JSON"):
        from_json(to_json(ALL["gru"].program)[:cut])


def harmless(text: bytes) -> bool:
    """True where `text` is a sound program, which must then print, differentiate and run; False where it is refused."""
    try:
        program = from_json(text)
    except ProgramError:
        return False
    as_text(program), as_latex(program)
    if any(node.op == "transpose" for node in program.nodes):
        return True
    sizes = resolve(2, 3, 4)
    weights = {n: np.full(s, 0.5) for n, s in program.parameter_shapes(2, 3, 4).items()}
    leaves = [node for node in program.nodes if node.op in ("input", "state")]
    with np.errstate(all="ignore"):  # a mutated program may well divide by zero
        if leaves:
            run(program, {node.name: np.full((1, sizes[node.size]), 0.25) for node in leaves}, Stacked(weights), sizes)
    try:
        verify_cell(program)
    except ProgramError:
        return True
    storage(program)
    verify(adjoint(program).program)
    return True


def mutate(rng: random.Random, document: Any) -> None:
    """One random change somewhere in a JSON document: another value, a value from elsewhere, one more, one fewer."""
    spots: list[tuple[Any, Any]] = []

    def walk(here: Any) -> None:
        for key in here if isinstance(here, dict) else range(len(here)):
            spots.append((here, key))
            if isinstance(here[key], (dict, list)):
                walk(here[key])

    walk(document)
    here, key = rng.choice(spots)
    there, other = rng.choice(spots)
    sizes_and_ops = rng.choice(["I", "H", "O", "1", *OPS])
    junk = rng.choice([None, -1, 0, 1, 3, 2**40, 1e300, "", "x", "h", sizes_and_ops, [], [0], [0, 1], {}, True])
    action = rng.randrange(5)
    if action == 0:
        here[key] = junk
    elif action == 1:
        here[key] = json.loads(json.dumps(there[other]))
    elif action == 2 and isinstance(here, list):
        here.insert(key, json.loads(json.dumps(here[key])))
    elif action == 3:
        del here[key]
    elif isinstance(here, dict):
        here[rng.choice(["op", "args", "size", "name", "value", "index", "bias", "doc", "evil"])] = junk


def test_mutations_of_programs() -> None:
    """1,000 programs with one to three changes: refused by name, or sound in every use. Both must occur."""
    rng = random.Random(7)
    sources = [json.loads(to_json(p)) for p in PROGRAMS]
    sound = 0
    for _ in range(1000):
        document = json.loads(json.dumps(rng.choice(sources)))
        for _ in range(rng.choice([1, 1, 2, 3])):
            mutate(rng, document)
        sound += harmless(json.dumps(document).encode())
    assert 20 < sound < 900


def test_mutations_of_bytes() -> None:
    rng = random.Random(8)
    for _ in range(500):
        text = bytearray(to_json(rng.choice(PROGRAMS)))
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        harmless(bytes(text))


@dataclass
class _Drawn:
    """Random programs out of sound parts, so that many are sound as a whole."""

    rng: random.Random

    def program(self) -> Program:
        sizes = ("I", "H", "O", "1")
        nodes = [Node("input", name="x", size="I"), Node("state", name="h")]
        for position in range(2, self.rng.randint(4, 30)):
            op, size = self.rng.choice(OPS), self.rng.choices(sizes, (1, 6, 1, 2))[0]
            count = {"affine": 2, "constant": 0, "parameter": 0, "input": 0, "state": 0}.get(
                op, self.rng.choice([1, 2])
            )
            args = tuple(self.rng.randrange(position) for _ in range(count))
            name = f"n{position}" if op in ("input", "state", "parameter", "affine", "transpose") else ""
            nodes.append(Node(op, args, size, name, self.rng.gauss(0, 1) if op == "constant" else 0.0))
            try:
                verify(Program("drawn", tuple(nodes), (("h", 0),)))
            except ProgramError:
                nodes[-1] = Node("tanh", (1,))
        return Program("drawn", tuple(nodes), (("h", self.rng.randrange(len(nodes))), ("g", len(nodes) - 1)))


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_random_programs(seed: int) -> None:
    """What the verifier lets pass runs, prints and comes back from JSON."""
    program = _Drawn(random.Random(seed)).program()
    assert verify(program) is program
    assert from_json(to_json(program)) == program
    assert harmless(to_json(program))


def edited(**fields: Any) -> Program:
    return msgspec.structs.replace(ALL["lstm"].program, **fields)


NODES, OUTPUTS = ALL["lstm"].program.nodes, ALL["lstm"].program.outputs
SPREAD = (Node("constant", size="1"), Node("spread", (16,)))
NO_CELLS = {
    "two inputs": (edited(nodes=(*NODES, Node("input", name="z", size="I"))), "exactly one input"),
    "no input": (Program("p", (Node("state", name="h"),), (("h", 0),)), "exactly one input"),
    "an input of H units": (
        Program("p", (Node("input", name="x"), Node("state", name="h")), (("h", 1),)),
        "of I units",
    ),
    "no state": (
        Program("p", (Node("input", name="x", size="I"),), (("h", 0),)),
        "the new states, in order: none found",
    ),
    "a state that does not come back": (edited(outputs=OUTPUTS[:1]), "the new states, in order: h, c"),
    "states in another order": (edited(outputs=OUTPUTS[::-1]), "the new states, in order: h, c"),
    "more than the states": (edited(outputs=(*OUTPUTS, ("d", 3))), "the new states, in order: h, c"),
    "a state of another size": (edited(outputs=(("h", 0), OUTPUTS[1])), "'h' comes back with another size"),
    "a transposed map": (edited(nodes=(*NODES, Node("transpose", (1,), name="i"))), "which only backward programs may"),
    "a name of backward programs": (edited(nodes=(*NODES, Node("state", name="new_h"))), "'new_h' begins as names in"),
    "a parameter's name": (edited(nodes=(*NODES, Node("parameter", name="grad_x"))), "'grad_x' begins as names in"),
    "a state that is a number": (edited(nodes=(*NODES, Node("state", name="s", size="1"))), "must be a vector"),
    "a state of the input's size": (
        edited(
            nodes=(Node("input", name="x", size="I"), Node("state", name="h", size="I")), outputs=(("h", 1),), labels=()
        ),
        "must have H or O units",
    ),
    "a parameter that is a number": (edited(nodes=(*NODES, Node("parameter", name="s", size="1"))), "must be a vector"),
}


@pytest.mark.parametrize("name", NO_CELLS)
def test_programs_that_are_no_cells(name: str) -> None:
    program, message = NO_CELLS[name]
    verify(program)
    with pytest.raises(ProgramError, match=message):
        verify_cell(program)


@pytest.mark.parametrize("program", [c.program for c in ALL.values()], ids=lambda p: p.name)
def test_cells_are_cells_and_their_adjoints_are_not(program: Program) -> None:
    assert verify_cell(program) is program
    with pytest.raises(ProgramError):
        verify_cell(adjoint(program).program)


BAD_NODES = [
    (Node("mean", (0,)), "takes a vector and gives a number"),
    (Node("sum", (16,), "1"), "takes a vector and gives a number"),
    (Node("spread", (0,)), "takes a number and gives a vector"),
    (Node("share", (16,), "1"), "takes a number and gives a vector"),
    (Node("constant", size="H"), "a constant has size 1"),
    (Node("constant", size="1", value=float("nan")), "must be finite"),
    (Node("constant", size="1", value=float("-inf")), "must be finite"),
    (Node("add", (0, 1)), "sizes cannot agree: I, H into H"),
    (Node("affine", (16,), name="q"), "takes 1 to 64 vectors"),
    (Node("transpose", (1,), name="q", index=64), "does not belong"),
    (Node("transpose", (1,)), "must have a name"),
]


@pytest.mark.parametrize(("node", "message"), BAD_NODES)
def test_nodes_that_cannot_be(node: Node, message: str) -> None:
    program = edited(nodes=(*NODES, Node("constant", size="1", value=1.0), node))
    assert len(NODES) == 16
    with pytest.raises(ProgramError, match=message):
        verify(program)
