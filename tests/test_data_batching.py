"""Batching: every index once, the same again for the same arguments, similar lengths together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import Table, length_batches, pad, split, streams
from elman.errors import DataError, OptionError


def test_pad_is_time_major() -> None:
    padded, lengths = pad([np.array([1, 2, 3]), np.array([4]), np.array([], np.int64)])
    assert padded.tolist() == [[1, 4, 0], [2, 0, 0], [3, 0, 0]]
    assert padded.dtype == np.int64
    assert lengths.tolist() == [3, 1, 0]
    assert lengths.dtype == np.int64
    padded, _ = pad([np.ones((2, 5), np.float32), np.ones((4, 5), np.float32)])
    assert padded.shape == (4, 2, 5)
    assert padded.dtype == np.float32
    assert padded.sum() == 30
    assert pad([np.zeros((0, 2))])[0].shape == (0, 1, 2)


def test_pad_refusals() -> None:
    with pytest.raises(DataError, match="no sequences"):
        pad([])
    with pytest.raises(DataError, match=r"sequence 1 has steps of shape \(3,\)"):
        pad([np.zeros((2, 2)), np.zeros((2, 3))])
    with pytest.raises(DataError, match="float32"):
        pad([np.zeros(2), np.zeros(2, np.float32)])


@given(st.lists(st.lists(st.integers(1, 9), max_size=7).map(lambda x: np.array(x, np.int64)), min_size=1, max_size=6))
def test_padding_holds_the_sequences_and_zeros(sequences: list[np.ndarray]) -> None:
    padded, lengths = pad(sequences)
    for column, sequence in enumerate(sequences):
        assert padded[: lengths[column], column].tolist() == sequence.tolist()
        assert not padded[lengths[column] :, column].any()


SIZES = st.lists(st.integers(0, 50), max_size=300)


@given(SIZES, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_every_index_once(sizes: list[int], batch_size: int, seed: int, epoch: int, shuffle: bool) -> None:
    batches = length_batches(sizes, batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(sizes)))
    assert len(batches) == -(-len(sizes) // batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    again = length_batches(np.array(sizes), batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def test_batches_depend_on_seed_and_epoch() -> None:
    sizes = np.random.default_rng(0).integers(1, 100, 500)

    def order(seed: int, epoch: int, shuffle: bool = True) -> list[int]:
        return np.concatenate(length_batches(sizes, 8, seed=seed, epoch=epoch, shuffle=shuffle)).tolist()

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(x) for x in orders}) == 9
    assert order(0, 0, False) == order(1, 2, False) == np.argsort(sizes, kind="stable").tolist()


def test_batches_hold_similar_lengths_and_come_in_no_order_of_length() -> None:
    sizes = np.random.default_rng(0).integers(1, 100, 4000)
    batches = length_batches(sizes, 16, seed=0, epoch=0)
    steps = sum(int(sizes[batch].max()) * len(batch) for batch in batches)
    assert steps < 1.1 * sizes.sum()  # padding under 10 %; batches at random have 90 %
    means = np.array([sizes[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2


def test_batch_refusals() -> None:
    with pytest.raises(OptionError, match="batch_size=0"):
        length_batches([1], 0, seed=0, epoch=0)
    with pytest.raises(OptionError, match="the seed -1 is negative"):
        length_batches([1], 1, seed=-1, epoch=0)
    with pytest.raises(OptionError, match="batch_size=-2"):
        streams(np.arange(9), -2)


@given(st.integers(2, 200), st.integers(1, 20))
def test_streams_are_contiguous(count: int, batch_size: int) -> None:
    tokens = np.arange(count)
    if count // batch_size < 2:
        with pytest.raises(DataError, match=rf"too short: {count} tokens for {batch_size} streams"):
            streams(tokens, batch_size)
        return
    result = streams(tokens, batch_size)
    assert result.shape == (count // batch_size, batch_size)
    assert result.T.reshape(-1).tolist() == list(range(count // batch_size * batch_size))
    assert np.shares_memory(result, tokens)  # a text on disk stays there


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 5))
def test_split(count: int, fraction: float, seed: int) -> None:
    train, valid = split(count, fraction, seed)
    assert sorted([*train.tolist(), *valid.tolist()]) == list(range(count))
    assert len(train) >= 1
    assert len(valid) >= 1
    assert abs(len(valid) - count * fraction) <= 1
    assert train.tolist() == sorted(train.tolist())
    again = split(Table("t", {}, list(range(count))), fraction, seed)
    assert valid.tolist() == again[1].tolist()


def test_split_is_random_and_refuses() -> None:
    assert len({tuple(split(100, 0.1, seed)[1].tolist()) for seed in range(5)}) == 5
    for fraction in (0.0, 1.0, float("nan"), -1.0):
        with pytest.raises(OptionError, match="fraction"):
            split(10, fraction, 0)
    with pytest.raises(DataError, match="cannot be split"):
        split(1, 0.5, 0)
