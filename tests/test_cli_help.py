"""The command line without training: help, wrong words, options and their files, cells, the doors of the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import elman
from elman.cli import app, main
from elman.cli.options import KINDS, NOT_IN_FILES, value, values
from elman.cli.tasks import TASKS
from elman.errors import OptionError
from elman.models.options import OPTIONS, fields


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that a wrong command line is answered with."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("elman: ")
    assert err.count("\n") == 1
    return err[7:-1]


@pytest.mark.parametrize("words", [(), ("--help",), ("train",), ("train", "--help")])
def test_help_names_the_verbs(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    known = list(TASKS) if "train" in words else ["train", "evaluate", "predict", "generate", "info", "cells", "demo"]
    assert all(re.search(rf"│ {name} ", out) for name in known)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_an_estimator_is_in_the_help(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", task, "--help"]) == 0
    text = re.sub(r" --no-\S+", "", " ".join(capsys.readouterr().out.replace("│", " ").split()))
    for field in fields(OPTIONS[task]):
        about = re.escape(field.metadata["about"])
        found = re.search(rf"--{field.name.replace('_', '-')} .*?{about}(.{{0,30}})", text)
        assert found, field.name
        if field.default not in (None, False, (), ""):
            assert f"[default: {'yes' if field.default is True else field.default}]" in found[1]
    for title in ("Model", "Training", "Data", "Run"):
        assert f"─ {title} ─" in text


@pytest.mark.parametrize("task", TASKS)
def test_the_estimators_have_these_options(task: str) -> None:
    from elman.models import TASKS as ESTIMATORS

    assert set(ESTIMATORS[task].option_names()) == {field.name for field in fields(OPTIONS[task])}
    assert ESTIMATORS[task]().get_params() == {field.name: field.default for field in fields(OPTIONS[task])}
    for option in TASKS[task].options().values():
        assert option.kind.removesuffix(" | None") in KINDS
    doc = ESTIMATORS[task].__doc__ or ""
    assert all(f"{field.name}: {field.metadata['about']}" in doc for field in fields(OPTIONS[task]))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == elman.__version__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian x", "there is no verb 'trian' (did you mean train?)"),
        ("--foo", "there is no verb '--foo'; known: train,"),
        ("train clasify x", "train has no task 'clasify' (did you mean classify?)"),
        ("train classify", "DATA is missing; `elman train classify --help`"),
        ("evaluate m", "DATA is missing"),
        ("info", "MODEL is missing"),
        ("train language-model", "a text to learn from is missing"),
        ("train classify a b", "one argument too many: 'b'"),
        ("train classify a --hiden-size 3", "there is no option --hiden-size (did you mean --hidden-size?)"),
        ("train language-model a --bidirectional", "there is no option --bidirectional"),
        ("train classify a --lr", "--lr needs a value after it"),
        ("train classify a --lr 1 --lr 2", "--lr is given more than once"),
        ("train classify a --lower=maybe", "--lower must be true or false, not 'maybe'"),
        ("train classify a --lr fast", "--lr must be a number, not 'fast'"),
        ("train classify a --epochs 1.5", "--epochs must be a whole number, not '1.5'"),
        ("train classify a --clip-norm x", "--clip-norm must be a number, or none, not 'x'"),
        ("train classify a --head-sizes 3,x", "--head-sizes must be whole numbers such as 64,32, not '3,x'"),
        ("train classify a --class-weight spam=3,ham", "--class-weight must be balanced, or weights"),
        ("train classify a --lr nan", "--lr must be a number above 0"),
        ("train classify a --hidden-size 0", "--hidden-size must be a whole number, 1 or more"),
        ("train classify a --cell lsmt", "unknown cell 'lsmt' (did you mean 'lstm'?)"),
        ("train classify a --optimizer adm", "--optimizer is 'adm'"),
        ("train classify a --threads 0", "--threads must be from 1 to 1024, not 0"),
        ("train classify a --device tpu9", "--device 'tpu9' cannot be used"),
        ("train classify a", "there is no file a"),
        ("train classify a --out missing/m", "there is no folder missing"),
        ("train classify a --out .", "is a folder; name the file"),
        ("train classify a --out /dev/null --overwrite", "is no regular file"),
        ("train classify a --resume --overwrite", "there is no file a"),
        ("train classify made:parity --resume", "there is no run to resume in classify.elman.run"),
        ("train classify made:parity --resume --overwrite", "give one of them"),
        ("train classify made:pairty", "there is no made task made:pairty (did you mean 'parity'?)"),
        ("train classify made:copy", "made:copy is made for tag, not for classify"),
        ("train classify made:adding", "made:adding is made for regress, not for classify"),
        ("train language-model made:parity", "made:parity is no text"),
        ("train classify made:parity --length 9-x", "--length must be a number such as 20, or two as 1-20"),
        ("train classify made:parity --count 0", "make at least one"),
        ("train classify made:parity --columns a,b", "--columns is for CSV and TSV"),
        ("train classify a --config nope.toml", "--config: there is no file nope.toml"),
        ("generate nope --prompt -x", "cannot load 'nope': there is no such file"),
        ("predict nope -", "cannot load 'nope': there is no such file"),
        ("cells lsmt", "unknown cell 'lsmt' (did you mean 'lstm'?)"),
        ("cells --latex", "--latex is for one cell"),
        ("cells lstm --hidden-size 0", "hidden_size must be 1 or more"),
        ("demo --seconds 0", "--seconds must be above 0"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in fails(capsys, *words.split())
    assert list(tmp_path.iterdir()) == []


def test_options_of_a_file_give_way_to_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "o.toml"
    path.write_text('hidden-size = 12\nclip_norm = "none"\nlr = 1\nquiet = true\nhead-sizes = [4, 3]\ncell = ["gru"]\n')
    options = TASKS["classify"].options()
    chosen = values(options, {"config": str(path), "hidden_size": "7", "epochs": None})
    assert chosen == {
        "hidden_size": 7, "clip_norm": None, "lr": 1.0, "quiet": True, "head_sizes": (4, 3), "cell": "gru",
        "config": str(path),
    }  # fmt: skip
    path.write_text("[class_weight]\nspam = 2\n")
    assert values(options, {"config": str(path)})["class_weight"] == {"spam": 2.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hiden-size = 3", "sets 'hiden-size', which is no option (did you mean 'hidden-size'?)"),
        ("bptt = 3", "sets 'bptt', which is no option"),
        ("resume = true", "sets 'resume', which is no option"),
        ("hidden-size = 3\nhidden_size = 4", "sets 'hidden_size' twice"),
        ("hidden-size = '3x'", "--hidden-size must be a whole number, not '3x'"),
        ("hidden-size = true", "--hidden-size must be a whole number, not True"),
        ("lower = 1", "--lower must be true or false, not 1"),
        ("cell = 3", "--cell must be a cell"),
        ("lr = [1]", "--lr must be a number, not [1]"),
        ("= 3", "is not TOML"),
    ],
)
def test_a_wrong_file_of_options_gets_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "o.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=re.escape(said)):
        values(TASKS["classify"].options(), {"config": str(path)})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("clip_norm", "none", None),
        ("clip_norm", "0.25", 0.25),
        ("patience", "none", None),
        ("cell", "lstm", "lstm"),
        ("cell", "gru, lstm", ["gru", "lstm"]),
        ("head_sizes", "64,32", (64, 32)),
        ("head_sizes", "none", ()),
        ("class_weight", "balanced", "balanced"),
        ("class_weight", "a=b=2,c=0.5", {"a=b": 2.0, "c": 0.5}),
        ("seed", "1_000", 1000),
    ],
)
def test_values_of_options(name: str, text: str, expected: Any) -> None:
    assert value(TASKS["classify"].options()[name], text) == expected


def test_the_command_line_alone_decides_where_a_run_goes_on() -> None:
    assert {"resume", "overwrite", "config"} == set(NOT_IN_FILES)


def test_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "--input-size", "3", "--hidden-size", "4"]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^lstm +h, c +i, f, g, o +128  Hochreiter", table, re.MULTILINE)  # 4 (4 (3 + 4) + 4)
    assert main(["cells", "lstm"]) == 0
    one = capsys.readouterr().out
    assert "c' = f ∘ c + i ∘ g" in one
    assert "Saved for the backward step" in one
    assert main(["cells", "gru", "--latex"]) == 0
    assert r"\begin{align*}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "given", "found"),
    [("cells", {}, ("PASSIVE", "10000")), ("cells", {"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
     ("cells", {"GOMP_SPINCOUNT": "7"}, ("PASSIVE", "7")), ("bench", {}, (None, None))],
)  # fmt: skip
def test_how_long_threads_spin(
    verb: str, given: dict[str, str], found: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment, where the user does not say otherwise; `bench` leaves torch as it is."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # what is set now is taken back at the end
        monkeypatch.delenv(name)
    for name, value_of in given.items():
        monkeypatch.setenv(name, value_of)
    assert main([verb, "--help"]) == 0
    assert (os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")) == found


def test_doors() -> None:
    assert set(elman.__all__) <= set(dir(elman))
    from elman import nn

    assert elman.explain is nn.explain
    assert elman.LanguageModel.task == "language-model"
    assert elman.cells.CATALOGUE["lstm"].name == "lstm"
    assert callable(elman.load)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        elman.lode  # noqa: B018


def test_failures_of_the_machine_are_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(error: BaseException) -> Any:
        def act(*_: Any) -> None:
            raise error

        return lambda module, name: act

    cases: list[tuple[BaseException, int, str]] = [
        (MemoryError(), 2, "the memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "torch could not allocate"),
        (OSError(28, "No space left on device", "x"), 2, "no space left on device: x"),
        (PermissionError(13, "Permission denied", "y"), 2, "permission denied: y"),
        (ModuleNotFoundError("no", name="torch"), 2, "this needs torch, which is not installed"),
        (KeyboardInterrupt(), 130, "stopped"),
    ]
    for error, code, said in cases:
        monkeypatch.setattr(app, "_lazy", raising(error))
        assert main(["info", "m"]) == code
        err = capsys.readouterr().err
        assert said in err
        assert "Traceback" not in err
    monkeypatch.setattr(app, "_lazy", raising(RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["info", "m"])


def test_without_the_training_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.delitem(sys.modules, "elman.cli.app")
    assert main(["--help"]) == 2
    assert "pip install 'elman[train]'" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from elman.cli import main; sys.exit(main(['cells']))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        run = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (141, "")
