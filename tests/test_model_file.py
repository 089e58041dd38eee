"""The model file: round trips, the golden file, and every error by name."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from elman.compiler.ir import OPS, Node, Program
from elman.errors import ModelFileError
from elman.runtime import Document, Layer, describe, load, save
from elman.runtime.model_file import DTYPES
from forge import join, resealed, sealed, split
from golden_model import GOLDEN, elman_rnn, golden_document, golden_tensors

replace = msgspec.structs.replace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.elman"


def empty(**changes: Any) -> Document:
    """A document without networks, so that tensors are free."""
    return replace(golden_document(), networks={}, **changes)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """The same names, types, shapes and bytes (NaN included)."""
    return left.keys() == right.keys() and all(
        (left[k].dtype, left[k].shape, left[k].tobytes()) == (right[k].dtype, right[k].shape, right[k].tobytes())
        for k in left
    )


def test_golden_file() -> None:
    """What the first release wrote is read as what it meant."""
    document, tensors = load(GOLDEN)
    assert document == golden_document()
    assert same(tensors, golden_tensors())


def test_the_description_shows_the_golden_file(path: Path) -> None:
    """docs/model-file.md prints the file's first and last bytes, its document, and a reader that works."""
    page = (Path(__file__).parents[1] / "docs" / "model-file.md").read_text(encoding="utf-8")
    content = GOLDEN.read_bytes()
    rows = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} ){8}) ((?:[0-9a-f]{2} ){8}) \|(.{16})\|$", page, re.MULTILINE)
    assert len(rows) >= 10
    for at, left, right, text in rows:
        expected = content[int(at, 16) :][:16]
        assert bytes.fromhex(left + right) == expected
        assert text == "".join(chr(byte) if 32 <= byte < 127 else "." for byte in expected)
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(shown) == json.loads(split(content)[0]["__metadata__"]["elman"])
    (reader,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(reader, names)
    document, tensors = names["read"](GOLDEN)
    assert document == json.loads(shown)
    assert same(tensors, golden_tensors())
    path.write_bytes(content[:-1] + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        names["read"](path)


def test_the_description_is_complete() -> None:
    """Every op that a cell may have, every field and every type stands in docs/model-file.md."""
    page = (Path(__file__).parents[1] / "docs" / "model-file.md").read_text(encoding="utf-8")
    words = {word for code in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\w+", code)}
    fields = {field for struct in (Document, Layer, Program, Node) for field in struct.__struct_fields__}
    assert ({*OPS, *fields, *DTYPES} - {"transpose", "index"}) - words - {"input_size", "hidden_size", "nodes"} == set()


def test_golden_file_is_what_is_written_today(path: Path) -> None:
    save(path, golden_document(), golden_tensors())
    assert path.read_bytes() == GOLDEN.read_bytes()


@pytest.mark.parametrize("code", DTYPES.values())
def test_round_trip_of_every_type(path: Path, code: str) -> None:
    dtype = np.dtype(code)
    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 2 if dtype.kind in "bf" else 100, (3, 4, 5))
    whole = (numbers + (rng.random((3, 4, 5)) if dtype.kind == "f" else 0)).astype(dtype)
    tensors = {
        "whole": whole,
        "scalar": whole[0, 0, 0],
        "no dimension": np.array(whole[0, 0, 0]),
        "nothing": whole[:0],
        "hollow": np.zeros((3, 0, 2), dtype),
        "strided": whole[:, ::2, ::-1],
        "fortran": np.asfortranarray(whole),
        "other end": whole.astype(dtype.newbyteorder(">")),
        "odd": whole.reshape(-1)[:7],
        "frozen": np.frombuffer(whole.tobytes(), dtype),
    }
    if dtype.kind == "f":
        tensors["special"] = np.array([np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).smallest_subnormal], dtype)
    save(path, empty(), tensors)
    document, loaded = load(path)
    assert document == empty()
    assert same(loaded, {name: np.asarray(tensor).astype(dtype) for name, tensor in tensors.items()})
    for tensor in loaded.values():
        assert tensor.flags.aligned
        assert tensor.flags.writeable, "torch.from_numpy warns of arrays that cannot be written"


def test_every_type_at_once_is_aligned(path: Path) -> None:
    tensors = {code: np.ones(3, np.dtype(code)) for code in sorted(DTYPES.values())}
    save(path, empty(), tensors)
    loaded = load(path)[1]
    assert same(loaded, tensors)
    assert all(tensor.flags.aligned for tensor in loaded.values())


def test_safetensors_reads_ours(path: Path) -> None:
    save(path, golden_document(), golden_tensors())
    assert same(load_file(path), golden_tensors())
    with safe_open(path, "np") as file:
        assert sorted(file.metadata()) == ["elman", "sha256"]
        assert json.loads(file.metadata()["elman"])["task"] == "language-model"


def test_another_writers_layout_is_read(path: Path) -> None:
    """Any order of keys and tensors, any whitespace: numbers that lie unaligned are moved."""
    data = b"\1" + np.array([1.5, -2.0]).tobytes()
    entries = {
        "wide": {"shape": [2], "data_offsets": [1, 17], "dtype": "F64"},
        "bit": {"dtype": "BOOL", "shape": [], "data_offsets": [0, 1]},
    }
    text = json.dumps(msgspec.to_builtins(empty()), indent=3)
    path.write_bytes(sealed(text, entries, data, author="someone"))
    document, tensors = load(path)
    assert document == empty()
    assert same(tensors, {"wide": np.array([1.5, -2.0]), "bit": np.array(True)})
    assert tensors["wide"].flags.aligned


def test_documents_become_plain(path: Path) -> None:
    """Tuples and NumPy's numbers are stored as what JSON knows; text of any script survives."""
    letters = ("a", "\0", '"', "\\", "\u2028", "日本", "😀", "\x1b[31m", "0" * 64)
    save(
        path,
        empty(
            options={"betas": (0.9, np.float64(0.5)), "on": np.bool_(True), "n": np.int32(7), "none": None},
            vocabularies={"letters": {"entries": letters, "counts": {"a": np.int64(2)}}},
            scaling={"mean": [np.float32(0.5)], "none": []},
            training={"history": ({"loss": 1e-300, "step": 2**63 - 1}, [])},
        ),
        {},
    )
    document, _ = load(path)
    assert document.options == {"betas": [0.9, 0.5], "on": True, "n": 7, "none": None}
    assert document.vocabularies == {"letters": {"entries": list(letters), "counts": {"a": 2}}}
    assert document.scaling == {"mean": [0.5], "none": []}
    assert document.training == {"history": [{"loss": 1e-300, "step": 2**63 - 1}, []]}


def test_layers_of_every_kind(path: Path) -> None:
    """Directions, several layers, per-unit weights, a projected output: the names and shapes of the contract."""
    projected = Program(
        name="projected",
        nodes=(
            Node(op="input", size="I", name="x"),
            Node(op="state", size="O", name="h"),
            Node(op="state", size="H", name="c"),
            Node(op="affine", args=(0, 1), size="H", name="c"),
            Node(op="parameter", size="H", name="p"),
            Node(op="mul", args=(4, 2), size="H"),
            Node(op="add", args=(3, 5), size="H"),
            Node(op="affine", args=(6,), size="O", name="h", bias=False),
        ),
        outputs=(("h", 7), ("c", 6)),
    )
    layers = (
        Layer(projected, input_size=3, hidden_size=4, output_size=2, direction="both"),
        Layer(elman_rnn(), input_size=4, hidden_size=4, output_size=4, direction="backward", residual=True),
    )
    shapes = {
        f"recurrent.layers.0.{way}_{name}": shape
        for way in ("forward", "backward")
        for name, shape in {"weight_c": (4, 5), "bias_c": (4,), "p": (4,), "weight_h": (2, 4)}.items()
    } | {"recurrent.layers.1.backward_weight_h": (4, 8), "recurrent.layers.1.backward_bias_h": (4,)}
    document = replace(golden_document(), networks={"recurrent": layers})
    assert document.weights() == shapes
    tensors = {name: np.full(shape, k, np.float32) for k, (name, shape) in enumerate(shapes.items())}
    save(path, document, tensors)
    assert load(path)[0] == document
    assert same(load(path)[1], tensors)
    shown = describe(document, tensors)
    assert [layer["parameters"] for layer in shown["networks"]["recurrent"]] == [72, 36]
    for name in shapes:
        with pytest.raises(ModelFileError, match=f"the weight '{name}' is missing"):
            save(path, document, {key: value for key, value in tensors.items() if key != name})


def test_describe() -> None:
    shown = describe(golden_document(), golden_tensors())
    assert json.loads(json.dumps(shown)) == shown
    assert shown["task"] == "language-model"
    assert shown["networks"]["recurrent"] == [
        {
            "cell": "elman_rnn",
            "input_size": 3,
            "hidden_size": 2,
            "output_size": 2,
            "direction": "forward",
            "residual": False,
            "parameters": 2 * 5 + 2,
        }
    ]
    assert shown["parameters"] == 12 + 6 + 1  # floating weights only
    assert shown["vocabularies"] == {"letters": 3}
    assert shown["training"] == golden_document().training
    assert shown["file_bytes"] == GOLDEN.stat().st_size


def test_the_file_is_read_once_into_its_own_size(path: Path) -> None:
    """Saving copies nothing; loading holds the tensors once."""
    tensors = {"a": np.zeros((1000, 2000), np.float32), "b": np.ones(500_000)}
    size = sum(tensor.nbytes for tensor in tensors.values())
    peaks = []
    for work in (lambda: save(path, empty(), tensors), lambda: load(path)):
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 0.05 * size
    assert peaks[1] < 1.05 * size


# --- what cannot be saved -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"loss": float("nan")}}, "training.loss is nan, which JSON cannot carry"),
        ({"scaling": {"mean": [0.0, float("inf")]}}, r"scaling.mean\[1\] is inf"),
        ({"options": {"n": 1 << 70}}, "options.n holds a number of more than 64 bits"),
        ({"options": {"blob": b"x"}}, "options.blob is a bytes"),
        ({"options": {"deep": {"a": 1}}}, r"the document is not that of a model: .*at `\$.options"),
        ({"training": {"path": Path("x")}}, "training.path is a PosixPath"),
        ({"vocabularies": {"v": {1: "a"}}}, "vocabularies.v has a key that is not text"),
        ({"vocabularies": {"v": {"entries": ["\ud800"]}}}, "the document holds what JSON cannot carry.*surrogates"),
        ({"vocabularies": {"v": ["a"]}}, r"Expected `object`, got `array` - at `\$.vocabularies"),
        ({"scaling": {"mean": ["a"]}}, r"Expected `float`, got `str` - at `\$.scaling"),
        ({"format": 2}, "unknown format 2; this elman writes 1"),
        ({"task": ""}, "must be names of 1 to 64 printable letters"),
        ({"elman": "\x1b[31m"}, "must be names of 1 to 64 printable letters"),
    ],
)
def test_documents_that_cannot_be_saved(path: Path, changes: dict[str, Any], said: str) -> None:
    path.write_bytes(b"old")
    with pytest.raises(ModelFileError, match=f"^cannot save .*model.elman': .*{said}"):
        save(path, empty(**changes), {})
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 1


def test_a_document_within_itself(path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ModelFileError, match="training is nested more than 32 deep"):
        save(path, empty(training={"loop": loop}), {})


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("t", np.array(["text"]), "the tensor 't' is of <U4; a NumPy array of F64, F32"),
        ("t", np.array([object()]), "the tensor 't' is of object"),
        ("t", np.zeros(2, complex), "the tensor 't' is of complex128"),
        ("t", np.zeros(2, np.longdouble), "the tensor 't' is of"),
        ("t", [1.0, 2.0], "the tensor 't' is of list"),
        ("t", np.zeros((1,) * 40), "the tensor 't' has 40 dimensions"),
        ("__metadata__", np.zeros(1), "'__metadata__' cannot be the name of a tensor"),
        ("\ud800", np.zeros(1), "the name of a tensor is not valid text"),
        (
            "recurrent.layers.0.forward_bias_h",
            np.zeros(3),
            r"must have the shape \(2,\) and a floating type, not \(3,\) of float64",
        ),
        (
            "recurrent.layers.0.forward_bias_h",
            np.zeros(2, int),
            r"must have the shape \(2,\) and a floating type, not .* of int64",
        ),
    ],
)
def test_tensors_that_cannot_be_saved(path: Path, name: str, tensor: Any, said: str) -> None:
    with pytest.raises(ModelFileError, match=f"^cannot save .*model.elman': .*{said}"):
        save(path, golden_document(), golden_tensors() | {name: tensor})
    assert not list(path.parent.iterdir())


def test_several_networks(path: Path) -> None:
    """Each has names of its own for its weights, also where one network's name begins as another's does."""
    layer = golden_document().networks["recurrent"][0]
    sizes = {"a": (2, 3), "a_layers": (3, 2), "_": (1, 1), "a" * 64: (2, 2)}
    networks = {
        name: tuple(replace(layer, input_size=size, hidden_size=size, output_size=size) for size in [one] * count)
        for name, (one, count) in sizes.items()
    }
    document = replace(golden_document(), networks=networks)
    assert sorted(document.weights()) == sorted(
        f"{name}.layers.{k}.forward_{weight}"
        for name, (_, count) in sizes.items()
        for k in range(count)
        for weight in ("weight_h", "bias_h")
    )
    tensors = {name: np.full(shape, k, np.float32) for k, (name, shape) in enumerate(document.weights().items())}
    save(path, document, tensors)
    assert load(path)[0] == document
    assert list(load(path)[0].networks) == list(sizes), "in the order in which they were given"
    assert same(load(path)[1], tensors)
    shown = describe(document, tensors)
    assert {name: len(layers) for name, layers in shown["networks"].items()} == {n: c for n, (_, c) in sizes.items()}
    assert sum(one["parameters"] for layers in shown["networks"].values() for one in layers) == shown["parameters"]


def test_layers_that_do_not_fit(path: Path) -> None:
    """A layer takes what the one below gives: its output, from both directions where it has two."""
    layer = golden_document().networks["recurrent"][0]
    for below, takes, gives in [
        (layer, 3, 2),
        (replace(layer, direction="both"), 2, 4),
        (replace(layer, direction="backward"), 4, 2),
    ]:
        networks = {"fine": (layer,), "up": (below, replace(layer, input_size=takes))}
        said = f"network up, layer 1 takes {takes} units, but the layer below gives {gives}"
        with pytest.raises(ModelFileError, match=said):
            save(path, replace(golden_document(), networks=networks), {})


def test_units_without_weights(path: Path) -> None:
    """A claim of sizes that no weight in the file bears out would be believed when the network first runs."""
    nodes = (
        Node(op="input", size="I", name="x"),
        Node(op="state", size="O", name="h"),
        Node(op="state", size="H", name="c"),
        Node(op="affine", args=(0, 1), size="O", name="h"),
    )
    counts = Program(name="counts", nodes=nodes, outputs=(("h", 3), ("c", 2)))
    idle = Program(name="idle", nodes=nodes[:3], outputs=(("h", 1), ("c", 2)))
    layer = Layer(counts, input_size=3, hidden_size=1 << 16, output_size=2, direction="forward")
    tensors = {"n.layers.0.forward_weight_h": np.zeros((2, 5)), "n.layers.0.forward_bias_h": np.zeros(2)}
    save(path, replace(golden_document(), networks={"n": (layer,)}), tensors)
    for bad, weights in [
        (replace(layer, hidden_size=(1 << 16) + 1), 12),
        (replace(layer, hidden_size=1 << 31), 12),
        (replace(layer, cell=idle), 0),
    ]:
        with pytest.raises(ModelFileError, match=f"network n, layer 0 has {weights} weights, too few for the units"):
            save(path, replace(golden_document(), networks={"n": (bad,)}), tensors)


def test_layers_that_cannot_be(path: Path) -> None:
    layer = golden_document().networks["recurrent"][0]
    unknown = replace(layer.cell, nodes=(*layer.cell.nodes[:3], Node(op="tanhh", args=(2,))))
    second = Program(  # what has a size of its own is not the output
        name="second",
        nodes=(
            Node(op="input", size="I", name="x"),
            Node(op="state", size="H", name="h"),
            Node(op="state", size="O", name="c"),
            Node(op="affine", args=(0, 2), size="H", name="h"),
        ),
        outputs=(("h", 3), ("c", 2)),
    )
    for bad, said in [
        (replace(layer, cell=second, output_size=3), "gives its hidden units, but the output size is 3, not 2"),
        (replace(layer, cell=unknown), "layer 0: .*unknown operation .did you mean 'tanh'"),
        (replace(layer, output_size=3), "gives its hidden units, but the output size is 3, not 2"),
        (replace(layer, residual=True), "layer 0 is residual, but takes 3 units and gives 2"),
        (replace(layer, hidden_size=0), "Expected `int` >= 1"),
        (replace(layer, hidden_size=1 << 40), "Expected `int` <= 2147483648"),
        (replace(layer, direction="up"), "Invalid enum value 'up'"),
    ]:
        with pytest.raises(ModelFileError, match=said):
            save(path, replace(golden_document(), networks={"recurrent": (bad,)}), golden_tensors())


def test_a_missing_folder(path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot write .*: there is no folder .*nowhere'; create it first"):
        save(path.parent / "nowhere" / "model.elman", golden_document(), golden_tensors())


def test_a_failed_save_leaves_the_old_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, golden_document(), golden_tensors())

    def fail(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelFileError, match="the disk is full; free some space"):
        save(path, empty(), {})
    assert load(path)[0] == golden_document()
    assert len(list(path.parent.iterdir())) == 1


# --- what cannot be loaded ------------------------------------------------------------------------------------------


def refused(path: Path, content: bytes, said: str, **options: Any) -> None:
    """Loading `content` must fail in one line that begins with the file and says `said`."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert re.match(rf"cannot load '.*model\.elman': .*{said}", message), message
    assert "\n" not in message
    assert message.isprintable()


def test_places_that_hold_no_file(path: Path) -> None:
    (path.parent / "modle.elman").write_bytes(b"")
    os.mkfifo(path.parent / "pipe")
    for place, said in [
        (path, r"there is no such file \(did you mean '.*/modle\.elman'\?\)"),
        (path.parent / "quite-another", "there is no such file$"),
        (path.parent / "nowhere" / "model.elman", "there is no such file; there is no folder '.*nowhere' either"),
        (path.parent / "modle.elman" / "model.elman", "there is no such file"),
        (path.parent, "it is a folder"),
        (path.parent / "pipe", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        (f"{path}\0", "it cannot be read: embedded null byte"),
        (path.parent / ("long" * 100), "it cannot be read: .*File name too long"),
    ]:
        with pytest.raises(ModelFileError, match=f"^cannot load '.*': {said}"):
            load(place)


def test_a_file_without_permission(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(GOLDEN.read_bytes())

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(ModelFileError, match=r"it cannot be read: .*Permission denied"):
        load(path)


@pytest.mark.parametrize("size", range(8))
def test_hardly_a_file(path: Path, size: int) -> None:
    refused(path, b"elmanelman"[:size], f"it has {size} bytes, too few for a model")


def test_headers_that_cannot_be(path: Path) -> None:
    good = GOLDEN.read_bytes()
    refused(path, (1 << 62).to_bytes(8, "little") + good[8:], "its header would have 4,611,.* bytes in a file of 1,461")
    refused(path, len(good).to_bytes(8, "little") + good[8:], "its header would have 1,461 bytes in a file of 1,461")
    refused(path, b"From: Jeffrey Elman\n", "its header would have")
    refused(path, join("", b""), "its header is not that of a safetensors file")
    refused(path, join("[]", b""), "its header is not that of a safetensors file: Expected `object`")
    refused(path, join("{" * 10_000, b""), "its header is not that of a safetensors file")
    refused(path, join('{"a": ' + "[" * 100_000, b""), "its header is not that of a safetensors file")
    refused(path, join(b'{"\xff": 1}', b""), "its header is not that of a safetensors file")
    refused(path, join('{"\x1b[31m\\u001b": 1}', b""), "its header is not that of a safetensors file")
    refused(path, join('{"__metadata__": {"elman": 1}}', b""), "its header is not .*Expected `str`, got `int`")
    many = "its header holds more entries than a model can have"
    refused(path, join('{"a":' + "[" * (1 << 21) + "1", b""), many)
    refused(path, join('{"a":1' + ',"a":1' * ((1 << 22) + 1) + "}", b""), many)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "BF16"}, "the unknown type 'BF16'; known: F64"),
        ({"dtype": "O" * 10_000}, "the unknown type 'OOOO"),
        ({"dtype": None}, "Expected `str`, got `null`"),
        ({"shape": [1 << 40, 1 << 40]}, "claims bytes .* which do not fit its shape"),
        ({"shape": [0, 1 << 60]}, "which do not fit its shape"),
        ({"shape": [10**30]}, "Expected `int` <= 4611686018427387904"),
        ({"shape": [-2, -5]}, "Expected `int` >= 0"),
        ({"shape": [1] * 33}, "Expected `array` of length <= 32"),
        ({"shape": [2.5]}, "Expected `int`, got `float`"),
        ({"data_offsets": [0, 1 << 61]}, "claims bytes 0 to 2,305,843,009,213,693,952, which do not fit"),
        ({"data_offsets": [48, 40]}, "claims bytes 48 to 40"),
        ({"data_offsets": [0, 40]}, "which do not fit its shape or its neighbours"),
        ({"data_offsets": [48]}, "Expected `array` of length 2"),
        ({"extra": 1}, "Object contains unknown field `extra`"),
    ],
)
def test_entries_that_cannot_be(path: Path, change: dict[str, Any], said: str) -> None:
    header, data = split(GOLDEN.read_bytes())
    header["recurrent.layers.0.forward_weight_h"] |= change
    refused(path, join(json.dumps(header), data), said)


def test_cut_off_and_appended(path: Path) -> None:
    good = GOLDEN.read_bytes()
    refused(path, good[:-1], "its tensors take 125 bytes but 124 follow the header; it was cut off or something was")
    refused(path, good + b"\0", "its tensors take 125 bytes but 126 follow the header")
    refused(path, good[:700], "its header would have 1,328 bytes in a file of 700")


def test_a_shape_without_elements_that_cannot_be(path: Path) -> None:
    entries = {"t": {"dtype": "F32", "shape": [0, 1 << 62, 1 << 62], "data_offsets": [0, 0]}}
    text = msgspec.json.encode(empty()).decode()
    refused(path, sealed(text, entries, b""), "its tensor 't' has a shape that cannot be")


def test_booleans_that_are_none(path: Path) -> None:
    """NumPy and torch take for granted that a boolean's byte is 0 or 1."""
    entries = {"t": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}
    refused(path, sealed(msgspec.json.encode(empty()).decode(), entries, b"\1\2"), "neither 0 nor 1")


def test_another_safetensors_file(path: Path) -> None:
    save_file({"weight": np.zeros(3)}, path)
    refused(path, path.read_bytes(), "it is a safetensors file but not an elman model")
    save_file({"weight": np.zeros(3)}, path, metadata={"format": "pt"})
    refused(path, path.read_bytes(), "it is a safetensors file but not an elman model")


def test_versions(path: Path) -> None:
    good = GOLDEN.read_bytes()
    for version, said in [
        (2, "it has format 2, made by a newer elman .this one reads up to 1.; upgrade elman"),
        (0, "it has the unknown format 0; known: 1"),
        (-1, "it has the unknown format -1"),
    ]:
        refused(path, resealed(good, json.dumps({"format": version, "something": "new"})), said)
    # Also when the checksum is another, which a newer format may have changed.
    refused(path, good.replace(rb"{\"format\":1", rb"{\"format\":9"), "made by a newer elman")


def test_the_checksum(path: Path) -> None:
    good = bytearray(GOLDEN.read_bytes())
    damaged = "its checksum does not agree with its content: it is damaged"
    for position in (-1, 40, good.index(b"epochs"), good.index(b"tanh"), good.index(b'bias_h"')):
        bad = good.copy()
        bad[position] ^= 2
        refused(path, bytes(bad), damaged)
    assert good[1335:1336] == b" ", "the header is padded"
    refused(path, bytes(good[:1335] + b"\t" + good[1336:]), damaged)
    header, data = split(GOLDEN.read_bytes())
    for checksum in ("", "0" * 64, "a", "z" * 64, "\\u0061" * 64, header["__metadata__"]["sha256"].upper()):
        header["__metadata__"]["sha256"] = checksum
        refused(path, join(json.dumps(header), data), damaged)


def test_the_checksum_stands_once(path: Path) -> None:
    """Else it would not be clear which bytes it leaves out of itself."""
    header, data = split(GOLDEN.read_bytes())
    metadata = header.pop("__metadata__")
    twice = sealed(metadata["elman"], header, data, note="0" * 64)
    assert len(set(split(twice)[0]["__metadata__"].values())) == 2, "the note holds the checksum too"
    refused(path, twice, "its checksum does not agree")


def test_documents_behind_a_right_checksum(path: Path) -> None:
    good = GOLDEN.read_bytes()
    document = json.loads(split(good)[0]["__metadata__"]["elman"])
    cell = document["networks"]["recurrent"][0]["cell"]

    def changed(*keys: Any, to: Any) -> str:
        copy = json.loads(json.dumps(document))
        part = copy
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = to
        return json.dumps(copy)

    recurrent = ("networks", "recurrent")
    fits = document["networks"]["recurrent"][0] | {"input_size": 2, "residual": True}
    layer = document["networks"]["recurrent"][0]
    nodes = (*recurrent, 0, "cell", "nodes")
    for text, said in [
        ("", "the document is not that of a model"),
        ("null", "the document is not that of a model: Expected `object`"),
        ("[" * 5000, "the document is not that of a model"),
        ('{"format":1}', "the document is not that of a model: Object missing required field"),
        (json.dumps(document)[:-1], "the document is not that of a model"),
        (json.dumps(document | {"code": "import os"}), "Object contains unknown field `code`"),
        (changed("training", to={"a": "[" * (1 << 19)}), "more than the 262,144 lists and objects allowed"),
        (changed("training", to=[0] * (1 << 21)), "more than the 2,097,152 entries allowed"),
        (changed("training", "deep", to=json.loads("[" * 60 + "]" * 60)), "training is nested more than 32 deep"),
        (changed("training", "loss", to=float("nan")), "the document is not that of a model"),
        (changed("training", "loss", to=10**20), "training.loss holds a number of more than 64 bits"),
        (changed("training", "loss", to=1).replace('"loss": 1', '"loss": 1e999'), "Number out of range"),
        (changed("scaling", "mean", to=[None]), "Expected `float`, got `null`"),
        (changed("options", "level", to={}), "the document is not that of a model"),
        (changed("task", to="a\nb"), "must be names of 1 to 64 printable letters"),
        (changed("networks", to=[layer]), "Expected `object`, got `array`"),
        (changed("networks", "", to=[layer]), "must have a name of letters a-z, digits and _, at most 64, not ''"),
        (changed("networks", "a.layers.0", to=[layer]), "a network must have a name .* not 'a.layers.0'"),
        (changed("networks", "a\u202e", to=[layer]), "a network must have a name .* not 'a.'"),
        (changed("networks", "n" * 65, to=[layer]), "a network must have a name .*, at most 64, not 'nnn"),
        (changed("networks", "other", to=[]), r"Expected `array` of length >= 1 - at `\$.networks"),
        (changed("networks", "other", to=None), "Expected `array`, got `null`"),
        (changed("networks", "other", to=[layer]), "the weight 'other.layers.0.forward_weight_h' is missing"),
        (
            changed("networks", to={f"n{k}": [layer] for k in range(1025)}),
            "the networks have 1,025 layers; at most 1,024",
        ),
        (changed("networks", "more", to=[layer] * 1024), "the networks have 1,025 layers; at most 1,024 are allowed"),
        (changed(*recurrent, to=[layer] * 1025), "Expected `array` of length <= 1024"),
        (changed(*recurrent, to=[layer] * 2), "network recurrent, layer 1 takes 3 units, but the layer below gives 2"),
        (changed(*recurrent, to=[layer, fits]), "the weight 'recurrent.layers.1.forward_weight_h' is missing"),
        (changed(*recurrent, 0, "hidden_size", to=3), "gives its hidden units"),
        (changed(*recurrent, 0, "input_size", to=4), r"layers.0.forward_weight_h' must have the shape \(2, 6\)"),
        (changed(*recurrent, 0, "input_size", to=1 << 31), r"must have the shape \(2, 2147483650\)"),
        (
            changed(*recurrent, 0, "direction", to="both"),
            "the weight 'recurrent.layers.0.backward_weight_h' is missing",
        ),
        (changed(*recurrent, 0, "direction", to="sideways"), "Invalid enum value 'sideways'"),
        (changed(*recurrent, 0, "input_size", to=True), "Expected `int`, got `bool`"),
        (changed(*nodes, 3, "op", to="system"), "network recurrent, layer 0: .*unknown operation"),
        (changed(*nodes, 3, "args", to=[3]), "layer 0: .*an argument must be an earlier node"),
        (changed(*nodes, 3, "args", to=[-1]), "layer 0: .*an argument must be an earlier node"),
        (changed(*nodes, 3, "code", to="x"), "Object contains unknown field `code`"),
        (changed(*nodes, to=cell["nodes"] * 2000), "layer 0: .*8000 nodes; 1 to 4096 are allowed"),
        (changed(*recurrent, 0, "cell", "outputs", to=[["h", 99]]), "layer 0: .*node 99, which does not exist"),
        (changed(*recurrent, 0, "cell", "name", to="../../etc"), "layer 0: a program must have a name of letters"),
    ]:
        refused(path, resealed(good, text), said)


def test_missing_and_wrong_tensors(path: Path) -> None:
    header, _ = split(GOLDEN.read_bytes())
    text = header["__metadata__"]["elman"]
    entries = {"recurrent.layers.0.forward_weight_h": {"dtype": "I32", "shape": [2, 5], "data_offsets": [0, 40]}}
    refused(path, sealed(text, {}, b""), "the weight 'recurrent.layers.0.forward_weight_h' is missing")
    refused(path, sealed(text, entries, bytes(40)), "and a floating type, not .2, 5. of int32")


def test_a_model_of_another_task(path: Path) -> None:
    content = GOLDEN.read_bytes()
    said = "it is a model for language-model, not for classify; give one that `elman train classify` wrote"
    refused(path, content, said, task="classify")
    assert load(path, task="language-model")[0] == golden_document()


def test_a_file_that_shrinks_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(GOLDEN.read_bytes()[:-50])
    real = os.fstat

    @dataclasses.dataclass
    class Longer:
        st_size: int

    monkeypatch.setattr(os, "fstat", lambda descriptor: Longer(real(descriptor).st_size + 50))
    with pytest.raises(ModelFileError, match="it became shorter while it was read"):
        load(path)


def with_a_hole(path: Path, start: bytes, size: int) -> None:
    """Make a file that begins with `start`, has `size` bytes and takes hardly any place on the disk."""
    with path.open("wb") as file:
        file.write(start)
        try:
            file.truncate(size)
        except OSError as error:
            pytest.skip(f"this file system has no holes: {error}")


def test_a_header_larger_than_allowed(path: Path) -> None:
    """Refused by its announced length, before it is read, although the file is as large as it claims."""
    length = (64 << 20) + 8
    with_a_hole(path, length.to_bytes(8, "little"), length + 8)
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="its header would have 67,108,872 bytes"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_huge_but_hollow(path: Path) -> None:
    """A file that is truly large (a hole of 1 TiB), but no model, is refused by its header alone."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [1 << 40], "data_offsets": [0, 1 << 40]}})
    with_a_hole(path, join(header, b""), len(header) + 8 + (1 << 40))
    with pytest.raises(ModelFileError, match="not an elman model"):
        load(path)
