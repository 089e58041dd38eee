"""The readers on real files: counts that were published with them, and traps that they hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from elman.data import Vocabulary, read_table, read_text, series, tokenize, wide_series
from elman.errors import DataError


@pytest.fixture(scope="module")
def real() -> Path:
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return folder


def test_names_have_no_header(real: Path) -> None:
    table = read_table(real / "names" / "train.tsv", columns=["name", "language"])
    assert len(table) == 14_375
    assert len(set(table.column("language"))) == 18
    assert table.column("name")[0] == "Nahas"


def test_rt_polarity(real: Path) -> None:
    table = read_table(real / "rt_polarity" / "train.csv.gz")
    assert table.names == ["label", "text"]
    assert len(table) == 8_500
    assert set(table.column("label")) == {"pos", "neg"}
    assert all(text and "\n" not in text for text in table.column("text"))


def test_ewt_in_both_forms(real: Path) -> None:
    folder = real / "ud_english_ewt"
    table = read_table(folder / "en_ewt-ud-train.conllu.gz")
    assert len(table) == 12_544
    assert sum(map(len, table.column("tokens"))) == 204_577
    assert len({tag for tags in table.column("upos") for tag in tags}) == 17
    slim = read_table(folder / "train.jsonl.gz")
    for name in ("id", "tokens", "upos", "xpos"):
        assert table.column(name) == slim.column(name)


def test_japanese_vowels(real: Path) -> None:
    table = read_table(real / "japanese_vowels" / "train.jsonl.gz")
    arrays = series(table.column("x"), table)
    assert len(arrays) == 270
    assert {array.shape[1] for array in arrays} == {12}
    assert sum(map(len, arrays)) == 4_274
    assert set(Counter(table.column("label")).values()) == {30}


@pytest.mark.parametrize(
    ("name", "sentences", "entities"),
    [("wikigold/train.conll", 1_227, 2_501), ("wnut17/train.conll", 3_394, 1_975), ("wnut17/dev.conll", 1_009, 836)],
)
def test_entities(real: Path, name: str, sentences: int, entities: int) -> None:
    table = read_table(real / name)
    assert len(table) == sentences
    assert sum(tag.startswith("B-") for tags in table.column("tags") for tag in tags) == entities


def test_a_byte_order_mark_inside_a_token_survives(real: Path) -> None:
    table = read_table(real / "wnut17" / "dev.conll")
    assert [token for tokens in table.column("tokens") for token in tokens if "\ufeff" in token] == ["Dubbz\ufeff"]


def test_numbers_in_columns(real: Path) -> None:
    steps = [f"t{i}" for i in range(150)]
    table = read_table(real / "gunpoint" / "train.csv", columns=["label", *steps])
    arrays = wide_series(table, steps)
    assert len(arrays) == 50
    assert arrays[0][0, 0] == np.float32(-0.6478854)
    with pytest.raises(DataError, match=r"train\.csv, line 1: two columns are named .*--columns"):
        read_table(real / "gunpoint" / "train.csv")
    airline = read_table(real / "univariate" / "airline-passengers.csv")  # quoted headers, CRLF
    assert airline.names == ["Month", "Passengers"]
    assert airline.column("Passengers")[-1] == "432"
    hourly = read_table(real / "m4_hourly" / "Hourly-train.csv.gz")  # series of different lengths
    with pytest.raises(DataError, match=r"line 2: column 'V702' is empty"):
        wide_series(hourly, hourly.names[1:])


def test_characters_of_shakespeare_come_back(real: Path) -> None:
    text = read_text(real / "tinyshakespeare" / "input.txt.gz")
    assert len(text) == 1_115_394
    vocabulary = Vocabulary.build([text])
    assert len(vocabulary) == 65 + 1
    assert "".join(vocabulary.decode(vocabulary.encode(text))) == text
    assert tokenize(text[:29], "word") == ["First", "Citizen", ":", "Before", "we", "proc"]


def test_what_cannot_be_read_is_one_sentence(real: Path) -> None:
    for name in ("fsdd/train.tar.gz", "mnist/t10k-labels-idx1-ubyte.gz"):
        with pytest.raises(DataError) as caught:
            read_table(real / name)
        assert Path(name).name in str(caught.value)
        assert "\n" not in str(caught.value)
