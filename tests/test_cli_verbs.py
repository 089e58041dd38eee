"""The command line at work: train, judge, use; the user's bad files; what is on the disk afterwards."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elman.cli import main
from elman.cli.options import values
from elman.cli.tasks import TASKS
from elman.runtime import load

Run = Callable[..., tuple[str, str]]
SMALL = ["--hidden-size", "8", "--epochs", "1", "--quiet"]
TEXT = "to be or not to be that is the question\n" * 40
ROWS = "".join(f'"{a} {b}, ok",{"up" if a < b else "down"}\n' for a in "abcd" for b in "abcd" if a != b) * 4
SENTENCES = """{"tokens": ["The", "dog", "barks"], "tags": ["DET", "NOUN", "VERB"]}
{"tokens": ["A", "cat"], "tags": ["DET", "NOUN"]}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and a small model of each task."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(TEXT)
    (folder / "rows.csv").write_text("text,label\n" + ROWS)
    (folder / "tagged.jsonl").write_text(SENTENCES * 10)
    for task, data in (("language-model", "text.txt"), ("classify", "rows.csv"), ("tag", "tagged.jsonl")):
        words = ["train", task, str(folder / data), "--out", str(folder / f"{task}.elman"), *SMALL]
        assert main(words) == 0
    return folder


def test_training_says_what_was_chosen_and_where_it_lies(run: Run, models: Path) -> None:
    valid = ["--valid", str(models / "rows.csv"), "--test", str(models / "rows.csv")]
    out, err = run(
        "train",
        "classify",
        str(models / "rows.csv"),
        *valid,
        "--hidden-size",
        "8",
        "--epochs",
        "2",
        "--clip-norm",
        "none",
    )
    assert "epoch 2/2" in err
    assert "training a classifier" in err
    for part in (
        "lstm 8 in both directions",
        "gives 2 labels",
        "epochs 2",
        "accuracy",
        "test ",
        "next\n  elman evaluate",
    ):
        assert part in out
    assert "clip norm" not in out
    here = Path()
    assert {p.name for p in here.iterdir()} == {"classify.elman", "classify.elman.run"}
    assert (here / "classify.elman.run" / "learning-curve.png").read_bytes()[:4] == b"\x89PNG"
    lines = (here / "classify.elman.run" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["validation"]["accuracy"] >= 0


def test_options_are_told_as_they_are_typed(run: Run, folder: Path) -> None:
    (folder / "two.csv").write_text("text,label\n" + "ab,x\ncd,y\n" * 8)
    typed = ["--zoneout", "h=0.1,c=0.2", "--head-sizes", "8,4", "--class-weight", "x=2,y=1"]
    words = ["two.csv", *typed, "--epochs", "1", "--hidden-size", "3", "--out", "m.elman", "--quiet"]
    for told in (run("train", "classify", *words)[0], run("info", "m.elman")[0]):
        assert "zoneout h=0.1,c=0.2 " in told
        assert "head sizes 8,4 " in told
        assert re.search(r"class weight x=2(\.0)?,y=1(\.0)?\b", told)


def test_a_model_is_not_replaced_unasked(run: Run, models: Path) -> None:
    words = ["train", "language-model", str(models / "text.txt"), "--out", "m", *SMALL]
    run(*words)
    before = Path("m").read_bytes()
    assert "m is already there; pass --resume to go on with its run, --overwrite" in run(*words, code=2)[1]
    _, err = run(*words, "--overwrite", "--hidden-size", "9", code=2)
    assert "--hidden-size is given more than once" in err
    assert Path("m").read_bytes() == before
    run(*words, "--overwrite", "--seed", "1")
    assert Path("m").read_bytes() != before
    run(*words, "--resume", "--seed", "1")  # a finished run: nothing more to do
    _, err = run(*words, "--resume", "--seed", "2", code=2)
    assert "seed was 1 and is now 2" in err
    Path("m.run", "letter.txt").write_text("dear")
    assert "holds 'letter.txt', which no run wrote" in run(*words, "--overwrite", code=2)[1]
    assert sorted(p.name for p in Path().iterdir()) == ["m", "m.run"]


def test_a_failed_overwrite_brings_the_old_run_back(run: Run, models: Path) -> None:
    words = ["train", "classify", str(models / "rows.csv"), "--out", "m", *SMALL]
    run(*words)
    files = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    Path("bad.csv").write_text("text,label\nx,sideways\n")
    assert "unknown label 'sideways'" in run(*words, "--overwrite", "--valid", "bad.csv", code=2)[1]
    Path("bad.csv").unlink()
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == files


def test_evaluate_and_info(run: Run, models: Path) -> None:
    for task, data, figure in (
        ("language-model", "text.txt", "bits_per_character"),
        ("classify", "rows.csv", "accuracy"),
        ("tag", "tagged.jsonl", "accuracy"),
    ):
        model = str(models / f"{task}.elman")
        figures = json.loads(run("evaluate", model, str(models / data), "--json")[0])
        assert figures[figure] >= 0
        assert f"{figures['loss']:.4f}" in run("evaluate", model, str(models / data))[0]
        about, _ = run("info", model)
        assert "c' = f ∘ c + i ∘ g" in about
        assert json.loads(run("info", model, "--json")[0])["task"] == task


def test_predict(run: Run, models: Path) -> None:
    out, _ = run("predict", str(models / "classify.elman"), "-", stdin="a b, ok\n\nd c, ok\n")
    records = [json.loads(line) for line in out.splitlines()]
    assert [sorted(r) for r in records] == [["label", "probability"]] * 2
    same, _ = run("predict", str(models / "classify.elman"), "-", stdin='{"text": "a b, ok"}\n{"text": "d c, ok"}')
    assert same == out
    out, _ = run("predict", str(models / "classify.elman"), str(models / "rows.csv"), "--probabilities")
    assert all(
        sum(json.loads(line)["probabilities"].values()) == pytest.approx(1, abs=1e-5) for line in out.splitlines()
    )
    out, _ = run("predict", str(models / "tag.elman"), "-", stdin="The dog barks.\n")
    assert json.loads(out)["tokens"] == ["The", "dog", "barks", "."]
    assert set(json.loads(out)["tags"]) <= {"DET", "NOUN", "VERB"}
    out, _ = run("predict", str(models / "language-model.elman"), "-", stdin="to be\n")
    assert json.loads(out)["perplexity"] > 1
    assert json.loads(out)["log_probability"] < 0


def test_predict_writes_a_file_whole_or_not_at_all(run: Run, models: Path) -> None:
    Path("out.jsonl").write_text("before")
    words = ["predict", str(models / "classify.elman"), "-", "--out", "out.jsonl"]
    run(*words, code=2, stdin='{"text": 3}')
    assert Path("out.jsonl").read_text() == "before"
    assert run(*words, stdin="a b, ok")[0] == ""
    assert json.loads(Path("out.jsonl").read_text())["label"] in ("up", "down")
    assert [p.name for p in Path().iterdir()] == ["out.jsonl"]


def test_plain_lines_are_read_under_the_column_of_the_model(run: Run) -> None:
    Path("names.tsv").write_text("Ada\tEnglish\nKurt\tGerman\nJoan\tEnglish\nEmmy\tGerman\n" * 3)
    columns = ["--columns", "name,language", "--input", "name", "--target", "language"]
    run("train", "classify", "names.tsv", *columns, *SMALL)
    out, _ = run("predict", "classify.elman", "-", stdin="Alan\n")
    assert json.loads(out)["label"] in ("English", "German")
    assert "loss" in run("evaluate", "classify.elman", "names.tsv", "--columns", "name,language")[0]
    _, err = run("evaluate", "classify.elman", "names.tsv", "--columns", "a,b", code=2)
    assert "has no column 'name'" in err


def test_generate_streams_the_text_of_the_api(run: Run, models: Path) -> None:
    from elman.models import LanguageModel

    path = str(models / "language-model.elman")
    how: dict[str, Any] = {"length": 30, "temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 3}
    words = [w for name, v in how.items() for w in (f"--{name.replace('_', '-')}", str(v))]
    out, err = run("generate", path, "--prompt", "to ", *words)
    assert out == LanguageModel.load(path).generate("to ", **how) + "\n"
    assert err == ""
    assert "the model never saw 'Z'" in run("generate", path, "--prompt", "Z", "--length", "3")[1]
    out, err = run("generate", path, "--prompt", "to ", "--temperature", "-1", code=2)
    assert "--temperature must be a number, 0 or more" in err
    assert out == ""  # not even the prompt


def test_words_are_written_with_the_spaces_of_the_api(run: Run) -> None:
    from elman.models import LanguageModel

    Path("text.txt").write_text("to be, or not (to be): that is the question.\n" * 20)
    run("train", "language-model", "text.txt", "--level", "word", "--out", "w", *SMALL)
    out, _ = run("generate", "w", "--prompt", "to be,", "--length", "25", "--seed", "1")
    assert out == LanguageModel.load("w").generate("to be,", 25, seed=1) + "\n"


def test_made_data_to_learn_from_and_to_judge_by_differ(run: Run) -> None:
    made = ["--length", "3-5", "--count", "60"]
    out, _ = run("train", "classify", "made:parity", *made, "--test", "made:parity", *SMALL)
    assert "made:parity; 6 made of their own" in out
    run("train", "tag", "made:copy", "--length", "2", "--count", "20", *SMALL)
    out, _ = run("evaluate", "classify.elman", "made:parity", "--length", "30", "--count", "50", "--json")
    assert 0 <= json.loads(out)["accuracy"] <= 1
    from elman.cli.sources import Reading

    parts = [
        Reading(length="20-20", count=50).table("made:parity", part).columns["text"]
        for part in ("train", "valid", "test")
    ]
    assert not set(parts[0]) & set(parts[1]) | set(parts[1]) & set(parts[2]) | set(parts[0]) & set(parts[2])


BAD: list[tuple[str, bytes, list[str], str]] = [
    ("empty.csv", b"", [], "empty.csv is empty"),
    ("header.csv", b"text,label\n", [], "holds no records but its header"),
    ("column.csv", b"text,lable\na,b\n", [], "has no column 'label' (did you mean 'lable'?)"),
    ("ragged.csv", b"text,label\na,b\na,b,c\n", [], "line 3: expected 2 fields, as the header has, got 3"),
    ("nul.csv", b"text,label\na\0b,c\n", [], "line 2: there is a NUL byte"),
    ("latin.csv", b"text,label\ncaf\xe9,c\n", [], "line 2, byte 4 of the line"),
    ("one.csv", b"text,label\na,b\nc,b\n", [], "all labels are 'b'"),
    ("quote.csv", b'text,label\n"a,b\n', [], "line 2: the record that begins here has a double quote"),
    ("bad.gz.csv.gz", b"text", [], "is not a whole gzip file"),
    ("strange.xyz", b"text", [], "says no known format"),
    ("broken.jsonl", b'{"text": "a", "label": "b"}\n{"text": ', [], "line 2: not valid JSON"),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--encoding", "klingon"], "'klingon' is not a text encoding"),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--errors", "rplace"], "did you mean 'replace'?"),
    (
        "other.csv",
        b"text,label\na,b\nc,d\n",
        ["--valid-fraction", "1"],
        "--valid-fraction must be a number from 0 to below 1",
    ),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--length", "3"], "--length is for made data"),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--valid", "nope.csv"], "there is no file nope.csv"),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--test", "nope.csv"], "there is no file nope.csv"),
    ("other.csv", b"text,label\na,b\nc,d\n", ["--embeddings", "nope.txt"], "there is no file nope.txt"),
]


@pytest.mark.parametrize(("name", "content", "words", "said"), BAD, ids=lambda v: v if isinstance(v, str) else None)
def test_bad_files_get_one_sentence_and_leave_nothing(
    name: str, content: bytes, words: list[str], said: str, run: Run
) -> None:
    Path(name).write_bytes(content)
    assert said in run("train", "classify", name, *SMALL, *words, code=2)[1]
    assert [p.name for p in Path().iterdir()] == [name]


def test_bad_texts_and_labels_at_use(run: Run, models: Path) -> None:
    Path("latin.txt").write_bytes(b"caf\xe9")
    model = str(models / "language-model.elman")
    assert "--encoding latin-1" in run("evaluate", model, "latin.txt", code=2)[1]
    run("evaluate", model, "latin.txt", "--encoding", "latin-1")
    run("evaluate", model, "latin.txt", "--errors", "replace")
    Path("up.csv").write_text("text,label\na,up\nb,dwn\n")
    _, err = run("evaluate", str(models / "classify.elman"), "up.csv", code=2)
    assert "up.csv, line 3: unknown label 'dwn' (did you mean 'down'?)" in err
    Path("tags.jsonl").write_text('{"tokens": ["a"], "tags": ["NOWN"]}')
    assert "unknown tag 'NOWN'" in run("evaluate", str(models / "tag.elman"), "tags.jsonl", code=2)[1]
    _, err = run("train", "classify", str(models / "rows.csv"), "--test", "up.csv", *SMALL, code=2)
    assert "up.csv, line 3: unknown label 'dwn'" in err
    assert not Path("classify.elman.run").exists()


def test_models_of_another_task_and_files_that_are_none(run: Run, models: Path) -> None:
    assert (
        "a classifier of sequences, which generates nothing"
        in run("generate", str(models / "classify.elman"), code=2)[1]
    )
    assert (
        "has no column 'text'"
        in run("evaluate", str(models / "classify.elman"), str(models / "tagged.jsonl"), code=2)[1]
    )
    assert (
        "--input names a column"
        in run("evaluate", str(models / "language-model.elman"), "x", "--input", "a", code=2)[1]
    )
    assert (
        "--probabilities is for a classifier"
        in run("predict", str(models / "tag.elman"), "-", "--probabilities", code=2)[1]
    )
    for words in (["info"], ["generate"], ["evaluate"], ["predict"]):
        data = [] if words[0] in ("info", "generate") else ["-"]
        assert "cannot load" in run(*words, str(models / "text.txt"), *data, code=2)[1]
        assert "it is a folder" in run(*words, str(models), *data, code=2)[1]
    cut = (models / "tag.elman").read_bytes()[:-5]
    Path("cut.elman").write_bytes(cut)
    assert "cannot load 'cut.elman'" in run("info", "cut.elman", code=2)[1]


def test_a_line_of_ten_megabytes(run: Run, models: Path) -> None:
    with gzip.open("long.txt.gz", "wb") as file:
        file.write(b"to be or not " * 800_000)
    words = [
        "--epochs",
        "1",
        "--hidden-size",
        "4",
        "--max-seconds",
        "0.01",
        "--valid",
        str(models / "text.txt"),
        "--quiet",
    ]
    out, _ = run("train", "language-model", "long.txt.gz", *words)
    assert "10,400,000 characters" in out
    Path("long.csv").write_text("text,label\n" + "a" * 100_000 + ",x\nb,y\n" * 2)
    run("train", "classify", "long.csv", "--valid-fraction", "0", "--max-seconds", "0.01", *SMALL)


def test_a_folder_that_cannot_be_written_to(run: Run, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: mode == os.R_OK and real(path, mode, **how))
    assert "cannot be written to" in run("train", "classify", str(models / "rows.csv"), *SMALL, code=2)[1]
    assert list(Path().iterdir()) == []


def test_a_loss_that_is_not_finite_keeps_nothing_half_written(run: Run) -> None:
    Path("big.jsonl").write_text('{"text": [1, 1e38], "label": "a"}\n{"text": [-1e38, 3e38], "label": "b"}\n' * 4)
    words = "--lr 1e30 --optimizer sgd --cell rnn_identity --clip-norm none --hidden-size 4 --epochs 50 --batch-size 2"
    _, err = run("train", "classify", "big.jsonl", *words.split(), "--quiet", code=2)
    assert "at step" in err
    assert not Path("classify.elman").exists()


def test_a_model_says_what_it_was_trained_with(run: Run, models: Path) -> None:
    Path("o.toml").write_text("hidden-size = 5\nepochs = 1\nquiet = true\nnum-layers = 2\ncell = ['gru', 'rnn']\n")
    run("train", "language-model", str(models / "text.txt"), "--config", "o.toml", "--hidden-size", "6")
    document, _ = load("language-model.elman")
    assert document.options["hidden_size"] == 6
    assert [layer.cell.name for layer in document.networks["recurrent"]] == ["gru", "rnn"]


def test_the_quick_start_page_keeps_its_word(run: Run) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "quick-start.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    exec(compile(code, "quick-start.md", "exec"), {})
    (config,) = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    Path("names.toml").write_text(config)
    assert values(TASKS["classify"].options(), {"config": "names.toml"})["cell"] == ["gru", "lstm"]
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    commands = re.findall(r"\belman ((?:train [a-z-]+|[a-z]+)) ([^#|\n]*)", shell)
    assert len(commands) >= 9
    for verb, rest in commands:
        out, _ = run(*verb.split(), "--help")
        assert all(flag in out for flag in re.findall(r"--[a-z-]+", rest)), (verb, rest)
