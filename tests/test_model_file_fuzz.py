"""Hostile and damaged model files: always a named error or the right model; no crash, hang or large allocation."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ModelFileError
from elman.runtime import Document, load, save
from elman.runtime.document import check, check_weights
from forge import join, resealed, sealed, split
from golden_model import GOLDEN, golden_document, golden_tensors

GOOD = GOLDEN.read_bytes()
HEADER, DATA = split(GOOD)
TEXT = HEADER["__metadata__"]["elman"]
ENTRIES = {name: entry for name, entry in HEADER.items() if name != "__metadata__"}

MUTATIONS = 2000
ALLOWED = 400_000
"""Bytes that one load may allocate besides what the file's size explains: objects of the interpreter's own."""

Loaded = tuple[Document, dict[str, np.ndarray]] | None


@contextmanager
def bounded(size: int, seconds: float = 2.0) -> Iterator[None]:
    """What runs inside, and may fail, ends soon; JSON may become objects of ten times its bytes, nothing else grows."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        yield
    finally:
        elapsed, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * size + ALLOWED, f"{peak:,} bytes allocated for a file of {size:,}"
        assert elapsed < seconds


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Loaded]:
    """Loads the given bytes within bounds: the model, or None where it was refused by one printable line."""
    path = tmp_path_factory.mktemp("fuzz") / "model.elman"

    def run(content: bytes) -> Loaded:
        path.write_bytes(content)
        try:
            with bounded(len(content)):
                return load(path)
        except ModelFileError as error:
            message = str(error)
            assert message.startswith(f"cannot load {str(path)!r}: ")
            assert message.isprintable()
            assert len(message) < 1000
            return None

    return run


def is_the_original(loaded: Loaded) -> bool:
    assert loaded is not None
    document, tensors = loaded
    expected = golden_tensors()
    return (
        document == golden_document()
        and tensors.keys() == expected.keys()
        and all(np.array_equal(tensors[k], expected[k]) and tensors[k].dtype == expected[k].dtype for k in expected)
    )


# --- bytes ----------------------------------------------------------------------------------------------------------

HUGE = [-1, 0, 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64, 10**30, -(2**63), 1.5, 1e308, True, None, "7", [], {}]


def flip_bits(rng: random.Random) -> bytes:
    model = bytearray(GOOD)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        model[rng.randrange(len(model))] ^= 1 << rng.randrange(8)
    return bytes(model)


def replace_bytes(rng: random.Random) -> bytes:
    model = bytearray(GOOD)
    at, count = rng.randrange(len(model)), rng.randint(1, 40)
    model[at : at + count] = rng.choice(
        (rng.randbytes(count), bytes(count), b"\xff" * count, b'"' * count, b"[" * count)
    )
    return bytes(model)


def cut(rng: random.Random) -> bytes:
    at = rng.randrange(len(GOOD))
    return rng.choice((GOOD[:at], GOOD[at:], GOOD[:at] + GOOD[at + rng.randint(1, 64) :]))


def insert(rng: random.Random) -> bytes:
    at, count = rng.randint(0, len(GOOD)), rng.randint(1, 64)
    return GOOD[:at] + rng.choice((rng.randbytes(count), bytes(count), GOOD[:count])) + GOOD[at:]


def swap_chunks(rng: random.Random) -> bytes:
    size = rng.choice((1, 8, 64, 256))
    a, b = sorted(rng.sample(range(0, len(GOOD) - size, size), 2))
    return GOOD[:a] + GOOD[b : b + size] + GOOD[a + size : b] + GOOD[a : a + size] + GOOD[b + size :]


def edit_length(rng: random.Random) -> bytes:
    true = len(GOOD) - 8 - len(DATA)
    anything = rng.randrange(1 << rng.randint(1, 64))
    edges = (0, 1, true - 1, true + 1, true + 8, len(GOOD), 64 << 20, (64 << 20) + 1, 2**63, 2**64 - 1)
    length = rng.choice((anything, anything, *edges))
    return length.to_bytes(8, "little") + GOOD[8:]


def edit_entry(rng: random.Random) -> bytes:
    """The header's JSON with one claim changed, and the checksum as it was."""
    header = json.loads(json.dumps(HEADER))
    name = rng.choice(list(ENTRIES))
    entry = header[name]
    match rng.randrange(6):
        case 0:
            entry["shape"] = rng.choice(
                ([], *[[huge] for huge in HUGE], [2**31, 2**31], [2**62] * 32, [1] * 33, [0] * 40)
            )
        case 1:
            entry["data_offsets"][rng.randrange(2)] = rng.choice(HUGE)
        case 2:
            entry["dtype"] = rng.choice(("F32", "F64", "F128", "", "f32", "PICKLE", None, "I64", "U8"))
        case 3:
            del entry[rng.choice(list(entry))]
        case 4:
            header[
                rng.choice(("", "__metadata__", "x" * 5000, name + "\x00", "recurrent.layers.0.forward_weight_h"))
            ] = entry.copy()
        case 5:
            header[name] = rng.choice(HUGE)
    return join(json.dumps(header), DATA)


# --- claims behind a right checksum ---------------------------------------------------------------------------------

PARTS = ["format", "elman", "task", "networks", "options", "vocabularies", "scaling", "training"]


def hostile_entry(rng: random.Random) -> bytes:
    """Claims about the tensors that are wrong, under a right checksum."""
    entries = json.loads(json.dumps(ENTRIES))
    name = rng.choice(list(entries))
    match rng.randrange(4):
        case 0:
            entries[name]["shape"] = rng.choice(([2**40], [2**62, 2**62], [-1], [0, 2**62], [1.5], "2", [10**30]))
        case 1:
            entries[name]["data_offsets"] = rng.choice(([0, 2**40], [2**62, 2**62], [5, 1], [0], [0, 1, 2], [-8, 0]))
        case 2:
            entries[name]["dtype"] = rng.choice(("F128", "OBJECT", 3, None))
        case 3:
            entries["more"] = {"dtype": "U8", "shape": [2**40], "data_offsets": [len(DATA), len(DATA) + 2**40]}
    return sealed(TEXT, entries, DATA)


def hostile_document(rng: random.Random) -> bytes:
    """A document that is nested deeply, holds numbers beyond all bounds, or makes claims of giant sizes."""
    document = json.loads(TEXT)
    layer = document["networks"]["recurrent"][0]
    node = rng.choice(layer["cell"]["nodes"])
    match rng.randrange(12):
        case 0:
            depth = rng.choice((33, 60, 900, 1100, 20_000))
            text = TEXT.replace('"epochs":3', f'"epochs":{"[" * depth}{"]" * depth}')
            return resealed(GOOD, text)
        case 1:
            number = rng.choice(
                ("NaN", "Infinity", "-Infinity", "1e999", "1" * 30, "1" * 5000, "0x10", "01", "--1", "1e", ".")
            )
            return resealed(GOOD, TEXT.replace('"epochs":3', f'"epochs":{number}'))
        case 2:
            key = rng.choice(("input_size", "hidden_size", "output_size"))
            layer[key] = rng.choice([huge for huge in HUGE if huge is not layer[key]] + [2**31, 2**30, 4, 5])
        case 3:
            node["op"] = rng.choice(("", "eval", "exec", "__import__", "SIGMOID", "tanh\x00", "x" * 10_000, 5, None))
        case 4:
            node["args"] = rng.choice(([99], [-1], [2**62], [10**30], [0] * 1000, [[0]], "0", None, [3], [0.5]))
        case 5:
            node["size"] = rng.choice(("Z", "", 5, None, "I" * 1000, "1"))
        case 6:
            node["name"] = rng.choice(("__class__.x", "a" * 65, "a b", "\u202e", "é", 5, "../..", "weight h"))
        case 7:
            layer["cell"]["outputs"] = rng.choice(
                ([], [["h", 99]], [["h", 0]], [["h", 3]] * 2, [["h"]], {}, [["h", -1]])
            )
        case 8:
            layers, count = document["networks"]["recurrent"], rng.choice((2, 100, 2000))
            if rng.random() < 0.5:
                document["networks"]["recurrent"] = layers * count
            else:
                document["networks"] |= {rng.choice(("n", "", "a.b", "é\x1b")) + str(k): layers for k in range(count)}
        case 9:
            part = rng.choice(PARTS)
            if rng.random() < 0.5:
                del document[part]
            else:
                document[part] = rng.choice(
                    (2**70, -5, 1.5, True, None, [[1]], [{}], {"a": 2**70}, {"a": {"b": 2**70}})
                )
        case 10:
            document["vocabularies"] = {"letters": {"entries": json.loads("[" * 40 + "]" * 40), "size": 2**50}}
        case 11:
            layer["cell"]["nodes"] = layer["cell"]["nodes"] * rng.choice((2, 1024, 2000))
    return resealed(GOOD, json.dumps(document))


def hostile_header(rng: random.Random) -> bytes:
    """JSON that is no header, or too much of one."""
    depth = rng.choice((10, 1000, 50_000))
    key, value = (
        rng.choice(("", "a", "__metadata__", "\\u0000", "\\ud800")),
        rng.choice(("1", "{}", '""', "[]", "nul", "{")),
    )
    return join(
        rng.choice(
            (
                "[" * depth,
                '{"a":' * depth,
                f'{{"{key}":{value}}}',
                "{" + ",".join(f'"{k}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for k in range(200)) + "}",
                '{"__metadata__":' + json.dumps({str(k): "" for k in range(2000)}) + "}",
                json.dumps({**ENTRIES, "__metadata__": {"elman": "{" * depth, "sha256": "0" * 64}}),
                json.dumps(HEADER)[: rng.randrange(1, 500)],
                "\x00" * depth,
                " " * depth,
            )
        ),
        rng.choice((b"", DATA)),
    )


MUTATORS = (
    flip_bits, replace_bytes, cut, insert, swap_chunks,
    edit_length, edit_entry, hostile_entry, hostile_document, hostile_header,
)  # fmt: skip


def test_the_unharmed_file_is_loaded(attempt: Callable[[bytes], Loaded]) -> None:
    """The ground of all that follows: what the mutators start from is good, also when sealed by the test's own hand."""
    assert is_the_original(attempt(GOOD))
    assert is_the_original(attempt(resealed(GOOD, TEXT)))
    assert is_the_original(attempt(resealed(GOOD, json.dumps(json.loads(TEXT)))))


@pytest.mark.parametrize("mutate", MUTATORS, ids=lambda mutate: mutate.__name__)
def test_mutations(attempt: Callable[[bytes], Loaded], mutate: Callable[[random.Random], bytes]) -> None:
    """200 seeded mutations of each of the ten kinds: a named error, or the right model where nothing was changed."""
    rng = random.Random(mutate.__name__)
    refused = 0
    for k in range(MUTATIONS // len(MUTATORS)):
        content = mutate(rng)
        loaded = attempt(content)
        if loaded is None:
            refused += 1
        else:
            assert is_the_original(loaded), f"mutation {k} gave another model"
            # Bytes as they were, or JSON written otherwise under a right checksum: nothing else may pass.
            assert content == GOOD or mutate in (hostile_document, hostile_entry), f"mutation {k} was not noticed"
    assert refused > 0.9 * MUTATIONS / len(MUTATORS)


def test_every_single_bit(attempt: Callable[[bytes], Loaded]) -> None:
    """Each bit of a part of the file, the checksum, the document and the tensors among them, is guarded."""
    for position in (*range(120), *range(120, len(GOOD), 23)):
        for bit in range(8):
            model = bytearray(GOOD)
            model[position] ^= 1 << bit
            assert attempt(bytes(model)) is None, f"bit {bit} of byte {position}"


# --- any JSON behind a right checksum -------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["I", "H", "O", "1", "x", "h", "tanh", "affine", "mean", "both", "forward"])
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `value`."""
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        return found + [place for key, item in enumerate(value) for place in places(item, (*path, key))]
    return found


PLACES = places(json.loads(TEXT))


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "double"]), anything), max_size=3))
def test_any_document_behind_a_right_checksum(
    attempt: Callable[[bytes], Loaded], edits: list[tuple[tuple[Any, ...], str, Any]]
) -> None:
    """Whatever the JSON says: it is refused by name, or it is a sound document that says exactly that."""
    document = json.loads(TEXT)
    for path, action, value in edits:
        part = document
        try:
            for key in path[:-1]:
                part = part[key]
            if action == "delete":
                del part[path[-1]]
            elif action == "double":
                part[path[-1]] = [part[path[-1]]] * 2
            else:
                part[path[-1]] = value
        except (LookupError, TypeError):  # an earlier edit took the place away
            continue
    text = json.dumps(document)
    loaded = attempt(resealed(GOOD, text))
    if loaded is not None:
        check(loaded[0])
        check_weights(*loaded)
        assert json.loads(text)["training"] == loaded[0].training
        assert json.loads(text)["vocabularies"] == loaded[0].vocabularies


@settings(max_examples=200)
@given(anything)
def test_any_json_instead_of_the_document(attempt: Callable[[bytes], Loaded], value: Any) -> None:
    assert attempt(resealed(GOOD, json.dumps(value))) is None


@settings(max_examples=100)
@given(training=st.dictionaries(st.text(), anything, max_size=5), entries=st.lists(st.text(), max_size=20))
def test_what_can_be_saved_is_loaded_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, training: dict[str, Any], entries: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.elman"
    vocabularies = {"v": {"entries": entries}}
    changed = golden_document()
    document = Document(
        **{name: getattr(changed, name) for name in PARTS} | {"training": training, "vocabularies": vocabularies}
    )
    try:
        save(path, document, golden_tensors())
    except ModelFileError as error:
        message = str(error)  # NaN, infinity, giant integers, half a surrogate pair: each named
        if "JSON" not in message and "64 bits" not in message:
            raise
    else:
        assert load(path)[0] == document


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(["alone", "as header", "as document"]))
def test_any_bytes(attempt: Callable[[bytes], Loaded], content: bytes, where: str) -> None:
    if where == "as header":
        content = join(content, b"")
    elif where == "as document":
        content = resealed(GOOD, content.decode("latin-1"))
    assert attempt(content) is None


def test_the_costliest_header(tmp_path: Path) -> None:
    """The most objects that fit into a large header cost a bounded multiple of the file, and no more than seconds."""
    path = tmp_path / "model.elman"
    entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    header = "{" + ",".join(f'"{k}":{entry}' for k in range(100_000)) + "}"
    path.write_bytes(join(header, b""))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="not an elman model"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(header)
    finally:
        tracemalloc.stop()
