"""Word vectors from text files: what is found, and every way a line can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from elman.data import Vocabulary, read_embeddings
from elman.errors import DataError

WORDS = Vocabulary.build([["the", "cat", "naïve", "dog"]])


def write(folder: Path, content: str | bytes, name: str = "v.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(folder: Path, content: str | bytes, *words: str, encoding: str = "utf-8") -> None:
    with pytest.raises(DataError) as caught:
        read_embeddings(write(folder, content), WORDS, encoding=encoding)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_glove(tmp_path: Path) -> None:
    text = "the 0.5 -1 2e-1\nother 9 9 9\nnaïve 1 2 3 \r\n\ncat\t4\t5\t6\nthe 7 7 7\n"
    vectors, found = read_embeddings(write(tmp_path, text), WORDS)
    assert found == 3
    assert vectors.shape == (5, 3)
    assert vectors.dtype == np.float32
    expected = {"the": [0.5, -1, 0.2], "naïve": [1, 2, 3], "cat": [4, 5, 6], "dog": [0, 0, 0], "<unk>": [0, 0, 0]}
    for word, vector in expected.items():
        np.testing.assert_array_equal(vectors[WORDS.index(word)], np.float32(vector))


def test_word2vec_header_gzip_and_encodings(tmp_path: Path) -> None:
    vectors, found = read_embeddings(write(tmp_path, gzip.compress(b"2 3\nthe 1 2 3\ncat 4 5 6\n"), "v.gz"), WORDS)
    assert (vectors.shape, found) == ((5, 3), 2)
    latin = write(tmp_path, "naïve 1 2\n".encode("latin-1"))
    assert read_embeddings(latin, WORDS, encoding="latin-1")[1] == 1
    assert read_embeddings(write(tmp_path, b"\xef\xbb\xbfthe 1 2\n"), WORDS)[1] == 1
    one = read_embeddings(write(tmp_path, "the 1\ncat 2\n"), WORDS)
    assert one[0].shape == (5, 1)


def test_words_with_blanks(tmp_path: Path) -> None:
    vectors, found = read_embeddings(
        write(tmp_path, "the 1 2\n. . . 3 4\na\xa0b 5 6\n"), Vocabulary.build([[". . .", "a\xa0b"]])
    )
    assert found == 2
    assert vectors.tolist() == [[0, 0], [3, 4], [5, 6]]


def test_refusals(tmp_path: Path) -> None:
    refused(tmp_path, "the 1 2 3\ncat 1 2\n", "v.txt, line 2", "expected a word and 3 numbers, got 2")
    refused(tmp_path, "the 1 2 3\nother 1 2 3 4\n", "line 2", "expected a word and 3 numbers, got 4")
    refused(tmp_path, "the 1 2\n\ncat 1 x\n", "line 3", "'x' is not a finite number")
    refused(tmp_path, "the 1 nan\n", "line 1", "'nan' is not a finite number")
    refused(tmp_path, "the 1 1e39\n", "line 1", "'1e39' is not a finite number")
    refused(tmp_path, "2 5\nthe 1 2\n", "line 2", "the header says 5 numbers a word, this line has 2")
    refused(tmp_path, "the\n", "line 1", "got 0 numbers")
    refused(tmp_path, "9 999999999999\n", "no word vectors")
    refused(tmp_path, "\n\n", "no word vectors")
    refused(tmp_path, "", "no word vectors")
    refused(tmp_path, "the" + " 0" * 20_000, "line 1", "10,000")
    refused(tmp_path, "the 1\n" + "x" * (1 << 20), "line 2", "longer than")
    refused(tmp_path, b"the 1\nna\xefve 2\n", "line 2", "not valid utf-8", "--encoding")
    refused(tmp_path, "the 1\n", "convert the file to utf-8", encoding="utf-16")
    refused(tmp_path, "the 1\n", "not a text encoding", encoding="utf-9")
    with pytest.raises(DataError, match=r"there is no file .*missing\.txt"):
        read_embeddings(tmp_path / "missing.txt", WORDS)
    whole = gzip.compress("".join(f"w{i} {i}\n" for i in range(10_000)).encode())
    with pytest.raises(DataError, match="not a whole gzip file"):
        read_embeddings(write(tmp_path, whole[:-100], "v.gz"), WORDS)
