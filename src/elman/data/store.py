"""Numbers on disk, for data larger than memory: one long array, or sequences in shards, drawn from in any order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]

SHARD_BYTES = 32 << 20
IN_MEMORY = 4
"""Shards that are kept: a batch on the border of two reads both, again and again."""


class FileArray:
    """Numbers (N,) in a file, written once, and mapped into memory for as long as somebody reads some of them."""

    def __init__(self, path: Path, parts: Iterable[Rows], kind: npt.DTypeLike) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._kind, self._count = path, np.dtype(kind), 0
        with path.open("wb") as file:
            for part in parts:
                part.astype(self._kind).tofile(file)
                self._count += len(part)

    def __len__(self) -> int:
        return self._count

    def mapped(self) -> Rows:
        """All of them. Let go of it soon: what was ever read of a map counts as this process's memory."""
        return np.memmap(self._path, self._kind, "r", shape=(self._count,))


def mapped(numbers: Rows | FileArray) -> Rows:
    """Numbers (N,) that lie in memory or in a file."""
    return numbers.mapped() if isinstance(numbers, FileArray) else numbers


def blocks(numbers: Rows | FileArray, size: int = 1 << 16) -> Iterator[Rows]:
    """The numbers some at a time."""
    for start in range(0, len(numbers), size):
        yield np.array(mapped(numbers)[start : start + size])


class Store(Sequence[Rows]):
    """The sequences (T, ...) of an iterable, written once to `folder`, all of one type and step; then read by index.

    lengths: of every sequence (N,). shards: the first sequence of each shard, and N. Whoever reads in an order that
    stays in a shard (`length_batches(..., groups=shards)`) reads each shard once.
    """

    def __init__(self, folder: Path, sequences: Iterable[Rows], shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        lengths: list[int] = []
        starts, waiting, size = [0], list[Rows](), 0
        for sequence in sequences:
            waiting.append(sequence)
            lengths.append(len(sequence))
            size += sequence.nbytes
            if size >= shard_bytes:
                self._write(len(starts) - 1, waiting)
                starts, waiting, size = [*starts, len(lengths)], [], 0
        if waiting:
            self._write(len(starts) - 1, waiting)
            starts.append(len(lengths))
        self.lengths = np.array(lengths, np.int64)
        self.shards = np.array(starts, np.int64)
        self._read = lru_cache(IN_MEMORY)(self._load)

    def _write(self, shard: int, sequences: list[Rows]) -> None:
        np.save(self._folder / f"{shard}.npy", np.concatenate(sequences))

    def _load(self, shard: int) -> tuple[Rows, npt.NDArray[np.int64]]:
        """The steps of a shard, and where each of its sequences begins, and the last one ends."""
        own = self.lengths[self.shards[shard] : self.shards[shard + 1]]
        return np.load(self._folder / f"{shard}.npy"), np.concatenate([[0], own.cumsum()])

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Rows: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rows]: ...
    def __getitem__(self, index: int | slice) -> Rows | list[Rows]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        shard = int(np.searchsorted(self.shards, index, "right")) - 1
        steps, at = self._read(shard)
        place = index - int(self.shards[shard])
        sequence: Rows = steps[at[place] : at[place + 1]]
        return sequence

    def __iter__(self) -> Iterator[Rows]:
        for shard in range(len(self.shards) - 1):
            steps, at = self._load(shard)
            yield from (steps[a:b] for a, b in itertools.pairwise(at))
