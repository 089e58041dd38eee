"""Learning about whole sequences from a file larger than memory: read in pieces, kept as numbers on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from elman.data.batching import split
from elman.data.pieces import MOST_HELD, Pieces
from elman.data.store import Store
from elman.data.table import Table


class Reads(Protocol):
    """What reads the records: an estimator of whole sequences."""

    seed: int
    level_: str

    def _pairs(self, data: Any, targets: Any) -> tuple[list[Any], list[Any], Table | str]: ...
    def _inputs(self, data: Any) -> tuple[list[Any], Table | str]: ...
    def _sequences(self, inputs: Sequence[Any], where: Table | str, channels: int | None = None) -> list[Any]: ...
    def _rows(self, sequences: list[Any]) -> Sequence[np.ndarray]: ...


@contextmanager
def room(folder: Path | None) -> Iterator[Path]:
    """A folder for numbers, beside that of the run; gone afterwards, and emptied first where a killed run left it."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="elman-rows-") as name:
            yield Path(name)
        return
    place = folder.with_name(f".{folder.name}.rows")
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Large:
    """A file in pieces as an estimator of whole sequences takes it: four passes, none of which holds it whole."""

    def __init__(self, model: Reads, pieces: Pieces) -> None:
        self._model, self._pieces = model, pieces

    def targets(self, begin: Callable[[list[Any]], None]) -> list[Any]:
        """The target of every record; `begin` is shown the first inputs."""
        found: list[Any] = []
        for table in self._pieces:
            inputs, own, _ = self._model._pairs(table, None)
            if not found:
                begin(inputs)
            found += own
        return found

    def split(self, count: int, fraction: float) -> np.ndarray:
        """Which of the records are held out (N): a random fraction, at most MOST_HELD."""
        held = np.zeros(count, bool)
        if fraction:
            held[split(count, min(fraction, MOST_HELD / count), self._model.seed)[1]] = True
        return held

    def sequences(self, chosen: np.ndarray) -> Iterator[Any]:
        """The sequences, tokens or series, of the chosen records (N)."""
        at, channels = 0, None
        for table in self._pieces:
            mask = chosen[at : at + len(table)]
            at += len(table)
            for sequence in self._model._sequences(*self._some(table, mask), channels):
                channels = sequence.shape[1] if self._model.level_ == "series" else None
                yield sequence

    def _some(self, table: Table, mask: np.ndarray) -> tuple[list[Any], Table | str]:
        return self._model._inputs(table.select(np.flatnonzero(mask)))

    def store(self, folder: Path, chosen: np.ndarray) -> Store:
        """The chosen records as rows of numbers on disk."""
        return Store(folder, map(self._row, self.sequences(chosen)))

    def rows(self, chosen: np.ndarray) -> list[np.ndarray]:
        """The chosen records as rows of numbers."""
        return list(map(self._row, self.sequences(chosen)))

    def _row(self, sequence: Any) -> np.ndarray:
        """Half as wide as in memory: numbers of tokens fit, and series enter the network as float32 anyway."""
        (row,) = self._model._rows([sequence])
        return row.astype(np.int32 if row.dtype.kind == "i" else np.float32)


def moments(rows: Sequence[np.ndarray], chunk: int = 1 << 20) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every channel over all steps, float64; a few sequences at a time (Chan et al. 1983)."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for some in _chunks(rows, chunk):
        n, own = len(some), some.mean(0)
        ahead = own - mean
        squares = squares + ((some - own) ** 2).sum(0) + ahead**2 * count * n / max(1, count + n)
        mean = mean + ahead * n / (count + n)
        count += n
    return mean, np.sqrt(squares / count)


def scaling(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What brings every channel to mean 0 and variance 1: (mean, scale); a constant channel stays as it is."""
    mean, deviation = moments(rows)
    # "Constant" is what float32 cannot tell apart, so that units do not matter.
    return mean, np.where(deviation <= np.maximum(1e-7 * np.abs(mean), 1e-30), 1.0, deviation)


def _chunks(rows: Iterable[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """Steps of several sequences together, float64, of about `most` numbers."""
    waiting, size = list[np.ndarray](), 0
    for row in rows:
        waiting.append(row)
        size += row.size
        if size >= most:
            yield np.concatenate(waiting).astype(np.float64)
            waiting, size = [], 0
    if size:
        yield np.concatenate(waiting).astype(np.float64)
