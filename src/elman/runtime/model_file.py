"""The model file: one safetensors file whose metadata holds the document and a checksum. Nothing in it is executed.

    8 bytes       N, the length of the header, little-endian
    N bytes       the header: {"__metadata__": {"sha256": ..., "elman": document}, tensor: {dtype, shape, data_offsets}}
    the rest      the tensors' bytes, little-endian, row-major, one after the other without holes

The header is parsed here, by a strict msgspec decoder, and not by the safetensors library: its `deserialize` gives no
metadata and copies every tensor, `safe_open` maps the file (a file that shrinks meanwhile kills the process), and the
checksum needs the header's own bytes. That library reads our files all the same, which a test holds.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import numpy as np

from elman.errors import ModelFileError
from elman.runtime.document import (
    FORMAT,
    FORMATS,
    MAX_CONTAINERS,
    MAX_ITEMS,
    Document,
    Layer,
    check,
    check_weights,
    decode,
    encode,
    plain,
    short,
)
from elman.runtime.files import Chunk, write_atomically

MAX_HEADER = 64 << 20
MAX_DIMENSIONS = 32
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_ZEROS = b"0" * 64

_Length = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[tuple[_Length, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    data_offsets: tuple[_Length, _Length]


class _Version(msgspec.Struct):
    format: int


_Metadata = dict[str, str]
_Entries = dict[str, _Entry]


def save(path: str | os.PathLike[str], document: Document, tensors: Mapping[str, np.ndarray]) -> None:
    """Write the model to `path`, whole or not at all: until the last moment `path` holds what it held before.

    Raises ModelFileError for a model that `load` would refuse, before anything is written, and for a place that cannot
    be written to.
    """
    try:
        text = encode(document)
        arrays = _arranged(tensors)
        check_weights(document, arrays)
        header = _header(text, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"cannot save {os.fspath(path)!r}: {error}") from None
    # Views of bytes: a tensor without elements has no other flat view.
    chunks = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    header = header.replace(_ZEROS, _checksum((header, *chunks)), 1)  # the first 64 zeros are ours: see _header
    write_atomically(path, (header, *chunks))


def load(path: str | os.PathLike[str], *, task: str | None = None) -> tuple[Document, dict[str, np.ndarray]]:
    """The model in `path`: its checked document and its tensors (writable arrays that share one buffer).

    Nothing in the file is trusted or executed: every claim is checked against the file's real length before anything is
    allocated for it. Raises ModelFileError naming the file and what is wrong with it, also when it is not for `task`.
    """
    try:
        document, tensors = _load(Path(path))
        if task is not None and document.task != task:
            remedy = f"give one that `elman train {task}` wrote"
            raise ModelFileError(f"it is a model for {document.task}, not for {task}; {remedy}")
    except ModelFileError as error:
        raise ModelFileError(f"cannot load {os.fspath(path)!r}: {error}") from None
    return document, tensors


def describe(document: Document, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `elman info` shows, as plain data: the task, the layers, the numbers of parameters, the sizes."""
    arrays = _arranged(tensors)
    networks = {
        network: [_describe_layer(layer, network, position) for position, layer in enumerate(layers)]
        for network, layers in document.networks.items()
    }
    return {
        "task": document.task,
        "format": document.format,
        "elman": document.elman,
        "networks": networks,
        "parameters": sum(array.size for array in arrays.values() if array.dtype.kind == "f"),
        "vocabularies": {name: _entries(vocabulary) for name, vocabulary in document.vocabularies.items()},
        "options": plain(document.options, "options"),
        "scaling": plain(document.scaling, "scaling"),
        "training": plain(document.training, "training"),
        "file_bytes": len(_header(encode(document), arrays)) + sum(array.nbytes for array in arrays.values()),
    }


def _describe_layer(layer: Layer, network: str, position: int) -> dict[str, Any]:
    return {
        "cell": layer.cell.name,
        "input_size": layer.input_size,
        "hidden_size": layer.hidden_size,
        "output_size": layer.output_size,
        "direction": layer.direction,
        "residual": layer.residual,
        "parameters": sum(math.prod(shape) for shape in layer.weights(network, position).values()),
    }


def _entries(vocabulary: dict[str, Any]) -> int:
    """The entries of a vocabulary: those of its longest list, or its keys where it holds none."""
    lists = [len(part) for part in vocabulary.values() if isinstance(part, list | tuple | dict)]
    return max(lists, default=len(vocabulary))


def _arranged(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors as the file has them: wide numbers first, so that all stay aligned, then by name."""
    arrays = {name: _storable(name, tensor) for name, tensor in tensors.items()}
    return dict(sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))


def _storable(name: str, tensor: np.ndarray) -> np.ndarray:
    if isinstance(tensor, np.generic):
        tensor = np.asarray(tensor)
    if not isinstance(name, str) or name in ("", "__metadata__"):
        raise ModelFileError(f"{name!r} cannot be the name of a tensor")
    if not isinstance(tensor, np.ndarray) or tensor.dtype.newbyteorder("<") not in _NAMES:
        kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
        raise ModelFileError(f"the tensor {name!r} is of {kind}; a NumPy array of {', '.join(DTYPES)} is needed")
    if tensor.ndim > MAX_DIMENSIONS:
        raise ModelFileError(f"the tensor {name!r} has {tensor.ndim} dimensions; at most {MAX_DIMENSIONS} are allowed")
    return np.asarray(tensor, dtype=tensor.dtype.newbyteorder("<"), order="C")


def _header(text: bytes, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The length and the header, with 64 zeros for the checksum, which comes first: they are the first such run."""
    entries: dict[str, Any] = {"__metadata__": {"sha256": _ZEROS.decode(), "elman": text.decode()}}
    begin = 0
    for name, tensor in tensors.items():
        end = begin + tensor.nbytes
        entries[name] = {
            "dtype": _NAMES[tensor.dtype.newbyteorder("<")],
            "shape": tensor.shape,
            "data_offsets": (begin, end),
        }
        begin = end
    try:
        header = msgspec.json.encode(entries)
    except UnicodeEncodeError:
        raise ModelFileError("the name of a tensor is not valid text") from None
    header += b" " * (-len(header) % 8)  # the data begin at a multiple of 8
    if len(header) > MAX_HEADER:
        raise ModelFileError(
            f"the document and the tensors' names take {len(header):,} bytes, more than the {MAX_HEADER:,} allowed"
        )
    return len(header).to_bytes(8, "little") + header


def _checksum(chunks: Iterable[Chunk]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest().encode()


def _load(path: Path) -> tuple[Document, dict[str, np.ndarray]]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a pipe would wait for its writer
            raise ModelFileError("it is a folder" if path.is_dir() else "it is not a regular file")
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            header = _read_header(file, size)
            metadata, entries = _parse_header(header, size - len(header))
            text = _document_text(metadata)
            data = np.empty(size - len(header), np.uint8)
            _read(file, data.data)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError(f"there is no such file{_like(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ModelFileError(f"it cannot be read: {short(error)}") from None
    except MemoryError:
        raise ModelFileError(f"its {size:,} bytes do not fit into memory") from None
    _verify_checksum(metadata, header, data)
    document = decode(text)
    check(document)
    tensors = {name: _tensor(name, entry, data) for name, entry in entries.items()}
    check_weights(document, tensors)
    return document, tensors


def _read_header(file: BinaryIO, size: int) -> bytearray:
    """The first 8 bytes and the header that they announce."""
    if size < 8:
        raise ModelFileError(f"it has {size} bytes, too few for a model; it is empty or was cut off")
    start = bytearray(8)
    _read(file, memoryview(start))
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER or length > size - 8:
        raise ModelFileError(
            f"its header would have {length:,} bytes in a file of {size:,}; it is no elman model or was cut off"
        )
    header = start + bytes(length)
    _read(file, memoryview(header)[8:])
    return header


def _read(file: BinaryIO, into: memoryview) -> None:
    """Fill the buffer: a raw read may give less than was asked, at most 2 GiB at once."""
    done = 0
    while done < len(into):
        got = file.readinto(into[done:])  # type: ignore[attr-defined]
        if not got:
            raise ModelFileError("it became shorter while it was read; try again when nothing writes to it")
        done += got


def _parse_header(header: bytearray, data_size: int) -> tuple[_Metadata, _Entries]:
    """The metadata and the tensors' entries, whose bytes must lie one after the other and fill the file to its end."""
    # The document's, and 3 lists and objects and 5 commas for each tensor.
    if header.count(b"{") + header.count(b"[") > 4 * MAX_CONTAINERS or header.count(b",") > 2 * MAX_ITEMS:
        raise ModelFileError("its header holds more entries than a model can have")
    try:
        parts = msgspec.json.decode(memoryview(header)[8:], type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(parts.pop("__metadata__", msgspec.Raw(b"{}")), type=_Metadata)
        entries = {name: msgspec.json.decode(part, type=_Entry) for name, part in parts.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"its header is not that of a safetensors file: {short(error)}") from None
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in DTYPES:
            raise ModelFileError(
                f"its tensor {name[:80]!r} has the unknown type {entry.dtype[:20]!r}; known: {', '.join(DTYPES)}"
            )
        begin, stop = entry.data_offsets
        if begin != end or stop - begin != math.prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize:
            raise ModelFileError(
                f"its tensor {name[:80]!r} claims bytes {begin:,} to {stop:,}, "
                "which do not fit its shape or its neighbours; the file is damaged"
            )
        end = stop
    if end != data_size:
        raise ModelFileError(
            f"its tensors take {end:,} bytes but {data_size:,} follow the header; "
            "it was cut off or something was appended"
        )
    return metadata, entries


def _document_text(metadata: _Metadata) -> bytes:
    """The document's JSON, when it is there and of a format known here."""
    if "elman" not in metadata or "sha256" not in metadata:
        raise ModelFileError("it is a safetensors file but not an elman model; models are what `elman train` writes")
    text = metadata["elman"].encode()
    try:
        version = msgspec.json.decode(text, type=_Version).format
    except (msgspec.MsgspecError, RecursionError):
        return text  # damaged, or no document: the checksum and the strict decoder will say which
    if version > FORMAT:
        raise ModelFileError(
            f"it has format {version}, made by a newer elman (this one reads up to {FORMAT}); upgrade elman"
        )
    if version not in FORMATS:
        raise ModelFileError(f"it has the unknown format {version}; known: {', '.join(map(str, FORMATS))}")
    return text


def _verify_checksum(metadata: _Metadata, header: bytearray, data: np.ndarray) -> None:
    """The SHA-256 of the whole file, in which 64 zeros stand for the checksum itself."""
    digest = metadata["sha256"].encode()
    written = b'"' + digest + b'"'
    zeroed = header.replace(written, b'"' + _ZEROS + b'"')
    if len(digest) != 64 or header.count(written) != 1 or _checksum((zeroed, data.data)) != digest:
        raise ModelFileError("its checksum does not agree with its content: it is damaged; copy it again or train anew")


def _tensor(name: str, entry: _Entry, data: np.ndarray) -> np.ndarray:
    part = data[slice(*entry.data_offsets)]
    if entry.dtype == "BOOL" and part.size and part.max() > 1:
        raise ModelFileError(f"its tensor {name[:80]!r} holds booleans that are neither 0 nor 1")
    dtype = np.dtype(DTYPES[entry.dtype])
    if part.ctypes.data % dtype.alignment:  # another writer's order: NumPy and torch want aligned numbers
        part = part.copy()
    try:
        return part.view(dtype).reshape(entry.shape)
    except ValueError:  # no elements, but other lengths so large that NumPy cannot count with them
        raise ModelFileError(f"its tensor {name[:80]!r} has a shape that cannot be: {short(entry.shape)}") from None


def _like(path: Path) -> str:
    """`" (did you mean 'names.elman'?)"` from the files beside it."""
    try:
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), 1000)]
    except OSError:
        return f"; there is no folder {str(path.parent)!r} either"
    close = difflib.get_close_matches(path.name, sorted(names), n=1)
    return f" (did you mean {str(path.parent / close[0])!r}?)" if close else ""
