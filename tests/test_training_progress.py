"""What is shown: plain lines, the bar, the time left; the learning curve is a picture with something in it."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from elman.errors import DataError
from elman.training import Progress, Summary, TrainingOptions, fit, learning_curve
from elman.training.pace import Pace
from elman.training.progress import Bar, Lines, Report, clock, folded, singular
from elman.training.state import Position
from training_small import Small

REPORT = Report(
    step=1200, epoch=2, epochs=10, done=0.12, unit="characters", loss=1.5, gradient_norm=0.25, rate=1e-3,
    units_per_second=81234.0, seconds=9.0, seconds_left=66.0,
)  # fmt: skip


def test_plain_lines() -> None:
    stream = io.StringIO()
    lines = Progress.auto(stream)
    assert isinstance(lines, Lines)
    assert 1 <= lines.seconds <= 30
    lines.start(10)
    lines.step(REPORT)
    lines.validated(REPORT, {"loss": 1.25, "accuracy": 0.5}, True)
    lines.stop(Summary(1200, 2, 61.0, {"loss": 1.25}, 1200, {}, "time"))
    assert stream.getvalue().splitlines() == [
        "epoch 2/10 · step 1,200 · loss 1.5000 · 2.164 bits per character · 81,234 characters/s · "
        "gradient norm 0.25 · 1:06 left",
        "epoch 2/10 · step 1,200 · training loss 1.5000 · validation loss 1.2500 (1.803 bits per character) · "
        "accuracy 0.5000 · best so far",
        "trained 1,200 steps in 1:01: the time is up; best at step 1,200: loss 1.2500",
    ]  # fmt: skip


def test_a_run_shows_lines_on_stderr_only(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Small(figures=[2.0, 1.0]), TrainingOptions(epochs=2), progress=Lines(seconds=0.0))
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert sum("· loss" in line and "characters/s" in line and "left" in line for line in lines) == 6
    assert sum("validation loss" in line for line in lines) == 2
    assert lines[-1].startswith("trained 6 steps in 0:00: all epochs are done; best at step 6")


def test_silent_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Small(figures=[1.0]), TrainingOptions(epochs=1), progress=Progress.auto(quiet=True))
    fit(Small(figures=[1.0]), TrainingOptions(epochs=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("width", [60, 120])
def test_the_bar_shows_the_figures(width: int) -> None:
    from rich.console import Console

    stream = io.StringIO()
    bar = Bar(console=Console(file=stream, force_terminal=True, width=width, highlight=False))
    bar.start(10)
    bar.note("resumed from [here]")
    bar.step(REPORT)
    bar.validated(REPORT, {"loss": 1.25}, False)
    bar.stop(None)
    text = " ".join(stream.getvalue().split())
    shown = ("[here]", "epoch 2/10", "12 %", "2.164 bits per", "81,234", "norm 0.25", "1:06 left", "validation loss")
    assert [part for part in shown if part not in text] == []
    assert "\x1b[?25h" in text  # the cursor is back


@pytest.mark.parametrize(("width", "count"), [(120, 1), (80, 2), (40, 3), (5, 5)])
def test_a_narrow_terminal_breaks_no_figure(width: int, count: int) -> None:
    made = folded(REPORT.figures(), width).split("\n")
    assert len(made) == count
    assert " · ".join(made) == REPORT.figures()
    assert all(len(line) <= width or " · " not in line for line in made)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_bar_or_lines_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Progress.auto(Terminal()), Bar)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(Progress.auto(Terminal()), Lines)


def test_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("elman.training.pace.time.perf_counter", lambda: now[0])

    def left(max_seconds: float | None, before: float) -> tuple[float | None, float]:
        now[0] = 100.0
        pace = Pace(TrainingOptions(epochs=10, max_seconds=max_seconds), "words", before)
        pace.begin(0.1)
        now[0] = 110.0
        pace.step(2.0, 50, 1.0)
        pace.pause(5.0)
        report = pace.report(Position(step=4, epoch=1, batch=4), 4, 0.1)
        assert report.units_per_second == pytest.approx(10.0)
        return report.seconds_left, report.done

    assert left(None, 0.0) == pytest.approx((80.0, 0.2))  # a tenth in 10 s, eight tenths left
    assert left(30.0, 5.0) == pytest.approx((15.0, 0.5))
    assert left(1000.0, 5.0) == pytest.approx((80.0, 0.2))
    assert (clock(7), clock(754), clock(3723)) == ("0:07", "12:34", "1:02:03")
    assert (singular("characters"), singular("loss")) == ("character", "loss")


def pixels(path: Path) -> tuple[int, int, bytes]:
    """Width, height and the decompressed rows of a PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    position, packed = 8, b""
    while position < len(data):
        (size,) = struct.unpack(">I", data[position : position + 4])
        if data[position + 4 : position + 8] == b"IDAT":
            packed += data[position + 8 : position + 8 + size]
        position += size + 12
    return width, height, zlib.decompress(packed)


def write_log(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def lines(validation: bool, accuracy: bool = False) -> list[dict[str, Any]]:
    made = []
    for step in range(50, 2001, 50):
        loss = 1.2 + 2.0 / (1 + step / 200)
        line = {"step": step, "epoch": step / 500, "loss": loss, "bits": loss / 0.6931, "unit": "characters",
                "gradient_norm": 0.4 + 30 / step, "gradient_norm_max": 0.6 + 90 / step, "lr": 1e-3}  # fmt: skip
        if validation and step % 250 == 0:
            line["validation"] = {"loss": loss + 0.1 + step / 9000, **({"accuracy": 1 - loss / 4} if accuracy else {})}
        made.append(line)
    return made


@pytest.mark.parametrize("kind", ["loss", "accuracy", "training only", "one line", "odd"])
def test_the_picture_is_a_png_with_something_in_it(kind: str, tmp_path: Path) -> None:
    made = {
        "loss": lines(True),
        "accuracy": lines(True, True),
        "training only": lines(False),
        "one line": lines(False)[:1],
        "odd": [
            {"step": 1, "loss": None, "gradient_norm": 0.0, "validation": {"loss": None}},
            {"step": 2, "loss": "x"},
        ],
    }[kind]
    path = write_log(tmp_path / "log.jsonl", made)
    assert learning_curve(path, tmp_path / "curve.png")
    width, height, rows = pixels(tmp_path / "curve.png")
    assert width >= 800
    assert height >= 600
    assert len(set(rows)) > 20
    colours = {bytes.fromhex("4477aa"): kind != "odd", bytes.fromhex("cc3311"): kind in ("loss", "accuracy")}
    for colour, expected in colours.items():
        seen = picture_colours(tmp_path / "curve.png")
        assert (tuple(colour) in seen) is expected


def test_errors_of_numbers_fall_on_a_scale_of_powers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("elman.training.pictures.learning_curve.write_png", lambda figure, _: drawn.append(figure))
    made = [
        {"step": n, "unit": "values", "loss": 10.0**-n, "gradient_norm": 1.0,
         "validation": {"loss": 10.0**-n, "mse": 10.0**-n, "r2": 0.9}}
        for n in range(4)
    ]  # fmt: skip
    assert learning_curve(write_log(tmp_path / "log.jsonl", made), tmp_path / "curve.png")
    upper, _, right = drawn[0].axes
    assert upper.get_yscale() == "log"
    assert [line.get_label() for line in right.lines] == ["r2"]  # a squared error is no share, however small


def test_every_figure_has_a_curve_and_the_legend_is_clear_of_the_title(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("elman.training.pictures.learning_curve.write_png", lambda figure, _: drawn.append(figure))
    names = ["accuracy", "accuracy_unknown", "precision", "recall", "f1", "macro_f1"]
    made = [
        {"step": n, "unit": "words", "loss": 1.0 / n, "validation": {"loss": 1.0 / n, **dict.fromkeys(names, 0.5)}}
        for n in range(1, 4)
    ]
    assert learning_curve(write_log(tmp_path / "log.jsonl", made), tmp_path / "curve.png")
    upper, _, right = drawn[0].axes
    assert [line.get_label() for line in right.lines] == [name.replace("_", " ") for name in names]
    drawn[0].draw_without_rendering()
    title, legend = upper._left_title.get_window_extent(), upper.get_legend().get_window_extent()
    assert title.x1 < legend.x0


def picture_colours(path: Path) -> set[tuple[int, ...]]:
    from PIL import Image

    with Image.open(path) as image:
        return {tuple(colour[:3]) for _, colour in image.convert("RGB").getcolors(1 << 24)}  # type: ignore[index, union-attr]


def test_two_logs_give_two_pictures(tmp_path: Path) -> None:
    one, two = (write_log(tmp_path / name, lines(v)) for name, v in (("a", True), ("b", False)))
    learning_curve(one, tmp_path / "a.png")
    learning_curve(two, tmp_path / "b.png")
    assert pixels(tmp_path / "a.png")[2] != pixels(tmp_path / "b.png")[2]


def test_without_matplotlib_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    log = write_log(tmp_path / "log.jsonl", lines(True))
    notes: list[str] = []
    assert not learning_curve(log, tmp_path / "curve.png", note=notes.append)
    assert notes == ["no learning curve was drawn: matplotlib is missing (pip install 'elman[report]')"]
    assert not learning_curve(log, tmp_path / "curve.png")
    assert capfd.readouterr().err.splitlines() == notes
    assert not (tmp_path / "curve.png").exists()
    fit(Small(), TrainingOptions(epochs=1), folder=tmp_path / "run")  # a run does not mind


def test_a_log_that_is_none(tmp_path: Path) -> None:
    bad = {"": "no lines", "{}\n": "line 1", '{"step":1}\nx\n': "line 2", "[" * 9999 + "\n": "line 1"}
    for text, match in bad.items():
        (tmp_path / "log").write_text(text)
        with pytest.raises(DataError, match=match):
            learning_curve(tmp_path / "log", tmp_path / "out.png")
    with pytest.raises(DataError, match="cannot be read"):
        learning_curve(tmp_path / "none", tmp_path / "out.png")
    write_log(tmp_path / "log", lines(False))
    with (tmp_path / "log").open("a") as file:
        file.write('{"step": 9')  # a run that is being killed
    assert learning_curve(tmp_path / "log", tmp_path / "out.png")
