"""Vocabularies and tokens: order, round trips, speed, and refusals."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import Vocabulary, detokenize, tokenize
from elman.errors import DataError, ModelFileError, OptionError

TOKENS = st.lists(st.text(max_size=3), max_size=20)


def test_order_specials_then_count_then_alphabet() -> None:
    vocabulary = Vocabulary.build([["b", "a", "c"], ["c", "</s>"], ["b", "d"]], start="<s>", end="</s>")
    assert vocabulary.tokens == ("<unk>", "<s>", "</s>", "b", "c", "a", "d")
    assert (vocabulary.unknown_index, vocabulary.start_index, vocabulary.end_index) == (0, 1, 2)
    labels = Vocabulary.build([["x", "y", "x"]], unknown=None)
    assert labels.tokens == ("x", "y")
    assert (labels.unknown_index, labels.start_index, labels.end_index) == (None, None, None)
    one_end = Vocabulary.build([["a"]], unknown=None, start="|", end="|")
    assert (one_end.tokens, one_end.start_index, one_end.end_index) == (("|", "a"), 0, 0)


def test_min_count_and_max_size() -> None:
    sequences = [["a", "a", "a", "b", "b", "c"]]
    assert Vocabulary.build(sequences, min_count=2).tokens == ("<unk>", "a", "b")
    assert Vocabulary.build(sequences, max_size=2).tokens == ("<unk>", "a")
    assert Vocabulary.build(sequences, max_size=99).tokens == ("<unk>", "a", "b", "c")
    assert Vocabulary.build(["abb"]) == Vocabulary.build("abb") == Vocabulary.build(iter([iter("abb")]))
    with pytest.raises(OptionError, match="min_count=0"):
        Vocabulary.build(sequences, min_count=0)
    with pytest.raises(OptionError, match=r"max_size=1 leaves no room .* 1 special"):
        Vocabulary.build(sequences, max_size=1)


def test_membership_and_index() -> None:
    vocabulary = Vocabulary.build([["a", "bc"]])
    assert len(vocabulary) == 3
    assert "bc" in vocabulary
    assert "b" not in vocabulary
    assert 1 not in vocabulary
    assert [] not in vocabulary
    assert (vocabulary.index("bc"), vocabulary.index("zz")) == (2, 0)
    labels = Vocabulary.build([["Greek", "Irish"]], unknown=None)
    with pytest.raises(DataError, match=r"'Grek' is none of the 2 known tokens \(did you mean 'Greek'\?\)"):
        labels.index("Grek")
    with pytest.raises(DataError, match=r"'zzzz' is none of the 2 known tokens \(known: Greek, Irish\)"):
        labels.encode(["Irish", "zzzz"])
    for bad in (5, None, ["a"]):
        with pytest.raises(DataError, match="is not a string"):
            vocabulary.index(bad)  # type: ignore[arg-type]


def test_encode_and_decode() -> None:
    vocabulary = Vocabulary.build([["the", "cat", "the"]])
    encoded = vocabulary.encode(["the", "dog", "cat"])
    assert encoded.dtype == np.int64
    assert encoded.tolist() == [1, 0, 2]
    assert vocabulary.encode([]).shape == (0,)
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.encode(iter(["cat"])).tolist() == [2]
    assert vocabulary.decode(encoded) == ["the", "<unk>", "cat"]
    assert vocabulary.decode([2]) == ["cat"]
    for number in (3, -1):
        with pytest.raises(DataError, match=f"no token number {number}; the vocabulary has numbers 0 to 2"):
            vocabulary.decode(np.array([0, number]))
    for bad in ([5], [["the"]], [None, "the"]):
        for voc in (vocabulary, Vocabulary.build([["the"]], unknown=None)):
            with pytest.raises(DataError, match="not a string"):
                voc.encode(bad)  # type: ignore[arg-type]


def test_characters_beyond_the_vocabulary() -> None:
    vocabulary = Vocabulary.build(["aé😀", ["word"]])
    assert vocabulary.encode("a😀bé\U0010ffff").tolist() == [vocabulary.index(c) for c in "a😀bé\U0010ffff"]
    assert vocabulary.encode("a\ud800").tolist() == [vocabulary.index("a"), 0]
    labels = Vocabulary.build(["ab"], unknown=None)
    assert labels.encode("ba").tolist() == [1, 0]
    with pytest.raises(DataError, match=r"'z' is none of the 2 known tokens"):
        labels.encode("abz")
    assert Vocabulary.build([["word"]]).encode("wo").tolist() == [0, 0]


@given(st.lists(TOKENS, max_size=6), TOKENS)
def test_what_is_known_comes_back(sequences: list[list[str]], others: list[str]) -> None:
    vocabulary = Vocabulary.build(sequences, start="<s>", end="</s>")
    assert len(set(vocabulary.tokens)) == len(vocabulary)
    for sequence in sequences:
        assert vocabulary.decode(vocabulary.encode(sequence)) == sequence
    assert vocabulary.decode(vocabulary.encode(others)) == [t if t in vocabulary else "<unk>" for t in others]
    assert Vocabulary.from_json_data(vocabulary.to_json_data()) == vocabulary


@given(st.text(), st.text())
def test_a_string_is_encoded_as_its_characters(known: str, text: str) -> None:
    vocabulary = Vocabulary.build([known])
    assert vocabulary.encode(text).tolist() == vocabulary.encode(list(text)).tolist()


def test_a_long_text_is_counted_as_its_characters() -> None:
    text = "abcäb\n😀\ud800" * 10_000
    assert Vocabulary.build([text, "xa"]) == Vocabulary.build([list(text), ["x", "a"]])


def test_a_million_characters_take_little_time() -> None:
    text = "The quick brown fox jumps over the lazy dog, é😀.\n" * 20_000
    vocabulary = Vocabulary.build([text])
    seconds = []
    for _ in range(5):  # the best of some: others share the machine
        begin = time.perf_counter()
        vocabulary.encode(text)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.1  # 0.01 s measured; a loop over the characters takes 0.08 s or more and builds a list


def test_immutable_and_refusals() -> None:
    vocabulary = Vocabulary.build(["ab"])
    with pytest.raises(AttributeError):
        vocabulary.tokens = ()  # type: ignore[misc]
    with pytest.raises(DataError, match="'a' is in it twice"):
        Vocabulary(("a", "b", "a"))
    with pytest.raises(DataError, match="unknown token '<unk>' is not among"):
        Vocabulary(("a",), unknown="<unk>")
    with pytest.raises(DataError, match="cannot stand for unknown tokens and for a start or end"):
        Vocabulary.build(["a"], unknown="<s>", start="<s>")
    with pytest.raises(DataError, match="no tokens to build a vocabulary"):
        Vocabulary.build([], unknown=None)
    with pytest.raises(DataError, match="the token 3 is not a string"):
        Vocabulary.build([["a", 3]])  # type: ignore[list-item]
    for bad in ([["a", ["b"]]], [1, 2], [["a"], None]):
        with pytest.raises(DataError, match="sequences of strings"):
            Vocabulary.build(bad)  # type: ignore[arg-type]


def test_json_data_are_plain() -> None:
    data = Vocabulary.build(["ab"], end="</s>").to_json_data()
    assert data == {"tokens": ["<unk>", "</s>", "a", "b"], "unknown": "<unk>", "start": None, "end": "</s>"}


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": ["a", "a", "<unk>"]},
        {"tokens": ["a", 1, "<unk>"]},
        {"tokens": []},
        {"tokens": "ab<unk>"},
        {"tokens": None},
        {"tokens": {"<unk>": 0}},
        {"unknown": "missing"},
        {"unknown": 0},
        {"start": ["<unk>"]},
        {"end": "<unk>"},
        {"more": 1},
    ],
)
def test_damaged_json_data(change: dict[str, Any]) -> None:
    data = Vocabulary.build(["ab"]).to_json_data()
    with pytest.raises(ModelFileError, match="the vocabulary is damaged"):
        Vocabulary.from_json_data({**data, **change})
    for key in data:
        with pytest.raises(ModelFileError, match="the vocabulary is damaged"):
            Vocabulary.from_json_data({name: value for name, value in data.items() if name != key})
    with pytest.raises(ModelFileError, match="the vocabulary is damaged"):
        Vocabulary.from_json_data([data])


# tokens


def test_levels() -> None:
    assert tokenize("ab é", "char") == ["a", "b", " ", "é"]
    assert tokenize(" a,b  <unk>\nc ", "space") == ["a,b", "<unk>", "c"]
    with pytest.raises(OptionError, match=r"'words' is no level of tokens \(did you mean 'word'\?\)"):
        tokenize("a", "words")
    with pytest.raises(OptionError, match="'line' is no level"):
        detokenize(["a"], "line")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world! (Yes.)", "Hello|,|world|!|(|Yes|.|)"),
        ("don't l’eau 'quoted' dogs'", "don't|l’eau|'|quoted|'|dogs|'"),
        ("3.14 and 1,000, 1st 2x 3.5kg v1.2", "3.14|and|1,000|,|1st|2x|3|.|5kg|v1|.|2"),
        ("well-known a_b e@f.org", "well|-|known|a_b|e|@|f|.|org"),
        ("<unk> <s> a < b <br> x>y", "<unk>|<s>|a|<|b|<br>|x|>|y"),
        ("naïve naïve Straße", "naïve|naïve|Straße"),
        ("हिन्दी में।", "हिन्दी|में|।"),
        ("می‌خواهم ภาษาไทย", "می‌خواهم|ภาษาไทย"),
        ("wait...\n\tok ❤️!", "wait|.|.|.|ok|❤️|!"),
        ("", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert "|".join(tokenize(text, "word")) == words


def test_detokenize() -> None:
    assert detokenize(["a", " ", "b"], "char") == "a b"
    assert detokenize(["a", ",", "b"], "space") == "a , b"
    text = "Hello, world! (Yes: don't.) 3.14 %"
    assert detokenize(tokenize(text, "word"), "word") == "Hello, world! (Yes: don't.) 3.14%"
    assert detokenize([], "word") == ""


@given(st.text())
def test_no_sign_is_lost_and_words_are_stable(text: str) -> None:
    for level in ("char", "word", "space"):
        tokens = tokenize(text, level)
        assert tokenize(detokenize(tokens, level), level) == tokens
    assert "".join(tokenize(text, "char")) == text
    # white space apart, the words hold every sign, in order
    assert "".join("".join(tokenize(text, "word")).split()) == "".join(text.split())
