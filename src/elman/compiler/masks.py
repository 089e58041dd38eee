"""The numbers behind `mask` nodes: a generator that is a pure function of where a number stands, exact everywhere.

Nothing is drawn in an order, so a mask is the same in the forward and in the backward pass, in a batch of any
arrangement, on numpy, torch and in C++. All arithmetic is that of 32-bit whole numbers:

    key  = fmix(low ^ fmix(high ^ fmix(crc32(name))))     low, high: the halves of the call's 64-bit seed
    key  = fmix(key ^ t)                                  t: the step in time; 0 for the same mask at every step
    key  = fmix(key + 0x9e3779b9·(row + 1))               row: the sequence's number in the batch
    bits = fmix(key ^ 0x9e3779b9·(unit + 1))
    kept = (bits >> 8) >= round(rate·2²⁴)

The arrays are numpy's or torch's, of 64-bit whole numbers (torch has no others that multiply everywhere): products may
wrap, their lower 32 bits are right.
"""

from __future__ import annotations

from typing import Any

Integers = Any
"""A whole number, or a numpy or torch array of int64."""

LOW = 0xFFFFFFFF
GOLDEN = 0x9E3779B9
"""2³² divided by the golden ratio: multiples of it differ in many bits."""


def fmix(h: Integers) -> Integers:
    """MurmurHash3's finaliser (Austin Appleby, public domain) of 32-bit numbers: every bit of one decides every bit."""
    h = h ^ (h >> 16)
    h = (h * 0x85EBCA6B) & LOW
    h = h ^ (h >> 13)
    h = (h * 0xC2B2AE35) & LOW
    return h ^ (h >> 16)


def threshold(rate: float) -> int:
    """How many of the 2²⁴ values of a draw drop a unit."""
    return round(rate * (1 << 24))


def number(name: str) -> int:
    """A mask's number, by which it differs from others: the CRC-32 of its name. torch.compile cannot follow zlib's."""
    crc = LOW
    for letter in name:
        crc ^= ord(letter)
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 * (crc & 1))
    return crc ^ LOW


def kept(
    number: int, rate: float, seed: Integers, rows: Integers, units: Integers, steps: Integers | None = None
) -> Integers:
    """Which units a mask keeps: booleans (..., B, units), each False with probability `rate`.

    number: of its name. seed: 64 bits, signed or not. rows (B), units: the numbers of the sequences and of the units.
    steps: the number of a step in time, one for every row, (B) or (T, B); None for a mask that is the same at every
    step.
    """
    key = fmix((seed & LOW) ^ fmix(((seed >> 32) & LOW) ^ fmix(number)))
    key = fmix(key ^ (0 if steps is None else steps))
    key = fmix((key + GOLDEN * (rows + 1)) & LOW)
    bits = fmix(key[..., None] ^ ((GOLDEN * (units + 1)) & LOW))
    return (bits >> 8) >= threshold(rate)
