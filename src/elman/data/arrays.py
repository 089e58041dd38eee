"""Numbers: .npz files as tables, and columns of numbers as series, float32 arrays of shape (T, I)."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data import files
from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError

# what zipfile and numpy's header reader raise on damaged files (found by mutating good ones)
_DAMAGE = (ValueError, OSError, EOFError, KeyError, TypeError, IndexError, SyntaxError, RecursionError, RuntimeError,
           OverflowError, struct.error, zlib.error, zipfile.BadZipFile)  # fmt: skip


def read_npz(data: bytes, source: str) -> Table:
    """The arrays of an .npz file as columns: entry i of the first dimension is record i. Python objects are refused."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive, source, len(data))
            arrays = {member.removesuffix(".npy"): _read_npy(archive, member, source) for member in archive.namelist()}
    except _DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise DataError(
            f"{source} is not a whole .npz file of plain arrays ({reason}); write it with numpy.savez"
        ) from None
    if not arrays:
        raise DataError(f"{source} holds no arrays; write some with numpy.savez(file, x=..., label=...)")
    first, count = "", 0
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                f"{source}: the array {name!r} is a single number; its first dimension must count the records"
            )
        if first and len(array) != count:
            raise DataError(
                f"{source}: the array {name!r} has {len(array)} records and {first!r} has {count}; "
                "the first dimensions must agree"
            )
        first, count = first or name, len(array)
    if not count:
        raise DataError(f"{source} holds no records; its arrays need at least one")
    columns = {name: array.tolist() if array.ndim == 1 else list(array) for name, array in arrays.items()}
    return Table(source, columns, list(range(1, count + 1)), "record")


def _check_sizes(archive: zipfile.ZipFile, source: str, packed: int) -> None:
    """Refuse what would unpack to far more than the file, before unpacking."""
    limit = max(files.UNPACKED_FLOOR, files.UNPACKED_RATIO * packed)
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > limit:
        raise DataError(
            f"{source} unpacks to {claimed:,} bytes, more than the {limit:,} allowed; write it with numpy.savez, "
            "unpacked"
        )


def _read_npy(archive: zipfile.ZipFile, member: str, source: str) -> npt.NDArray[Any]:
    data = archive.read(member)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown .npy version {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError(
            f"{source}: the array {member.removesuffix('.npy')!r} holds Python objects, which are never unpickled; "
            "save numbers"
        )
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != len(data) - stream.tell():  # before numpy allocates what the header claims
        raise ValueError(f"{member} is not as long as its shape {shape} says")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def series(values: Sequence[Any], where: Table | str) -> list[npt.NDArray[np.float32]]:
    """A column of nested lists, arrays or numbers as float32 arrays of shape (T, I); (T,) becomes (T, 1).

    `where` is the table that the column is from, or a name for messages. DataError, naming the record, for what is
    ragged, empty, not a number, NaN or infinite, or has another number of channels than the first record.
    """
    result: list[npt.NDArray[np.float32]] = []
    for index, value in enumerate(values):
        array, problem = _one_series(value)
        if not problem and result and array.shape[1] != result[0].shape[1]:
            channels = f"the series has {array.shape[1]} channels and the first one {result[0].shape[1]}"
            problem = f"{channels}; all must have the same"
        if problem:
            place = where.place(index) if isinstance(where, Table) else f"{where}, record {index + 1}"
            raise DataError(f"{place}: {problem}")
        result.append(array)
    return result


def _one_series(value: Any) -> tuple[npt.NDArray[np.float32], str]:
    """The series, and what is wrong with it (empty when nothing is)."""
    empty = np.zeros((0, 0), np.float32)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RecursionError):
        return empty, _ragged(value)
    if array.dtype.kind not in "biuf":
        shown = brief(value) if isinstance(value, str) else "a value in it"
        return empty, f"expected a series of numbers such as [[0.1, 2.0], [0.3, 1.5]], but {shown} is not a number"
    if array.ndim > 2:
        return empty, f"the series has {array.ndim} dimensions; it must be a list of steps, or of steps with channels"
    if array.size == 0:
        return empty, "the series is empty; it needs at least one step with one channel"
    with np.errstate(over="ignore"):
        array = array.astype(np.float32).reshape(array.shape[0] if array.ndim else 1, -1)
    if not np.isfinite(array).all():
        step, channel = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        kind = "NaN" if np.isnan(array[step, channel]) else "infinite (as float32)"
        return (
            empty,
            f"step {step + 1}, channel {channel + 1} of the series is {kind}; fill or remove such values first",
        )
    return array, ""


def _ragged(value: Any) -> str:
    """Which step of a series that is no array differs from the first."""
    steps = list(value) if isinstance(value, (list, tuple)) else []
    sizes = [len(step) if isinstance(step, (list, tuple, np.ndarray)) else 0 for step in steps]
    for step, size in enumerate(sizes, 1):
        if size != sizes[0]:
            return f"step {step} of the series has {size} channels and step 1 has {sizes[0]}; all must have the same"
    return "the series is not a list of steps with the same channels at each"


def wide_series(table: Table, names: Sequence[str]) -> list[npt.NDArray[np.float32]]:
    """Several numeric columns as the steps of series with one channel: one array (len(names), 1) a record."""
    if not names:
        raise DataError(
            f"{table.source}: name at least one column to read a series from; its columns are: "
            f"{', '.join(table.names[:20])}"
        )
    matrix = np.empty((len(table), len(names)), np.float32)
    for position, name in enumerate(names):
        for index, value in enumerate(table.column(name)):
            matrix[index, position] = _number(value, table, index, name)
    return list(matrix[:, :, None])


def _number(value: Any, table: Table, index: int, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        shown = "is empty" if value in ("", None) else f"holds {brief(value)}, which is not a number"
        raise DataError(f"{table.place(index)}: column {name!r} {shown}; a series is made of numbers") from None
    if not abs(number) < 3.4028235677973366e38:  # what rounds to infinity in float32; NaN compares as false
        raise DataError(
            f"{table.place(index)}: column {name!r} is {number}, which float32 cannot hold; "
            "fill or remove such values first"
        )
    return number
