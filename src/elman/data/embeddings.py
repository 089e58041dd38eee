"""Word vectors from a text file (GloVe's, or word2vec's with its header line), read line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from elman.data.files import PathLike, brief, check_encoding, display, open_bytes
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError

_LONGEST_LINE = 1 << 20
_LARGEST_DIM = 10_000


def read_embeddings(
    path: PathLike, vocabulary: Vocabulary, *, encoding: str = "utf-8"
) -> tuple[npt.NDArray[np.float32], int]:
    """The vectors (V, D) of the words of a vocabulary, and how many were found; the others have rows of zeros.

    One word a line, then its D numbers, separated by spaces or tabs; the first line may be word2vec's "count D". A word
    that comes twice keeps its first vector. Every line's number of fields is checked, the numbers of words outside the
    vocabulary are not read.
    """
    check_encoding(encoding)
    if " \n0".encode(encoding) != b" \n0":
        raise DataError(f"word vectors cannot be read as {encoding}; convert the file to utf-8 first")
    name = display(path)
    vectors = np.zeros((0, 0), np.float32)
    found: set[int] = set()
    claimed = 0
    with open_bytes(path) as stream:
        for number, line in _lines(iter(lambda: stream.readline(_LONGEST_LINE), b""), name):
            fields = line.split(b" ")
            if number == 1 and len(fields) == 2 and fields[0].isdigit() and fields[1].isdigit():
                claimed = int(fields[1])
                continue
            if not vectors.shape[1]:
                vectors = np.zeros((len(vocabulary), _dimension(fields, claimed, name, number)), np.float32)
            word, values = _parts(line, fields, vectors.shape[1], name, number)
            row = vocabulary.index(text) if (text := _decoded(word, encoding, name, number)) in vocabulary else None
            if row is not None and row not in found:
                vectors[row] = _vector(values, name, number)
                found.add(row)
    if not vectors.shape[1]:
        raise DataError(f"{name} holds no word vectors; each line must have a word and its numbers")
    return vectors, len(found)


def _lines(stream: Iterator[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, with spaces for tabs and none at the end."""
    for number, line in enumerate(stream, 1):
        if len(line) >= _LONGEST_LINE:
            raise DataError(
                f"{name}, line {number}: the line is longer than {_LONGEST_LINE:,} bytes; "
                "this is no file of word vectors"
            )
        line = line.replace(b"\t", b" ").rstrip(b" \r\n")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line:
            yield number, line


def _dimension(fields: list[bytes], claimed: int, name: str, number: int) -> int:
    dimension = len(fields) - 1
    if claimed and claimed != dimension:
        raise DataError(
            f"{name}, line {number}: the header says {claimed} numbers a word, this line has {dimension}; "
            "mend the header"
        )
    if not 1 <= dimension <= _LARGEST_DIM:
        raise DataError(
            f"{name}, line {number}: expected a word and 1 to {_LARGEST_DIM:,} numbers, got {dimension} numbers"
        )
    return dimension


def _parts(line: bytes, fields: list[bytes], dimension: int, name: str, number: int) -> tuple[bytes, list[bytes]]:
    """The word and its numbers. A word may itself hold spaces (". . ." in GloVe 840B), but then no number."""
    if len(fields) == dimension + 1:
        return fields[0], fields[1:]
    extra = fields[1 : len(fields) - dimension]
    if len(fields) <= dimension or any(_is_number(field) for field in extra):
        raise DataError(
            f"{name}, line {number}: expected a word and {dimension} numbers, got {len(fields) - 1} fields after the "
            "word"
        )
    return line.rsplit(b" ", dimension)[0], fields[-dimension:]


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _decoded(word: bytes, encoding: str, name: str, number: int) -> str:
    try:
        return word.decode(encoding)
    except UnicodeError:
        raise DataError(
            f"{name}, line {number}: the word {brief(word)} is not valid {encoding}; "
            "name the file's encoding (--encoding)"
        ) from None


def _vector(values: list[bytes], name: str, number: int) -> npt.NDArray[np.float32]:
    def refuse(value: bytes) -> NoReturn:
        raise DataError(
            f"{name}, line {number}: {brief(value.decode('latin-1'))} is not a finite number; "
            "a word's vector is made of numbers"
        )

    vector = np.empty(len(values), np.float32)
    for index, value in enumerate(values):
        if not _is_number(value) or not abs(float(value)) < 3.4e38:
            refuse(value)
        vector[index] = float(value)
    return vector
