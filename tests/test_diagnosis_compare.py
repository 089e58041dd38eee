"""Models side by side, on the command line and in Python: names, the table, runs, and one sentence for each mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import elman
from elman.cli.app import run
from elman.cli.compare import unique
from elman.diagnosis import Report, Sampling
from elman.errors import OptionError
from elman.nn import Recurrent
from elman.training import observer

TEXT = 'he said "so it goes" and went on\n' * 8
QUICK = Sampling(sequences=2, ends=3, vectors=2, places=2, exponents=2, shown=1)
WORDS = ("--steps", "12", "--sequences", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two language models with the runs that trained them, a third without, a classifier, a text."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "t.txt").write_text(TEXT, encoding="utf-8")
    (folder / "b").mkdir()
    sizes: dict[str, Any] = {"hidden_size": 6, "embedding_size": 4, "batch_size": 2, "bptt": 10, "epochs": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observer, "SHARE", 1e9)
        for name, cell in (("m.elman", "rnn"), ("b/m.elman", "lstm")):
            model = elman.LanguageModel(cell=cell, diagnose=2, **sizes).fit(TEXT, folder=folder / f"{name}.run")
            model.save(folder / name)
    elman.LanguageModel(**sizes | {"epochs": 1}).fit(TEXT, folder=folder / "plain.elman.run").save(
        folder / "plain.elman"
    )
    words = ["a b", "b a", "a a", "b b"] * 4
    classifier = elman.SequenceClassifier(hidden_size=4, embedding_size=3, epochs=1)
    classifier.fit(words, [text[0] for text in words]).save(folder / "other.elman")
    return folder


@pytest.fixture
def line(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command line in the folder: (its exit code, what it printed, what it complained of)."""
    monkeypatch.chdir(folder)

    def act(*words: str) -> tuple[int, str, str]:
        code = run(words)
        return (code, *capsys.readouterr())

    return act


def test_two_models_on_data(line: Callable[..., Any], tmp_path: Path) -> None:
    page, numbers = tmp_path / "c.html", tmp_path / "c.json"
    code, out, err = line(
        "compare", "m.elman", "b/m.elman", "t.txt", *WORDS, "--out", str(page), "--json", str(numbers)
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["m.elman", "b/m.elman"], "as much of the path as tells them apart"
    for row in (
        "  cell +rnn 6 +lstm 6",
        "  dead units +0 +0",
        "  memory while it learned +[0-9]+ → [0-9]+ +[0-9]+ → [0-9]+",
    ):
        assert re.search(f"^{row}$", out, re.MULTILINE), row
    plain = json.loads(numbers.read_text(encoding="utf-8"))
    assert list(plain) == ["m.elman", "b/m.elman"]
    reports = {name: Report.from_json(json.dumps(one)) for name, one in plain.items()}
    assert [one.layers[0].cell for one in reports.values()] == ["rnn", "lstm"]
    assert all(one.learning for one in reports.values())
    assert elman.compare(reports).summary() == out.rstrip("\n")
    assert page.read_bytes() == elman.compare(reports).html()


def test_the_numbers_are_those_of_diagnose(line: Callable[..., Any], tmp_path: Path) -> None:
    both, alone = tmp_path / "c.json", tmp_path / "d.json"
    assert line("compare", "m.elman", "plain.elman", "t.txt", *WORDS, "--json", str(both))[0] == 0
    assert line("diagnose", "m.elman", "t.txt", *WORDS, "--json", str(alone))[0] == 0
    first, second = json.loads(both.read_bytes())["m.elman"], json.loads(alone.read_bytes())
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_models_of_letters_and_of_words(line: Callable[..., Any], folder: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 4, "embedding_size": 3, "batch_size": 2, "bptt": 5, "epochs": 1}
    elman.LanguageModel(level="word", **sizes).fit(TEXT).save(folder / "words.elman")
    code, _, err = line("compare", "plain.elman", "words.elman", "t.txt", *WORDS)
    assert code == 0
    assert "the models read different tokens (char, word)" in err


def test_runs_alone(line: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    code, out, err = line("compare", "m.elman.run", "b/m.elman.run/", "--out", str(page))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["m.elman.run", "b/m.elman.run"]
    assert out.count("→") == 2
    assert b"a training run" in page.read_bytes()


def test_a_run_stands_for_its_model(line: Callable[..., Any]) -> None:
    code, out, _ = line("compare", "m.elman.run", "plain.elman", "t.txt", *WORDS)
    assert code == 0
    assert out.split()[:2] == ["m.elman.run", "plain.elman"]
    assert "rnn 6" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "compare takes two models or more and then the data, elman compare A B DATA, or the folders"),
        ("m.elman t.txt", "compare takes two models or more"),
        ("m.elman.run", "compare takes two models or more"),
        (
            "m.elman other.elman t.txt",
            "models of one task, but m.elman is a language model and other.elman a classifier",
        ),
        ("m.elman none.elman t.txt", "cannot load 'none.elman': there is no such file"),
        ("m.elman b/m.elman none.txt", "there is no file none.txt"),
        ("m.elman t.txt b/m.elman", "cannot load 't.txt'"),
        ("m.elman b/m.elman -", "standard input comes once"),
        ("m.elman b/m.elman t.txt --steps 0", "--steps must be a whole number, 1 or more, not 0"),
        ("m.elman b/m.elman t.txt --pictures t.txt", "--pictures t.txt is a file"),
        ("m.elman b/m.elman t.txt --pictures no/p", "--pictures no/p: there is no folder no"),
        ("m.elman b/m.elman t.txt --json no/p", "--json no/p: there is no folder no"),
        ("m.elman.run b/m.elman.run --steps 3", "--steps is for models on data"),
        ("m.elman.run plain.elman.run", "the gradient was not looked at in plain.elman.run; train with --diagnose"),
        ("lost.run b/m.elman t.txt", "its model is not beside it"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, said: str, line: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    lost = folder / "lost.run"
    lost.mkdir(exist_ok=True)
    (lost / "log.jsonl").write_bytes(b"")
    code, out, err = line("compare", *words.split(), "--out", str(tmp_path / "c.html"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_names_are_unique() -> None:
    assert unique(["a/x", "y"]) == ["x", "y"]
    assert unique(["a/m", "b/m", "c/d/n"]) == ["a/m", "b/m", "d/n"]
    assert unique(["m", "a/m"]) == ["m", "a/m"]
    assert unique(["m", "m", "m"]) == ["m", "m (2)", "m (3)"]


def test_from_python() -> None:
    x = torch.randn(6, 2, 3)
    reports = {
        "deep": elman.diagnose(Recurrent("gru", 3, 4, 2, bidirectional=True), x, sampling=QUICK),
        "flat": elman.diagnose(Recurrent("rnn", 3, 5), x, sampling=QUICK),
    }
    text = elman.compare(reports).summary()
    layers = [row for row in text.splitlines() if row.startswith("layer")]
    assert [row.split("  ")[0] for row in layers] == [
        f"layer {k} ({way})" for k in (0, 1) for way in ("forward", "backward")
    ]
    cells = [row.split("  ")[-1].strip() for row in text.splitlines() if row.startswith("  cell")]
    assert cells == ["rnn 5", "–", "–", "–"], "a layer that one has alone"
    with pytest.raises(OptionError, match="no report"):
        elman.compare({})
    wrong: Any = {"a": "report"}
    with pytest.raises(OptionError, match="not str"):
        elman.compare(wrong)
