"""Texts larger than memory: in pieces they are the whole, teach the same bit for bit, resume, and stay on disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.cli import main
from elman.data import Vocabulary, long_text, read_text, vocabulary
from elman.data.long_text import LongText
from elman.data.store import FileArray, blocks, mapped
from elman.errors import DataError
from elman.models import LanguageModel
from elman.models.language import text as language_text
from elman.models.language.training import LanguageTrainee

SMALL: dict[str, Any] = {"hidden_size": 6, "embedding_size": 4, "batch_size": 5, "bptt": 7, "epochs": 2, "lr": 0.01}
TEXTS = {
    "lines": "The cat sat.\n\n  \nA dog, née Fido, ran <s> fast.\r\nIt's 3.14 or\rso!\n" * 9 + "the end",
    "no line ends": "some words of a long line " * 20,
    "no words": "äöü€😀x" * 40,
    "marked": "\ufeffone\ntwo \ufeff three\n" * 3,
}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is large, and is read some bytes at a time."""
    for name, value in (("LARGE", 1), ("PIECE", 40), ("FINE", 16)):
        monkeypatch.setattr(long_text, name, value)


def long(*paths: Path) -> LongText:
    found = LongText.of(paths)
    assert found is not None
    return found


def whole(text: LongText) -> str:
    return "".join(piece for span in text.spans for piece in text.read(span))


def rhymes(count: int) -> str:
    rng = np.random.default_rng(0)
    words = np.array(["one", "two,", "three", "née", "five.", "six"])
    return "".join(" ".join(rng.choice(words, rng.integers(1, 9))) + "\n" for _ in range(count))


# -- pieces ------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 40, 10_000])
@pytest.mark.parametrize("name", TEXTS)
def test_the_pieces_are_the_whole(name: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_text, "PIECE", piece)
    path = tmp_path / "a.txt"
    path.write_bytes(TEXTS[name].encode())
    text = long(path)
    assert whole(text) == read_text(path)
    assert text.size == path.stat().st_size
    if name == "lines" and piece > 9:
        assert all(part.endswith("\n") for part in list(text.read(text.spans[0]))[:-1])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.95])
def test_the_last_part_is_held_out(fraction: float, tmp_path: Path) -> None:
    texts = [rhymes(30), rhymes(7), rhymes(11)]
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, texts):
        path.write_text(text)
    every = long(*paths)
    kept, held = every.hold_out(fraction)
    assert whole(kept) + whole(held) == "".join(texts)
    assert fraction * every.size - 80 < held.size <= round(fraction * every.size)
    assert whole(kept).endswith("\n")
    assert kept.hold_out(0.0) == (kept, LongText(()))
    first = held.spans[0]
    assert first.line == 1 + texts[paths.index(Path(first.path))].encode()[: first.start].count(b"\n")


@pytest.mark.usefixtures("small_pieces")
def test_what_cannot_be_cut_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    with pytest.raises(DataError, match="cannot be cut to hold out a part"):
        long(path).hold_out(0.9)
    path.write_bytes(b"a line\n" * 30 + b"another \xff line\n" + b"a line\n" * 30)
    where = r"a.txt, line 31, byte 9 of the line \(offset 218 in the file\)"
    for fraction in (0.0, 0.1, 0.6):
        with pytest.raises(DataError, match=where):
            LanguageModel(**SMALL, valid_fraction=fraction).fit(path)
    path.write_bytes(b"one\ntwo\n" * 30 + b"\0")
    with pytest.raises(DataError, match="line 61: there is a NUL byte"):
        LanguageModel(**SMALL, valid_fraction=0.0).fit(path)
    path.write_text(" \n" * 50)
    with pytest.raises(DataError, match="the text to learn from is empty"):
        LanguageModel(**SMALL, valid_fraction=0.0, level="word").fit(path)


def test_what_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_text, "LARGE", 10)
    for name in ("a.txt", "b", "c.txt.gz"):
        (tmp_path / name).write_bytes(b"x" * 6)
    a, b, packed = (tmp_path / name for name in ("a.txt", "b", "c.txt.gz"))
    assert LongText.of([a]) is None
    assert LongText.of([a, b]) is not None  # together they are
    assert LongText.of([a, b, packed]) is None
    assert LongText.of([a, b], "utf-16") is None
    assert LongText.of([a, b, tmp_path / "none"]) is None
    with pytest.raises(DataError, match="is not a text encoding"):
        LongText.of([a, b], "utf-9")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_an_array_in_a_file_is_the_array(kind: Any, tmp_path: Path) -> None:
    parts = [np.arange(n) for n in (3, 0, 200, 1)]
    found = FileArray(tmp_path / "new" / "a", iter(parts), kind)
    assert len(found) == 204
    assert mapped(found).dtype == kind
    assert np.array_equal(mapped(found), np.concatenate(parts))
    assert np.array_equal(np.concatenate(list(blocks(found, 7))), np.concatenate(parts))
    assert [len(block) for block in blocks(found, 100)] == [100, 100, 4]


def test_the_rarest_are_forgotten_where_there_are_too_many_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MOST_KINDS", 10)
    texts = [["often", "often", f"{k}", f"{k}"] for k in range(50)]
    tokens = Vocabulary.build(texts).tokens
    assert tokens[:2] == ("<unk>", "often")
    assert len(tokens) <= 12


# -- learning ----------------------------------------------------------------------------------------------------------
def same(a: LanguageModel, b: LanguageModel) -> bool:
    pairs = zip(a.module_.parameters(), b.module_.parameters(), strict=True)
    return a.vocabulary_ == b.vocabulary_ and a.summary_.best == b.summary_.best and all(torch.equal(*p) for p in pairs)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lines": True, "bptt_reach": 21},
        {"level": "word", "softmax_samples": 4},
        {"level": "word", "lines": False, "bptt_spread": 2.0},
        {"level": "space", "max_vocabulary": 6},
        {"level": "subword", "max_vocabulary": 40},
        {"level": "subword", "lines": False},
    ],
)
def test_a_long_text_teaches_what_it_teaches_whole(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(rhymes(60))
    last = whole(long(path).hold_out(0.2)[1])
    in_pieces = LanguageModel(**SMALL, **options, valid_fraction=0.2).fit(path, folder=tmp_path / "run")
    in_memory = LanguageModel(**SMALL, **options).fit(rhymes(60).removesuffix(last), valid=last)
    assert same(in_pieces, in_memory)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "run"]  # what lay on disk is gone
    given = LanguageModel(**SMALL, **options).fit(path, valid=last)
    assert same(given, LanguageModel(**SMALL, **options).fit(rhymes(60), valid=last))


@pytest.mark.usefixtures("small_pieces")
def test_subwords_are_learnt_from_the_first_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_text, "MOST_LEARNT_FROM", 100)
    (tmp_path / "a.txt").write_text("ab ba\n" * 100 + "zz\n" * 100)
    model = LanguageModel(**SMALL, level="subword", valid_fraction=0.0).fit(tmp_path / "a.txt")
    assert set("".join(model.vocabulary_.tokens[3:])) == set("▁ab")
    assert model.evaluate("ab zz")["unknown"] == pytest.approx(2 / len(model.tokenizer_.tokenize("ab zz")))


@pytest.mark.usefixtures("small_pieces")
def test_documents_of_several_files(tmp_path: Path) -> None:
    texts = [rhymes(20), rhymes(9)]
    for name, text in zip("ab", texts):
        (tmp_path / name).write_text(text)
    options = {**SMALL, "valid_fraction": 0.0}
    in_pieces = LanguageModel(**options).fit(long(tmp_path / "a", tmp_path / "b"))
    assert same(in_pieces, LanguageModel(**options).fit(texts))


@pytest.mark.usefixtures("small_pieces")
def test_a_run_that_is_broken_off_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, options = tmp_path / "a.txt", {**SMALL, "checkpoint_steps": 2, "bptt_reach": 14}
    path.write_text(rhymes(60))
    undisturbed = LanguageModel(**options).fit(path)
    plain, calls = LanguageTrainee.loss, [0]

    def broken(self: LanguageTrainee, window: range, carry: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            raise RuntimeError("the power is off")
        return plain(self, window, carry)

    monkeypatch.setattr(LanguageTrainee, "loss", broken)
    with pytest.raises(RuntimeError, match="power"):
        LanguageModel(**options).fit(path, folder=tmp_path / "run")
    monkeypatch.setattr(LanguageTrainee, "loss", plain)
    again = LanguageModel(**options).fit(path, folder=tmp_path / "run", resume=True)
    assert again.summary_.steps == undisturbed.summary_.steps > 15
    assert same(again, undisturbed)


@pytest.mark.usefixtures("small_pieces")
def test_the_memory_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning from 2 MB takes memory for a piece of 8 KiB and for a window, with some copies, eight bytes a number."""
    monkeypatch.setattr(long_text, "PIECE", 1 << 13)
    path = tmp_path / "a.txt"
    path.write_text(rhymes(2000) * 50)
    model = LanguageModel(**{**SMALL, "batch_size": 128, "bptt": 100, "epochs": 1}, valid_fraction=0.001)
    LanguageModel(**SMALL).fit(rhymes(9))  # what is only loaded by the first to learn
    tracemalloc.start()
    try:
        model.fit(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 2_000_000
    assert most < 1 << 20
    assert model.summary_.best["perplexity"] < 20


@pytest.mark.usefixtures("small_pieces")
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(rhymes(30))
    Path("b.txt").write_text(rhymes(20))
    words = "train language-model a.txt b.txt --epochs 1 --hidden-size 4 --bptt 9 --batch-size 4 --valid-fraction 0.2"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert f"a.txt, b.txt ({len((rhymes(30) + rhymes(20)).encode()):,} bytes, read in pieces)" in said
    assert "the last 20 % of the data, held out, at most 4 MiB" in said
    Path("b.txt").write_bytes(b"a\nb\xfe\n")
    assert main([*words.split(), "--overwrite"]) == 2
    assert "b.txt, line 2, byte 2 of the line (offset 3 in the file)" in capsys.readouterr().err
