"""The charts as PNG: every one is drawn, with the report's numbers; what is odd or missing draws too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import elman
from elman.cells import CATALOGUE
from elman.cli.app import run
from elman.diagnosis import Probe, Report, Sampling, charts, pictures
from elman.diagnosis.figures import Learning
from elman.errors import OptionError
from elman.nn import Recurrent
from elman.training import observer

QUICK = Sampling(sequences=2, ends=3, vectors=2, places=2, exponents=2, shown=1)
NAMES = {
    "gradient-flow", "shares-of-steps", "memory", "sensitivity", "eigenvalues", "singular-values", "step-jacobian",
    "lyapunov", "activity", "saturation", "units",
}  # fmt: skip
DPI = 110
LEARNT = {"learning-gradient", "learning-gain", "learning-memory"}


def diagnosed(cell: str = "lstm", text: str = "", steps: int = 8, **options: Any) -> Report:
    layer, x = Recurrent(cell, 3, 4, **options), torch.randn(steps, 2, 3)
    symbols = {"": [list(text)] * 2} if text else {}
    return elman.diagnose(Probe(layer, lambda: layer(x)[0].square().sum(), symbols), sampling=QUICK)


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """The pictures by name: each can be read, and is not of one colour."""
    found = {}
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert len(image.convert("L").getcolors() or range(257)) > 8, path.name
            found[path.stem] = image.size
    return found


def axes_of(draw: Any, what: Any) -> Any:
    axes = Figure().subplots()
    draw(axes, what)
    return axes


def test_every_chart_is_drawn(tmp_path: Path) -> None:
    report = diagnosed(text="say $x\n!", bidirectional=True)
    files = report.save_pictures(tmp_path / "p")
    assert {path.stem for path in files} == set(sizes(tmp_path / "p")) == NAMES


def test_models_have_a_column_each(tmp_path: Path) -> None:
    at, places = np.array([10, 20, 35]), np.arange(5)
    rising = 0.001 * 2.0 ** (np.arange(3)[:, None] + places)
    learnt = Learning("", 0, "forward", at, at / 10, places, rising, places, 1 / rising, np.array([1, 2, 4]), at / 50)
    reports = {"rnn $a$": replace(diagnosed("rnn"), learning=(learnt,)), "gru": diagnosed("gru")}
    elman.compare(reports).save_pictures(tmp_path)
    both = sizes(tmp_path)
    assert set(both) == NAMES | LEARNT
    assert both["memory"] == (2 * 7 * DPI, round(4.0 * DPI)), "one row of two charts, 7 by 3.6 inches, and the margin"


def test_the_numbers_are_those_of_the_report() -> None:
    report = diagnosed(num_layers=2)
    (network,) = report.networks
    layer = network.layers[0]
    drawn = axes_of(charts.memory, network).lines
    for line, one in zip(drawn, network.layers):
        assert np.array_equal(line.get_ydata(), one.memory.gain)
    drawn = axes_of(charts.flow, network).lines
    assert np.array_equal(drawn[0].get_ydata(), layer.flow.states["h"].mean)
    assert np.array_equal(drawn[-1].get_ydata(), network.input.mean)
    drawn = axes_of(charts.shares, layer).lines
    for line, share in zip(drawn, layer.flow.shares.values(), strict=True):
        assert np.array_equal(np.nan_to_num(line.get_ydata()), share)
    (mesh,) = axes_of(charts.sensitivity, network).collections
    seen = network.sensitivity.map
    assert np.allclose(mesh.get_array().reshape(seen.shape)[seen > 0], seen[seen > 0])
    points = axes_of(charts.eigenvalues, layer).collections[-1].get_offsets()
    assert np.allclose(points, layer.matrices[-1].eigenvalues)
    assert [bar.get_width() / 100 for bar in axes_of(charts.saturation, layer).patches][1::2] == [
        pytest.approx(one.high.mean()) for one in layer.activity if one.kind
    ]


def test_a_unit_colours_its_text() -> None:
    values = np.array([-1.0, 0.0, 0.5, 2.0, np.nan])
    axes = axes_of(charts.units, charts.Unit("c, unit 3", ("a", "\n", "$", "ü", "z"), values))
    assert [text.get_text() for text in axes.texts] == ["a", "⏎", "$", "ü", "z"]
    colours = [tuple(patch.get_facecolor()[:3]) for patch in axes.patches]
    assert colours[1] == (1, 1, 1)
    assert colours[3] == pytest.approx(tuple(part / 255 for part in charts.HIGH), abs=0.01)
    assert colours[0][2] > colours[0][0], "low is blue"
    assert colours[2][0] > colours[2][2], "high is red"
    words = axes_of(charts.units, charts.Unit("c", ("the", "cat", "."), values[:3]))
    assert [patch.get_x() for patch in words.patches] == [0, 4, 8]


def test_units_are_those_that_were_asked_for(tmp_path: Path) -> None:
    (network,) = diagnosed(text="abcdefgh").networks
    (state,) = (one for one in network.layers[0].activity if one.name == "c")
    few = pictures.units_of([network], [3, 0])
    assert [one.title for one in few.values()] == [f"c, layer 0 (forward), unit {k}" for k in (3, 0)]
    assert np.array_equal(few["unit 3"].values, state.values[:, 0, 3].astype(np.float64))
    most = [int(one.title.split()[-1]) for one in pictures.units_of([network]).values()]
    assert most == np.argsort(-state.variance).tolist()
    with pytest.raises(OptionError, match=r"there is no unit 4 in layer 0 \(forward\): it has 0 to 3"):
        pictures.units_of([network], [4])


@pytest.mark.parametrize("cell", CATALOGUE)
def test_every_cell_is_drawn(cell: str) -> None:
    (network,) = diagnosed(cell).networks
    for draw in (charts.flow, charts.memory, charts.sensitivity, charts.lyapunov):
        axes_of(draw, network)
    for chart in (charts.shares, charts.eigenvalues, charts.singular_values, charts.step_jacobian, charts.saturation):
        axes_of(chart, network.layers[0])


def test_odd_reports_are_drawn(tmp_path: Path) -> None:
    layer = Recurrent("rnn", 2, 3)
    x = torch.randn(1, 2, 2)
    nothing = elman.diagnose(layer, x, loss=lambda output, _: output.sum() * 0)
    assert nothing.layers[0].flow.states["h"].mean.max() == 0
    nothing.save_pictures(tmp_path / "nothing")
    unseen = replace(QUICK, shown=0)
    assert pictures.units_of(elman.diagnose(layer, torch.randn(5, 2, 2), sampling=unseen).networks) == {}


def test_what_cannot_be_drawn_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = diagnosed("rnn")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OptionError, match="is a file"):
        report.save_pictures(tmp_path / "file")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install 'elman\\[report\\]'"):
        report.save_pictures(tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(observer, "SHARE", 1e9)
    Path("t.txt").write_text("so it goes. " * 20, encoding="utf-8")
    model = elman.LanguageModel(hidden_size=6, embedding_size=4, epochs=2, batch_size=2, bptt=10, diagnose=2)
    model.fit("so it goes. " * 20, folder="m.elman.run").save("m.elman")
    words = ["diagnose", "m.elman", "t.txt", "--steps", "12", "--sequences", "2"]
    assert run([*words, "--pictures", "p", "--units", "2,5", "--json", "r.json"]) == 0
    assert set(sizes(Path("p"))) == NAMES | LEARNT, "the log beside the model is found"
    assert Report.from_json(Path("r.json")).learning
    capsys.readouterr()

    def fails(*more: str) -> str:
        assert run([*words, *more]) == 2
        assert not Path("q").exists()
        return capsys.readouterr().err

    assert "--units chooses what --pictures draws; give both" in fails("--units", "1")
    assert "there is no unit 6" in fails("--pictures", "q", "--units", "6", "--out", "r.html")
    assert not Path("r.html").exists()
    assert "--pictures t.txt is a file" in fails("--pictures", "t.txt")
    assert "cannot be read" in fails("--run", "nowhere", "--pictures", "q")
    Path("log.jsonl").write_bytes(b"")
    assert "was not looked at" in fails("--run", ".")


def test_the_log_of_another_training_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(observer, "SHARE", 1e9)
    Path("t.txt").write_text("so it goes. " * 20, encoding="utf-8")
    model = elman.LanguageModel(hidden_size=6, embedding_size=4, epochs=1, batch_size=2, bptt=10, diagnose=2)
    model.fit("so it goes. " * 20, folder="m.elman.run").save("m.elman")
    log = Path("m.elman.run/log.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    words = ["diagnose", "m.elman", "t.txt", "--steps", "12", "--sequences", "2", "--json", "r.json"]
    for changed, reason in (
        (lines[:-1], "is of another training: it ends at step"),
        ([b"x\n"], "not a line of a training log"),
    ):
        log.write_bytes(b"".join(changed))
        assert run(words) == 0
        assert reason in capsys.readouterr().err
        assert json.loads(Path("r.json").read_bytes())["learning"] == []
