"""`transduce` on the command line: two files or a table, judged, used, drawn; the user's bad files and options."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from elman.cli import main

Run = Callable[..., tuple[str, str]]
WORDS = [("the dog barks", "der Hund bellt"), ("a cat", "eine Katze"), ("the cat sleeps", "die Katze schläft")] * 8
SMALL = ["--hidden-size", "8", "--embedding-size", "6", "--epochs", "1", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, a table, and a model of each."""
    folder = tmp_path_factory.mktemp("transduce")
    for k, name in enumerate(("a.en", "a.de")):
        (folder / name).write_text("".join(f"{pair[k]}\n" for pair in WORDS), encoding="utf-8")
    rows = "".join(f"{x}\t{y}\n" for x, y in WORDS)
    (folder / "pairs.tsv").write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    (folder / "bare.tsv").write_text(rows, encoding="utf-8")
    words = [str(folder / "a.en"), str(folder / "a.de"), "--out", str(folder / "model.elman"), *SMALL]
    assert main(["train", "transduce", *words]) == 0
    words = [str(folder / "pairs.tsv"), "--attention", "none", "--out", str(folder / "plain.elman"), *SMALL]
    assert main(["train", "transduce", *words]) == 0
    return folder


def test_two_files_and_a_table_are_the_same(run: Run) -> None:
    figures = [run("evaluate", "model.elman", data, "--json")[0] for data in ("a.en,a.de", "pairs.tsv")]
    assert figures[0] == figures[1]
    assert set(json.loads(figures[0])) == {"loss", "perplexity", "accuracy", "error_rate", "bleu"}
    bare = run("evaluate", "model.elman", "bare.tsv", "--columns", "source,target", "--json")[0]
    assert bare == figures[0]
    greedy = run("evaluate", "model.elman", "pairs.tsv", "--json", "--beam-size", "1", "--length-penalty", "0")[0]
    assert json.loads(greedy)["loss"] == json.loads(figures[0])["loss"]


def test_what_is_said_of_a_training(run: Run) -> None:
    out, err = run(
        "train", "transduce", "a.en", "a.de", "--valid", "a.en,a.de", "--test", "pairs.tsv", "--out", "m",
        "--overwrite", *SMALL[:-1], "--level", "char",
    )  # fmt: skip
    assert "training an encoder-decoder on 24 pairs: encoder lstm 8 in both directions, decoder lstm 8 (" in err
    assert "a.en,a.de (24 pairs)" in out
    assert re.search(r"characters \(\d+ known\), writes characters \(\d+ known\)", out)
    assert "elman evaluate m pairs.tsv" in out
    assert "error rate" in out
    out, _ = run("info", "m")
    assert "encoder layer 0: lstm, 6 in, 8 units, in both directions" in out
    assert "decoder layer 0: lstm, 6 in, 8 units, forward" in out


def test_outputs_one_or_several(run: Run) -> None:
    out, _ = run("predict", "model.elman", "-", stdin="the dog sleeps\nan owl\n")
    first, second = (json.loads(line) for line in out.splitlines())
    assert set(first) == {"source", "target", "log_probability"}
    assert second["source"] == "an owl"
    out, _ = run("predict", "model.elman", "a.en")  # lines of sources alone
    assert len(out.splitlines()) == 24
    out, _ = run("predict", "model.elman", "pairs.tsv", "--n-best", "3", "--beam-size", "4", "--out", "out.jsonl")
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert (out, len(records)) == ("", 24)
    assert records[0]["outputs"][0]["text"] == records[0]["target"]
    assert [len(record["outputs"]) for record in records] == [3] * 24


def test_made_stories(run: Run) -> None:
    made = ["made:stories", "--count", "40", "--length", "2-3"]
    out, _ = run("train", "transduce", *made, "--test", "made:stories", "--out", "s.elman", *SMALL)
    assert "made:stories (40 pairs)" in out
    assert "made:stories; 4 made of their own" in out
    assert "elman evaluate s.elman made:stories --length 2-3" in out
    figures = json.loads(run("evaluate", "s.elman", *made, "--json")[0])
    assert f"accuracy {figures['accuracy']:.4f}" in out
    lines = run("predict", "s.elman", *made)[0].splitlines()
    assert len(lines) == 40
    assert " ? " in json.loads(lines[0])["source"]


def test_a_picture_of_attention(run: Run) -> None:
    run("predict", "model.elman", "pairs.tsv", "--picture", "a.png")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG\r\n")
    _, err = run("predict", "plain.elman", "pairs.tsv", "--picture", "b.png", code=2)
    assert "this model has no attention: train it with --attention additive or dot" in err
    assert not Path("b.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "transduce"], "transduce learns from one table, or from two files of lines"),
        (["train", "transduce", "a.en", "a.de", "pairs.tsv"], "transduce learns from one table, or from two files"),
        (["train", "transduce", "a.en", "short.de"], "a.en has 24 lines and short.de has 1; line n of one must belong"),
        (["train", "transduce", "a.en", "no.de"], "there is no file no.de"),
        (["train", "transduce", "a.en"], "a.en is one file of lines; name the other, too: the sources first"),
        (["evaluate", "model.elman", "a.en"], "a.en has no column 'source'"),
        (["train", "transduce", "a.en", "a.de", "--valid", "a.en,short.de"], "a.en has 24 lines and short.de has 1"),
        (
            ["train", "transduce", "a.en", "a.de", "--columns", "a,b"],
            "--columns is for CSV and TSV files, but a.en,a.de",
        ),
        (["train", "transduce", "tab.tsv"], "tab.tsv, line 3: expected 2 fields, as the header has, got 3"),
        (["train", "transduce", "bare.tsv"], "bare.tsv has no column 'source'"),
        (["train", "transduce", "made:parity"], "made:parity is made for classify, not for transduce"),
        (["train", "transduce", "pairs.tsv", "--attention", "adaptive"], "--attention 'adaptive' is not known"),
        (["train", "transduce", "pairs.tsv", "--beam-size", "no"], "--beam-size must be a whole number"),
        (["train", "transduce", "made:storys"], "there is no made task made:storys (did you mean 'stories'?)"),
        (["train", "transduce", "made:stories", "--length", "0"], "length 0 is too short for made:stories"),
        (["train", "transduce", "made:stories", "--input", "text"], "made:stories has no column 'text'"),
        (["train", "classify", "made:stories"], "made:stories is made for transduce, not for classify"),
        (["train", "transduce", "pairs.tsv", "--length", "3"], "--length is for made data"),
        (["predict", "model.elman", "pairs.tsv", "--count", "3"], "--count is for made data"),
        (
            ["predict", "model.elman", "pairs.tsv", "--n-best", "0"],
            "--n-best must be a whole number, 1 or more",
        ),
        (["evaluate", "model.elman", "pairs.tsv", "--n-best", "2"], "there is no option --n-best"),
        (
            ["evaluate", "model.elman", "pairs.tsv", "--picture", "a.png"],
            "is for a transcriber of sounds or a forecaster of",
        ),
        (["predict", "model.elman", "pairs.tsv", "--picture", "a.jpg"], "--picture a.jpg must end in .png"),
        (["predict", "model.elman", "pairs.tsv", "--picture", "no/a.png"], "there is no folder no; create it first"),
        (
            ["predict", "model.elman", "pairs.tsv", "--n-best", "9"],
            "--n-best 9 needs a --beam-size of 9 or more, not 5",
        ),
        (
            ["predict", "model.elman", "pairs.tsv", "--probabilities"],
            "--probabilities is for a classifier of sequences",
        ),
        (["evaluate", "model.elman", "pairs.tsv", "--beam-size", "0"], "--beam-size must be a whole number, 1 or more"),
        (["evaluate", "model.elman", "a.en,short.de"], "a.en has 24 lines and short.de has 1"),
    ],
)
def test_bad_command_lines_get_one_sentence(run: Run, words: list[str], said: str) -> None:
    Path("short.de").write_text("eins\n")
    Path("tab.tsv").write_text("source\ttarget\na\tb\na\tb\tc\n")
    _, err = run(*words, code=2)
    assert said in err
    assert not Path("transduce.elman").exists()
