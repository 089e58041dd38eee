"""Subwords: learnt from texts, applied by the rules of byte-pair encoding, back to the same text, plain data."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import Any

import pytest

from elman.data.subwords import Subwords, join
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, ModelFileError, OptionError

SPECIALS = {"unknown": "<unk>", "start": "<s>", "end": "</s>"}
TEXTS = ["lower lowest low slower", "new newer newest wide wider widest", "(low) new, lower!"] * 3


def learnt(size: int = 40, **options: Any) -> Subwords:
    return Subwords.learn(TEXTS, size, **options, **SPECIALS)


def slow(text: str, subwords: Subwords) -> list[str]:
    """The definition: of all neighbours join the pair that was learnt first, until none is known."""
    found = []
    for word in text.split():
        parts = [letter if letter in subwords.vocabulary else "<unk>" for letter in f"▁{word}"]
        while True:
            pairs = [(subwords.merges.index(f"{a} {b}"), i) for i, (a, b) in enumerate(pairwise(parts))
                     if f"{a} {b}" in subwords.merges]  # fmt: skip
            if not pairs:
                break
            i = min(pairs)[1]
            parts[i : i + 2] = ["".join(parts[i : i + 2])]
        found += parts
    return found


@pytest.mark.parametrize("size", [4, 25, 40, 1000])
def test_the_library_does_what_the_definition_says(size: int) -> None:
    subwords = learnt(size)
    assert len(subwords.vocabulary) <= max(size, 25)  # every letter has a place
    for text in ("lower newest", "slowest  news\tanew", "xylophone low", ""):
        assert subwords.tokenize(text) == slow(text, subwords)


def test_there_and_back() -> None:
    subwords = learnt()
    for text in TEXTS:
        tokens = subwords.tokenize(text)
        assert join(tokens) == text
        assert subwords.vocabulary.unknown_index not in subwords.vocabulary.encode(tokens)
    assert not any(len(token) > 1 and set(token) & set("(),!") for token in subwords.vocabulary.tokens)
    assert "<unk>" in subwords.tokenize("ß")


def test_learning_is_repeatable_and_rare_pairs_can_be_left_apart() -> None:
    assert learnt().merges == learnt().merges
    assert len(learnt(1000, min_count=4).merges) < len(learnt(1000).merges)
    with pytest.raises(DataError, match="there are no words to learn subwords from"):
        Subwords.learn(["", "  "], 10, **SPECIALS)


def test_a_mark_in_a_text_is_no_mark() -> None:
    subwords = Subwords.learn(["<s> </s> <unk>"] * 3, 60, **SPECIALS)
    assert subwords.vocabulary.tokens[:3] == ("<unk>", "<s>", "</s>")
    assert not {"<s>", "</s>"} & set(subwords.tokenize("a <s> b </s>"))


def test_plain_data_and_back() -> None:
    subwords = learnt()
    data = json.loads(json.dumps(subwords.to_json_data()))
    vocabulary = Vocabulary.from_json_data(json.loads(json.dumps(subwords.vocabulary.to_json_data())))
    again = Subwords.from_json_data(vocabulary, data)
    assert again.tokenize("slowest news") == subwords.tokenize("slowest news")


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"merges": "l o"}, {"merges": [1]}, {"merges": [["l", "o"]]}, {"merges": ["l o"], "code": "x"},
     {"merges": ["lo"]}, {"merges": ["l zz"]}, {"merges": ["w i", "i w"]}, {"merges": [" l"]}],
)  # fmt: skip
def test_damaged_data_are_refused(data: Any) -> None:
    with pytest.raises(ModelFileError, match="the subwords are damaged"):
        Subwords.from_json_data(learnt().vocabulary, data)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    subwords = learnt()
    subwords.__dict__.pop("_model", None)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(OptionError, match=r"install it with: pip install 'elman\[data\]'"):
        subwords.tokenize("low")
