"""Looking at the gradient during training changes nothing of it, is logged and shown, and takes little time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elman import LanguageModel, SequenceClassifier
from elman.diagnosis import learning
from elman.diagnosis.watch import POINTS
from elman.errors import DataError, OptionError
from elman.nn import Recurrent
from elman.training import observer
from elman.training.log import read_log
from elman.training.observer import Observer
from elman.training.progress import Progress, Report

TEXT = "the old man and the sea. " * 40


class Seen(Progress):
    """Keeps what it is shown."""

    seconds = 0.0

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def step(self, report: Report) -> None:
        self.reports.append(report)


def model(folder: Path, progress: Progress | None = None, **options: Any) -> LanguageModel:
    whole: dict[str, Any] = {"hidden_size": 16, "batch_size": 4, "bptt": 20, "epochs": 2, "dropout": 0.3, **options}
    return LanguageModel(**whole).fit(TEXT, folder=folder, progress=progress)


def test_the_weights_are_bit_for_bit_those_of_a_training_that_is_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "SHARE", 1e9)  # however long it takes
    seen = Seen()
    plain, watched = model(tmp_path / "plain"), model(tmp_path / "watched", seen, diagnose=3)
    for a, b in zip(plain.module_.parameters(), watched.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    lines = [line for line in read_log(tmp_path / "watched" / "log.jsonl") if "diagnosis" in line]
    assert [line["step"] for line in lines] == list(range(3, watched.summary_.steps + 1, 3))
    for line in lines:
        (layer,) = line["diagnosis"]["layers"]
        assert layer["network"] == "recurrent"
        assert len(layer["gradient"]) == 20
        assert all(norm > 0 for norm in layer["gradient"])
        assert 0 <= layer["memory"] <= 19
        assert 0 < layer["rate"] < 2
    assert not any("diagnosis" in line for line in read_log(tmp_path / "plain" / "log.jsonl"))
    shown = [report.figures() for report in seen.reports if report.memory is not None]
    assert shown
    assert all("gradient norm" in text and "memory" in text for text in shown)


def test_the_gradient_that_is_logged_is_autograds(tmp_path: Path) -> None:
    layer = Recurrent("gru", 3, 5, batch_first=True)
    x = torch.randn(2, 7, 3)
    watched = Observer(layer, lambda: layer(x)[0][:, -1].sum(), 1)
    found = watched.look(1, torch.device("cpu"))["layers"][0]["gradient"]
    output, _ = layer.double()(x.double())
    assert found[-1] == pytest.approx(5**0.5, rel=5e-4)  # four digits are logged
    assert len(found) == output.shape[1]
    assert all(p.grad is None for p in layer.parameters())


def test_what_was_logged_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "SHARE", 1e9)
    model(tmp_path / "run", diagnose=4, num_layers=2)
    lines = read_log(tmp_path / "run" / "log.jsonl")
    looks = [line for line in lines if "diagnosis" in line]
    found = learning(lines)
    assert [one.title for one in found] == ["layer 0 (forward)", "layer 1 (forward)"]
    for k, one in enumerate(found):
        logged = [look["diagnosis"]["layers"][k] for look in looks]
        assert one.at.tolist() == [look["step"] for look in looks]
        assert one.loss.tolist() == [look["diagnosis"]["loss"] for look in looks]
        assert one.gradient.tolist() == [layer["gradient"] for layer in logged]
        assert one.gain.tolist() == [layer["gain"] for layer in logged]
        assert one.memory.tolist() == [layer["memory"] for layer in logged]
        assert one.gain[:, 0] == pytest.approx(1)
    assert learning(line for line in lines if "diagnosis" not in line) == ()


def test_a_look_at_a_long_sequence_stays_small() -> None:
    layer, x = Recurrent("rnn", 2, 3), torch.randn(500, 1, 2)
    (look,) = Observer(layer, lambda: layer(x)[0].sum(), 1).look(1, torch.device("cpu"))["layers"]
    assert len(look["steps"]) == len(look["gradient"]) == POINTS
    assert look["lags"][:8] == list(range(8)), "the short lags, in which most happens"
    assert look["lags"][-1] == look["steps"][-1] == 499
    assert len(look["lags"]) == len(look["gain"]) <= POINTS
    assert len(json.dumps(look)) < 2000


def test_a_look_that_no_training_wrote_is_refused() -> None:
    layer, x = Recurrent("rnn", 2, 3), torch.randn(4, 1, 2)
    good = Observer(layer, lambda: layer(x)[0].sum(), 1).look(1, torch.device("cpu"))
    for change in (
        {"steps": [0, 1]}, {"gradient": [1.0]}, {"gain": "x"}, {"memory": 1 << 70}, {"rate": []}, {"layer": None},
        {"lags": [0, 1, 2, 1 << 70]}, {"gain": [1, 2, 3, 10**400]},
    ):  # fmt: skip
        bad = {**good, "layers": [{**good["layers"][0], **change}]}
        with pytest.raises(DataError):
            learning([{"step": 1, "diagnosis": good}, {"step": 2, "diagnosis": bad}])
    for bad in ([], None, {"loss": 1.0}, {"loss": "x", "layers": []}):
        with pytest.raises(DataError, match="none of this elman"):
            learning([{"step": 1, "diagnosis": bad}])
    with pytest.raises(DataError, match="64 bits"):
        learning([{"step": 1 << 70, "diagnosis": good}])


def test_it_waits_where_it_would_take_more_than_a_twentieth_of_the_time() -> None:
    watched = Observer(torch.nn.Linear(1, 1), lambda: torch.zeros(()), 10)
    assert not watched.due(9, 1.0)
    assert watched.due(10, 1.0)
    watched.step, watched.spent = 10, 0.1
    assert not watched.due(20, 1.0)
    assert watched.due(21, 2.1)


def test_the_time_it_takes_is_a_small_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was spent before each look is within the share; the last look alone may go beyond it."""
    monkeypatch.setattr(observer, "SHARE", 0.5)  # so that a short training affords more than its first look
    taken: list[float] = []
    look = Observer.look

    def measured(self: Observer, *arguments: Any) -> Any:
        found = look(self, *arguments)
        taken.append(self.spent)
        return found

    monkeypatch.setattr(Observer, "look", measured)
    trained = model(tmp_path / "run", diagnose=1, epochs=40)
    assert len(taken) >= 2
    assert taken[-2] <= observer.SHARE * trained.summary_.seconds
    assert len(taken) < trained.summary_.steps


def test_a_network_without_recurrence_is_left_alone() -> None:
    linear = torch.nn.Linear(2, 1)
    assert Observer(linear, lambda: linear(torch.ones(2)).sum(), 1).look(1, torch.device("cpu")) == {}


def test_a_wrong_interval_is_one_sentence() -> None:
    with pytest.raises(OptionError, match="--diagnose must be a whole number of steps"):
        SequenceClassifier(diagnose=0).fit(["a b", "b a"], ["x", "y"])
