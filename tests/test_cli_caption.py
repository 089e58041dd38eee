"""`caption` on the command line: made scenes and lists of files, judged, used, drawn; bad files and options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from elman.cli import main
from elman.data.scenes import make_scenes

Run = Callable[..., tuple[str, str]]
SMALL = ["--hidden-size", "8", "--embedding-size", "6", "--channels", "4", "--epochs", "1", "--beam-size", "1"]
pillow = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a list of them and a model."""
    folder = tmp_path_factory.mktemp("caption")
    scenes = make_scenes(12, 1, size=16, most=1)
    for k, image in enumerate(scenes.columns["image"]):
        pillow.fromarray(image).save(folder / f"{k}.png")
    rows = "".join(f"{k}.png\t{text}\n" for k, text in enumerate(scenes.columns["caption"]))
    (folder / "list.tsv").write_text(f"image\tcaption\n{rows}")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    pillow.new("RGB", (17, 16)).save(folder / "wide.png")
    for name, row in (("cut", "cut.png\tx"), ("wide", "wide.png\tx"), ("empty", "1.png\t"), ("gone", "no.png\tx")):
        (folder / f"{name}.tsv").write_text(f"image\tcaption\n0.png\ta\n{row}\n")
    words = ["train", "caption", str(folder / "list.tsv"), "--out", str(folder / "m.elman"), "--quiet", *SMALL]
    assert main(words) == 0
    return folder


def test_what_a_model_says_of_files(run: Run) -> None:
    assert set(json.loads(run("evaluate", "m.elman", "list.tsv", "--json")[0])) == {
        "loss", "perplexity", "accuracy", "error_rate", "bleu",
    }  # fmt: skip
    out, _ = run("predict", "m.elman", "list.tsv", "--picture", "seen.png")
    first = json.loads(out.splitlines()[0])
    assert (set(first), first["image"]) == ({"image", "caption", "log_probability"}, "0.png")
    assert Path("seen.png").read_bytes().startswith(b"\x89PNG\r\n")
    Path("some").mkdir(exist_ok=True)
    for name in ("0.png", "3.png"):
        (Path("some") / name).write_bytes(Path(name).read_bytes())
    records = [json.loads(line) for line in run("predict", "m.elman", "some")[0].splitlines()]
    assert [record["image"] for record in records] == [str(Path("some") / name) for name in ("0.png", "3.png")]
    assert "some has no column 'caption'" in run("evaluate", "m.elman", "some", code=2)[1]
    assert "0.png is a picture, which `elman train caption` reads" in run("train", "classify", "some", code=2)[1]
    out, _ = run("predict", "m.elman", "3.png", "--n-best", "2", "--beam-size", "3")
    assert len(json.loads(out)["outputs"]) == 2


def test_made_clips_and_what_is_said_of_a_training(run: Run) -> None:
    out, err = run(
        "train", "caption", "made:clips", "--count", "20", "--test", "made:new-clips", "--out", "c.elman", *SMALL
    )
    assert "training a captioner on 20 pictures: lstm 8" in err
    assert "clips of 48 x 48 x 3, writes words and signs (" in out
    assert "made:clips; 2 made of their own" in out
    assert "elman predict c.elman made:new-clips --picture captions.png" in out
    assert "decoder layer 0: lstm, 6 in, 8 units, forward" in run("info", "c.elman")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "caption", "cut.tsv"], "cut.tsv, line 3: cut.png cannot be read as a picture"),
        (["train", "caption", "wide.tsv"], "wide.tsv, line 3: the shape is (16, 17, 3), but the model reads (16, 16"),
        (["train", "caption", "empty.tsv"], "empty.tsv, line 3: a caption is "),
        (["train", "caption", "gone.tsv"], "gone.tsv, line 3: there is no file no.png"),
        (["train", "caption", "list.tsv", "--target", "text"], "list.tsv has no column 'text'"),
        (["train", "caption", "list.tsv", "--count", "9"], "--count is for made data"),
        (["train", "caption", "made:parity"], "made:parity holds no pictures"),
        (["train", "classify", "made:scenes"], "made:scenes is made for caption, not for classify"),
        (["train", "caption", "list.tsv", "--reads", "clip"], "the first input has the shape (16, 16, 3), but --reads"),
        (["evaluate", "m.elman", "made:scenes", "--length", "3"], "--length is not for made pictures"),
        (["predict", "m.elman", "wide.png"], "the shape is (16, 17, 3), but the model reads (16, 16, 3)"),
        (["predict", "m.elman", "0.png", "--probabilities"], "--probabilities is for a classifier of sequences"),
    ],
)
def test_bad_command_lines_get_one_sentence(run: Run, words: list[str], said: str) -> None:
    _, err = run(*words, code=2)
    assert said in err
    assert not Path("caption.elman").exists()
