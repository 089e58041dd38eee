"""The document of a model: what a model file says about itself, strictly typed plain data, and what makes it sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from elman.compiler.ir import Program
from elman.compiler.verify import NAME, verify_cell
from elman.errors import ModelFileError, ProgramError

FORMAT = 1
"""The format version that this elman writes."""
FORMATS = (1,)
"""The format versions that it reads."""
MAX_CONTAINERS = 1 << 18
MAX_ITEMS = 1 << 21
"""How many lists and objects, and commas, a document may have: decoded they take up to 20 times their bytes."""
MAX_DEPTH = 32
MAX_LAYERS = 1024
"""Layers of a model, over all its networks."""
FREE_UNITS = 1 << 16
"""A layer may have so many units however few weights it has; more than these need as many weights in the file."""

Units = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Scalar = str | int | float | bool | None
Option = Scalar | list[Scalar]


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recurrent layer: its cell's program and its sizes. `output_size` is `hidden_size` unless the cell says O."""

    cell: Program
    input_size: Units
    hidden_size: Units
    output_size: Units
    direction: Literal["forward", "backward", "both"]
    residual: bool = False

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions in which the layer runs, as they stand in the names of its weights."""
        return ("forward", "backward") if self.direction == "both" else (self.direction,)

    def weights(self, network: str, position: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the weights of the layer at `position` of a network; 0 is nearest the input."""
        shapes = self.cell.parameter_shapes(self.input_size, self.hidden_size, self.output_size)
        return {
            f"{network}.layers.{position}.{direction}_{name}": shape
            for direction in self.directions
            for name, shape in shapes.items()
        }


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of a model but its weights. `elman` is the version that wrote it; `scaling` holds numbers a channel."""

    format: int
    elman: str
    task: str
    networks: dict[str, Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1, max_length=MAX_LAYERS)]]
    options: dict[str, Option]
    vocabularies: dict[str, dict[str, Any]]
    scaling: dict[str, list[float]]
    training: dict[str, Any]

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all weights of the layers; what else a model holds is named freely."""
        return {
            name: shape
            for network, layers in self.networks.items()
            for position, layer in enumerate(layers)
            for name, shape in layer.weights(network, position).items()
        }


def encode(document: Document) -> bytes:
    """The document as JSON that `decode` reads back; tuples become lists and NumPy's numbers Python's.

    Raises ModelFileError naming the place of anything else that JSON cannot carry: NaN, infinity, bytes, keys that are
    not text; and for a document that `check` refuses.
    """
    parts = {name: plain(getattr(document, name), name) for name in ("options", "vocabularies", "scaling", "training")}
    try:
        text = msgspec.json.encode(msgspec.structs.replace(document, **parts))
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: text with lone surrogates
        raise ModelFileError(f"the document holds what JSON cannot carry: {short(error)}") from None
    check(decode(text))
    return text


def decode(text: bytes) -> Document:
    """The document that `text` describes, of the right types throughout but not yet checked; else ModelFileError."""
    if text.count(b"{") + text.count(b"[") > MAX_CONTAINERS:
        raise ModelFileError(f"the document holds more than the {MAX_CONTAINERS:,} lists and objects allowed")
    if text.count(b",") > MAX_ITEMS:
        raise ModelFileError(f"the document holds more than the {MAX_ITEMS:,} entries allowed")
    try:
        return msgspec.json.decode(text, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"the document is not that of a model: {short(error)}") from None


def check(document: Document) -> None:
    """Raises ModelFileError unless every program is a cell, the sizes agree and the free parts are plain data."""
    if document.format not in FORMATS:
        raise ModelFileError(f"the document has the unknown format {document.format}; this elman writes {FORMAT}")
    for name in (document.task, document.elman):
        if not name.isprintable() or not 0 < len(name) <= 64:
            raise ModelFileError("the task and the version of elman must be names of 1 to 64 printable letters")
    count = sum(len(layers) for layers in document.networks.values())
    if count > MAX_LAYERS:
        raise ModelFileError(f"the networks have {count:,} layers; at most {MAX_LAYERS:,} are allowed")
    for network, layers in document.networks.items():
        if not NAME.fullmatch(network):
            raise ModelFileError(
                f"a network must have a name of letters a-z, digits and _, at most 64, not {short(network)!r}"
            )
        width = layers[0].input_size
        for position, layer in enumerate(layers):
            width = _check_layer(layer, width, f"network {network}, layer {position}")
    for name in ("options", "vocabularies", "scaling", "training"):
        plain(getattr(document, name), name)


def _check_layer(layer: Layer, came: int, where: str) -> int:
    """The units that the layer puts out, when it is sound and takes the `came` units of the one below."""
    try:
        verify_cell(layer.cell)
    except ProgramError as error:
        raise ModelFileError(f"{where}: {short(error)}") from None
    if layer.input_size != came:
        raise ModelFileError(f"{where} takes {layer.input_size} units, but the layer below gives {came}")
    own = layer.cell.state_sizes()[layer.cell.states[0]] == "O"
    if layer.output_size != layer.hidden_size and not own:
        sizes = f"{layer.output_size}, not {layer.hidden_size}"
        raise ModelFileError(
            f"{where}: cell {layer.cell.name!r} gives its hidden units, but the output size is {sizes}"
        )
    shapes = layer.cell.parameter_shapes(layer.input_size, layer.hidden_size, layer.output_size)
    weights = sum(math.prod(shape) for shape in shapes.values())
    if max(layer.input_size, layer.hidden_size, layer.output_size) > max(weights, FREE_UNITS) or not weights:
        raise ModelFileError(f"{where} has {weights:,} weights, too few for the units that it claims")
    width = layer.output_size * len(layer.directions)
    if layer.residual and layer.input_size != width:
        raise ModelFileError(f"{where} is residual, but takes {layer.input_size} units and gives {width}")
    return width


def check_weights(document: Document, tensors: Mapping[str, np.ndarray]) -> None:
    """Raises ModelFileError unless every weight of every layer is there, of its shape and of a floating type."""
    for name, shape in document.weights().items():
        tensor = tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"the weight {name!r} is missing")
        if tensor.shape != shape or tensor.dtype.kind != "f":
            came = f"{tensor.shape} of {tensor.dtype}"
            raise ModelFileError(f"the weight {name!r} must have the shape {shape} and a floating type, not {came}")


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """`value` as plain data: text, finite numbers of 64 bits, booleans, None, lists, objects with text for keys."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise ModelFileError(f"{short(where)} holds a number of more than 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ModelFileError(f"{short(where)} is {value}, which JSON cannot carry; leave it out or write null")
        return value
    if depth >= MAX_DEPTH:
        raise ModelFileError(f"{where.partition('.')[0]} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        if all(type(item) is str for item in value):  # a vocabulary: often 100,000 words, worth the short cut
            return list(value)
        return [plain(item, f"{where}[{k}]", depth + 1) for k, item in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ModelFileError(f"{short(where)} has a key that is not text")
        return {key: plain(item, f"{where}.{key[:40]}", depth + 1) for key, item in value.items()}
    raise ModelFileError(f"{short(where)} is a {type(value).__name__}, which JSON cannot carry")


def short(error: object) -> str:
    """A message cut to one printable line: it may quote a hostile file."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:301])
    return text if len(text) <= 300 else f"{text[:300]}..."
