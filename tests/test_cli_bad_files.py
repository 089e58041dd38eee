"""A bad file to validate, to judge or to predict by: one sentence that names it, before anything is trained or left."""

from __future__ import annotations

import json
import math
import wave
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from elman.cli import main

Run = Callable[..., tuple[str, str]]
pillow = pytest.importorskip("PIL.Image")
SMALL = ["--hidden-size", "4", "--epochs", "1", "--valid-fraction", "0", "--quiet"]
OWN = {
    "caption": ["--embedding-size", "4", "--channels", "4"],
    "forecast": ["--horizon", "4", "--lookback", "12", "--epoch-batches", "1", "--known", "offer", "--season", "1"],
    "transcribe": ["--mels", "8"],
    "transduce": ["--embedding-size", "4"],
}


def days(*, count: int = 60, hole: int | None = None) -> str:
    """A series of days with an input that is known ahead; in one row it is missing."""
    first = date(2024, 1, 1)
    rows = [f"{first + timedelta(k)},{math.sin(k):.3f},{'' if k == hole else k % 2}" for k in range(count)]
    return "\n".join(["day,value,offer", *rows]) + "\n"


def steps(*sets: list[int]) -> str:
    """A sequence of sets of labels."""
    return json.dumps({"steps": sets}) + "\n"


GOOD = {
    "language-model": ("good.txt", "to be or not to be\n" * 9),
    "classify": ("good.csv", "text,label\n" + "a b,up\nb a,down\n" * 6),
    "regress": ("numbers.csv", "series,target\n" + "a b,1\nb a,2\n" * 6),
    "tag": ("good.jsonl", '{"tokens": ["a", "dog"], "tags": ["DET", "NOUN"]}\n' * 8),
    "label-sets": ("sets.jsonl", steps([60, 64], [], [62]) * 8),
    "transduce": ("pairs.tsv", "source\ttarget\n" + "a dog\tein Hund\n" * 8),
    "caption": ("pictures.tsv", "image\tcaption\n" + "a.png\ta dog\nb.png\ta cat\n"),
    "transcribe": ("sounds.tsv", "path\ttext\n" + "a.wav\tab\n" * 6),
    "forecast": ("days.csv", days()),
}  # fmt: skip
JUDGED = "valid test evaluate"
EVERY = f"{JUDGED} predict"
BAD = [
    ("language-model", "empty.txt", "", "is empty", EVERY),
    ("language-model", "blank.txt", " \n\n", "holds no", EVERY),
    ("language-model", "latin.txt", b"caf\xe9\n", "byte 4", EVERY),
    ("classify", "label.csv", "text,label\na b,up\na b,upp\n", "line 3: unknown label 'upp' (did you mean", JUDGED),
    ("classify", "none.csv", "text,label\na b,\n", "line 2: the label is missing", JUDGED),
    ("classify", "column.csv", "txt,label\na b,up\n", "no column 'text'", EVERY),
    ("regress", "word.csv", "series,target\na b,high\n", "line 2: the number is 'high', which is none", JUDGED),
    ("tag", "tag.jsonl", '{"tokens": ["a"], "tags": ["NOWN"]}', "line 1: unknown tag 'NOWN'", JUDGED),
    ("tag", "count.jsonl", '{"tokens": ["a"], "tags": []}', "line 1: 1 words but 0 tags", JUDGED),
    ("tag", "wordless.jsonl", '{"tokens": [], "tags": []}', "no words", JUDGED),
    ("label-sets", "new.jsonl", steps([60], [99]), "line 1, step 2: unknown label '99'", EVERY),
    ("label-sets", "flat.jsonl", '{"steps": [60]}', "line 1, step 1: expected a list of labels", EVERY),
    ("label-sets", "stepless.jsonl", steps(), "no steps", JUDGED),
    ("transduce", "named.csv", "sauce,target\na,b\n", "no column 'source'", EVERY),
    ("transduce", "null.jsonl", '{"source": "a", "target": null}', "line 1: a target is a text", JUDGED),
    ("transduce", "long.en,short.de", "", "long.en has 2 lines and short.de has 1", EVERY),
    ("transduce", "no.en,no.de", "", "no.en is empty", EVERY),
    ("caption", "wide.tsv", "image\tcaption\na.png\ta\nwide.png\ta\n", "line 3: the shape is (16, 17, 3)", EVERY),
    ("caption", "cut.tsv", "image\tcaption\ncut.png\ta\n", "line 2: cut.png cannot be read", EVERY),
    ("caption", "said.tsv", "image\tcaption\na.png\ta\nb.png\tb\na.png\t\n", "line 4: a caption is empty", JUDGED),
    ("caption", "pathless.tsv", "image\tcaption\na.png\ta\n\tb\n", "line 3: 'image' is empty; name a file", EVERY),
    ("transcribe", "token.tsv", "path\ttext\na.wav\tax\n", "line 2: the transcript holds 'x'", JUDGED),
    ("transcribe", "silent.tsv", "path\ttext\na.wav\t\n", "line 2: the transcript is empty", JUDGED),
    ("transcribe", "hasty.tsv", f"path\ttext\na.wav\t{'ab' * 99}\n", "line 2: 0.30 s of sound are", JUDGED),
    ("transcribe", "soundless.tsv", "path\ttext\n\tab\n", "line 2: 'path' is empty; name a file", EVERY),
    ("transcribe", "text.tsv", "path\ttext\ntext.wav\tab\n", "line 2: text.wav", EVERY),
    ("forecast", "short.csv", days(count=9), "has 9 values, but ", EVERY),
    ("forecast", "plain.csv", "day,value\n2024-01-01,1\n", "no column 'offer'", EVERY),
    ("forecast", "hole.csv", days(hole=58), "input 'offer' is missing at 2024-02-28, step 3 of 4", "test evaluate"),
    ("forecast", "ahead.csv", days(), "input 'offer' is missing at 2024-03-01, step 1 of 4", "predict"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files, bad files, and a model of each task."""
    folder = tmp_path_factory.mktemp("bad")
    for name, size in (("a", (16, 16)), ("b", (16, 16)), ("wide", (17, 16))):
        pillow.new("RGB", size).save(folder / f"{name}.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:40])
    with wave.open(str(folder / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(range(240)) * 20)
    (folder / "text.wav").write_text("no sound")
    for name, text in (("long.en", "a\nb\n"), ("short.de", "a\n"), ("no.en", ""), ("no.de", "")):
        (folder / name).write_text(text)
    for _, name, content, _, _ in BAD:
        if "," not in name:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for task, (name, content) in GOOD.items():
        (folder / name).write_text(content)
        words = ["train", task, str(folder / name), "--out", str(folder / f"{task}.elman"), *SMALL, *OWN.get(task, [])]
        assert main(words) == 0
    return folder


@pytest.mark.parametrize(
    ("task", "name", "said", "verb"),
    [(task, name, said, verb) for task, name, _, said, verbs in BAD for verb in verbs.split()],
)
def test_one_sentence_before_anything_is_trained(task: str, name: str, said: str, verb: str, run: Run) -> None:
    if verb in ("valid", "test"):
        words = ["train", task, GOOD[task][0], "--out", "OUT", *SMALL, *OWN.get(task, []), f"--{verb}", name]
    else:
        words = [verb, f"{task}.elman", name]
    out, err = run(*words, code=2)
    assert said in err
    assert name.split(",")[0] in err
    assert out == ""
    assert not list(Path().glob("*OUT*"))
    assert not list(Path().glob(".*OUT*"))


def test_a_back_test_that_is_longer_than_the_series_says_what_it_needs(run: Run) -> None:
    _, err = run("evaluate", "forecast.elman", "days.csv", "--steps", "10000", code=2)
    assert "has 60 values, but 10,012 are needed: the model's lookback of 12 and 10,000 to be judged" in err
    run("evaluate", "forecast.elman", "days.csv")


def test_a_known_input_that_is_missing_before_what_is_judged_is_filled(run: Run) -> None:
    """By the last one before: day 20 has what day 19 had."""
    early = days(hole=20)
    Path("early.csv").write_text(early)
    Path("filled.csv").write_text(early.replace("2024-01-21,0.913,", "2024-01-21,0.913,1"))
    assert Path("filled.csv").read_text() != early
    found = [
        run("evaluate", "forecast.elman", name, "--steps", "36", "--json")[0] for name in ("early.csv", "filled.csv")
    ]
    assert found[0] == found[1]
