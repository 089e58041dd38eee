"""Batches: padding, batches of similar lengths, parallel streams of one long text, a random split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.table import Table
from elman.errors import DataError, OptionError

Indices = npt.NDArray[np.int64]

_POOL = 32  # batches in a pool: enough to find similar lengths, few enough that batches differ between epochs


def random(*seeds: int) -> np.random.Generator:
    """A generator of random numbers that depends on these seeds only."""
    if min(seeds) < 0:
        raise OptionError(f"the seed {min(seeds)} is negative; choose 0 or more")
    return np.random.default_rng(seeds)


def pad(sequences: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], Indices]:
    """Sequences (T_b, ...) side by side as (T, B, ...), zero after their ends, and their lengths (B,)."""
    if not len(sequences):
        raise DataError("there are no sequences to pad; a batch needs at least one")
    first = np.asarray(sequences[0])
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    padded = np.zeros((int(lengths.max()), len(sequences), *first.shape[1:]), first.dtype)  # (T, B, ...)
    for column, sequence in enumerate(sequences):
        if sequence.shape[1:] != first.shape[1:] or sequence.dtype != first.dtype:
            raise DataError(
                f"sequence {column} has steps of shape {sequence.shape[1:]} and type {sequence.dtype}, "
                f"sequence 0 of shape {first.shape[1:]} and type {first.dtype}; all in a batch must agree"
            )
        padded[: len(sequence), column] = sequence
    return padded, lengths


def length_batches(
    lengths: npt.ArrayLike,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    groups: npt.ArrayLike | None = None,
) -> list[Indices]:
    """Batches of indices of sequences with similar lengths, every index once; the same arguments give the same batches.

    Shuffled, cut into pools of some batches, sorted by length inside the pool, then the batches shuffled. Without
    `shuffle`: all sorted by length. groups: 0, the rising ends of parts that are to be read one after the other (the
    shards of a `Store`), in random order; a batch is of one part.
    """
    _check_batch_size(batch_size)
    sizes = np.asarray(lengths)
    if not shuffle:
        return _cut(np.argsort(sizes, kind="stable"), batch_size)
    generator = random(seed, epoch)
    if groups is None:
        return _shuffled(np.arange(len(sizes)), sizes, batch_size, generator)
    ends = np.asarray(groups)
    parts = [np.arange(ends[k], ends[k + 1]) for k in generator.permutation(len(ends) - 1)]
    return [batch for part in parts for batch in _shuffled(part, sizes, batch_size, generator)]


def _shuffled(indices: Indices, sizes: Indices, batch_size: int, generator: np.random.Generator) -> list[Indices]:
    order = indices[generator.permutation(len(indices))]
    batches: list[Indices] = []
    for pool in _cut(order, batch_size * _POOL):
        batches += _cut(pool[np.argsort(sizes[pool], kind="stable")], batch_size)
    return [batches[index] for index in generator.permutation(len(batches))]


def _cut(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise OptionError(f"batch_size={batch_size} cannot be; a batch needs at least one sequence")


def streams(tokens: npt.NDArray[Any], batch_size: int) -> npt.NDArray[Any]:
    """One long text (N,) as contiguous streams side by side, (N // B, B), a view; what is left over at the end is
    dropped."""
    _check_batch_size(batch_size)
    steps = len(tokens) // batch_size
    if steps < 2:  # a stream of one token has no next token to predict
        raise DataError(
            f"the text is too short: {len(tokens)} tokens for {batch_size} streams of at least 2; "
            "give more text or lower --batch-size"
        )
    return tokens[: steps * batch_size].reshape(batch_size, steps).T


def split(table_or_count: Table | int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Training and validation indices, each rising; a random `fraction` of the records, at least one, validates."""
    count = table_or_count if isinstance(table_or_count, int) else len(table_or_count)
    if not 0 < fraction < 1:
        raise OptionError(f"the fraction {fraction} for validation cannot be; it lies between 0 and 1")
    if count < 2:
        raise DataError(
            f"{count} record(s) cannot be split for validation; give at least 2, or a file for validation (--valid)"
        )
    valid = min(max(round(count * fraction), 1), count - 1)
    order = random(seed).permutation(count)
    return np.sort(order[valid:]), np.sort(order[:valid])
