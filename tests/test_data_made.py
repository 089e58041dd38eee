"""Made tasks: the answer is right, classes are balanced, the seed decides."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from elman.data import is_made, make
from elman.data.made import TASKS
from elman.errors import DataError, OptionError


@pytest.mark.parametrize("length", [1, 2, 7, (1, 30)])
def test_parity(length: int | tuple[int, int]) -> None:
    table = make("parity", 501, length, 3)
    assert (table.source, table.names, len(table)) == ("made:parity", ["text", "label"], 501)
    for text, label in zip(table.column("text"), table.column("label")):
        assert set(text) <= {"0", "1"}
        assert label == str(text.count("1") % 2)
    counts = Counter(table.column("label"))
    assert abs(counts["0"] - counts["1"]) == 1


def test_modular() -> None:
    table = make("made:modular", 500, (1, 12), 0)
    for text, label in zip(table.column("text"), table.column("label")):
        assert label == str(sum(map(int, text)) % 5)
    assert set(Counter(table.column("label")).values()) == {100}
    assert {len(text) for text in table.column("text")} == set(range(1, 13))
    assert set("".join(table.column("text"))) == set("01234")


def test_adding() -> None:
    table = make("adding", 2000, (2, 50), 0)
    for series, target in zip(table.column("series"), table.column("target")):
        assert series.dtype == np.float32
        marks = np.flatnonzero(series[:, 1])
        half = len(series) // 2
        assert len(marks) == 2
        assert marks[0] < half <= marks[1]
        assert set(series[:, 1]) <= {0, 1}
        assert target == pytest.approx(float(series[marks, 0].sum()), abs=1e-6)
        assert 0 <= series[:, 0].min() <= series[:, 0].max() <= 1
    errors = (np.array(table.column("target")) - 1) ** 2
    # the mean of 2,000 draws of variance 7/180: three standard errors are 0.014
    assert errors.mean() == pytest.approx(1 / 6, abs=0.014)


def test_copy() -> None:
    table = make("copy", 50, (1, 30), 0)
    lengths = set()
    for tokens, tags in zip(table.column("tokens"), table.column("tags")):
        length = len(tokens) - 20
        lengths.add(length)
        assert len(tags) == len(tokens)
        assert tags[-10:] == tokens[:10]
        assert set(tags[:-10]) == {"_"}
        assert set(tokens[:10]) <= set("abcdefgh")
        assert tokens[10:] == ["_"] * (length - 1) + [":"] + ["_"] * 10
    assert min(lengths) >= 1
    assert max(lengths) <= 30
    assert len(lengths) > 15


def test_agreement() -> None:
    from elman.data.made import _NOUNS

    number = {noun: form for nouns in _NOUNS for noun, form in zip(nouns, ("singular", "plural"))}
    table = make("agreement", 400, (1, 4), 0)
    for text, label, distractors in zip(*table.columns.values()):
        nouns = [number[word] for word in text.split() if word in number]
        other = {"singular": "plural", "plural": "singular"}[label]
        assert nouns == [label] + [other] * distractors
        words = text.split()
        if "that" in words:  # the verb of a clause agrees with the clause's own subject
            verb = next(
                word for word in words if word.rstrip("s") in ("admire", "fear", "like", "see", "watche", "watch")
            )
            assert verb.endswith("s") == (other == "singular")
    assert Counter(table.column("label")) == {"singular": 200, "plural": 200}
    assert set(table.column("distractors")) == {1, 2, 3, 4}
    assert len(set(table.column("text"))) > 300
    assert any("that" in text.split() for text in table.column("text"))


@pytest.mark.parametrize("name", TASKS)
def test_the_seed_decides(name: str) -> None:
    def text(seed: int) -> str:
        with np.printoptions(threshold=10**6):
            return str(make(name, 20, (2, 9), seed).columns)

    assert text(1) == text(1)
    assert text(1) != text(2)
    lengths = make(name, 3, 4, 0)
    assert lengths.lines == [1, 2, 3]
    assert lengths.place(1) == f"made:{name}, record 2"


def test_long_strings_are_quick_and_uniform() -> None:
    table = make("parity", 1000, 10_000, 0)
    ones = sum(text.count("1") for text in table.column("text"))
    assert abs(ones - 5_000_000) < 4 * 1581  # four standard deviations of ten million fair bits
    last = [text[-1] for text in table.column("text")]
    assert abs(last.count("1") - 500) < 64


def test_names() -> None:
    assert is_made("made:parity")
    assert not is_made("parity")
    assert not is_made("data/made:parity")
    with pytest.raises(DataError, match=r"no made task made:party \(did you mean 'parity'\?\)"):
        make("made:party", 1, 1, 0)
    with pytest.raises(DataError, match="known: adding, agreement, copy, modular, parity"):
        make("zzz", 1, 1, 0)


def test_options() -> None:
    for length in (0, -3, (0, 5)):
        with pytest.raises(OptionError, match=r"length .* is too short for made:parity; its shortest is 1"):
            make("parity", 10, length, 0)
    with pytest.raises(OptionError, match=r"length 1 is too short for made:adding; its shortest is 2"):
        make("adding", 10, 1, 0)
    with pytest.raises(OptionError, match="length 5-2 cannot be"):
        make("parity", 10, (5, 2), 0)
    with pytest.raises(OptionError, match="count 0"):
        make("parity", 0, 1, 0)
    with pytest.raises(OptionError, match="too many"):
        make("parity", 10**6, 10**6, 0)
    with pytest.raises(OptionError, match="negative"):
        make("parity", 1, 1, -1)


def _answer(source: str) -> tuple[str, str]:
    """The kind of a question and its answer, told from the sentences alone: the last that speaks of it decides."""
    question, story = source.split(" ? ")
    told = re.findall(r"(\w+) (went|took|dropped) (?:to )?the (\w+) \.", story)
    last = {thing: (way, who) for who, way, thing in told if way != "went"}
    room = {who: name for who, way, name in told if way == "went"}

    def has(person: str) -> list[str]:
        taken = [thing for who, way, thing in reversed(told) if (who, way) == (person, "took")]
        return [thing for thing in dict.fromkeys(taken) if last[thing] == ("took", person)][::-1]

    match question.split():
        case ["where", "is", person]:
            return "where", room[person]
        case ["is", person, "in", "the", name]:
            return "whether", "yes" if room[person] == name else "no"
        case ["who", "has", "the", thing]:
            way, who = last.get(thing, ("", ""))
            return "who", who if way == "took" else "nobody"
        case ["what", "does", person, "have"]:
            return "what", " and ".join(f"the {thing}" for thing in has(person)) or "nothing"
        case ["how", "many", "things", "does", person, "have"]:
            return "how many", ["none", "one", "two", "three", "four"][len(has(person))]
    raise AssertionError(question)


@pytest.mark.parametrize("length", [1, 4, (1, 31)])
def test_stories_are_answered_rightly(length: int | tuple[int, int]) -> None:
    table = make("stories", 501, length, 3)
    assert table.names == ["source", "target", "kind"]
    rows = list(zip(table.column("kind"), table.column("target")))
    assert rows == [_answer(source) for source in table.column("source")]
    assert set(Counter(table.column("kind")).values()) == {100, 101}
    low, high = (length, length) if isinstance(length, int) else length
    assert {source.count(" .") for source in table.column("source")} <= set(range(low, high + 1))
    yes = Counter(target for kind, target in rows if kind == "whether")["yes"]
    assert 30 <= yes <= 70  # four standard deviations of a hundred fair coins
    if length == (1, 31):
        given = [target for kind, target in rows if kind == "what"]
        assert any(" and the " in target for target in given)
        assert max(Counter(given).values()) < 60  # "nothing" is no answer to lean on


def test_stories_make_sense() -> None:
    """Nobody takes what another has or what lies in another room, drops what they lack, or goes where they are."""
    for source in make("stories", 200, (1, 40), 0).column("source"):
        room: dict[str, str] = {}
        holder: dict[str, str] = {}
        lies: dict[str, str] = {}
        for who, way, name in re.findall(r"(\w+) (went|took|dropped) (?:to )?the (\w+) \.", source):
            if way == "went":
                assert room.get(who) != name
                room[who] = name
            elif way == "took":
                assert name not in holder
                assert lies.get(name, room[who]) == room[who]
                holder[name] = who
            else:
                assert holder.pop(name) == who
                lies[name] = room[who]
        assert 1 <= len(room) <= 3
