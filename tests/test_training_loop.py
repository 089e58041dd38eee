"""The loop: steps, clipping, validation, early stopping, stops by NaN, by time and by Ctrl-C, resuming."""

from __future__ import annotations

import json
import math
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.errors import ModelFileError, TrainingError
from elman.training import Progress, TrainingOptions, fit
from training_small import Small

SGD = TrainingOptions(optimizer="sgd", lr=0.1, epochs=1, clip_norm=None)


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere, and slow."""
    monkeypatch.setattr("elman.training.keeper.learning_curve", lambda *_, **__: True)


def change(options: TrainingOptions, **new: Any) -> TrainingOptions:
    return TrainingOptions(**{**vars(options), **new})


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def descend(clip_norm: float = math.inf, clip_value: float = math.inf) -> tuple[torch.Tensor, list[float]]:
    """Three steps of W ← W − 0.1·g by hand, and the norms of g before clipping."""
    w, norms = torch.tensor([0.0, 5.0, -5.0]), []
    for batch in (1.0, 2.0, 3.0):
        g = 2 * (w - batch) / 3
        norms.append(float(g.norm()))
        g = g * min(1.0, clip_norm / norms[-1])
        w = w - 0.1 * g.clamp(-clip_value, clip_value)
    return w, norms


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.5}, {"clip_value": 0.7}, {"clip_norm": 1.5, "clip_value": 0.7}])
def test_steps_and_clipping(clip: dict[str, float], tmp_path: Path) -> None:
    trainee = Small()
    summary = fit(trainee, change(SGD, **clip), folder=tmp_path / "run")
    expected, norms = descend(**clip)
    torch.testing.assert_close(trainee.module["w"].detach(), expected, rtol=1e-5, atol=1e-6)
    assert [line["gradient_norm"] for line in log(tmp_path / "run")] == pytest.approx(norms, rel=1e-5)
    assert (summary.steps, summary.epochs, summary.stopped, summary.best) == (3, 1, "epochs", {})


def test_the_carry_goes_from_batch_to_batch_and_not_over_epochs() -> None:
    trainee = Small()
    fit(trainee, change(SGD, epochs=2))
    carried = [None if carry is None else float(carry[0]) for _, carry in trainee.seen]
    assert carried == [None, 1.0, 2.0, None, 1.0, 2.0]


def test_the_best_weights_are_kept_and_patience_ends_it() -> None:
    trainee = Small(figures=[3.0, 1.0, 2.0, math.nan, 4.0])
    weights = []
    original = trainee.validate

    def validate() -> dict[str, float]:
        weights.append(trainee.module["w"].detach().clone())
        return original()

    trainee.validate = validate  # type: ignore[method-assign]
    summary = fit(trainee, change(SGD, epochs=50, patience=3))
    assert (summary.stopped, summary.epochs, summary.best_step, summary.best["loss"]) == ("patience", 5, 6, 1.0)
    assert summary.last["loss"] == 4.0
    assert summary.last["train_loss"] > 0
    assert torch.equal(trainee.module["w"].detach(), weights[1])
    assert not torch.equal(weights[1], weights[4])


def test_more_is_better_where_the_trainee_says_so() -> None:
    trainee = Small(figures=[1.0, 3.0, 2.0])
    trainee.maximize = True
    assert fit(trainee, change(SGD, epochs=3)).best_step == 6


def test_validate_every_few_steps_and_at_the_end(tmp_path: Path) -> None:
    trainee = Small(batches=[1.0] * 7, figures=[1.0])
    fit(trainee, change(SGD, validate_every=3), folder=tmp_path / "run")
    assert [line["step"] for line in log(tmp_path / "run") if "validation" in line] == [3, 6, 7]


def test_plateau_cuts_the_rate(tmp_path: Path) -> None:
    trainee = Small(figures=[1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    fit(trainee, change(SGD, epochs=6, schedule="plateau", decay=0.5, decay_every=2), folder=tmp_path / "run")
    at_ends = [line["lr"] for line in log(tmp_path / "run") if "validation" in line]
    assert at_ends == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025])


def test_the_log_counts_every_step_once(tmp_path: Path) -> None:
    fit(Small(batches=[1.0] * 100, figures=[1.0]), change(SGD, epochs=2), folder=tmp_path / "run")
    lines = log(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(5, 201, 5))
    assert lines[-1]["epoch"] == 2.0
    for line in lines:
        assert line["bits"] == pytest.approx(line["loss"] / math.log(2))
        assert line["units_per_second"] > 0
        assert line["gradient_norm_max"] >= line["gradient_norm"]
        assert line["unit"] == "characters"
    assert [line["step"] for line in lines if "validation" in line] == [100, 200]


def test_the_callers_random_generators_and_mode_are_left_alone() -> None:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    trainee = Small(figures=[1.0])
    trainee.module.eval()
    fit(trainee, SGD)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert not trainee.module.training


def test_averaged_weights_are_validated_and_kept() -> None:
    for figures in ([], [1.0]):
        trainee = Small(figures=figures)
        fit(trainee, change(SGD, optimizer="asgd"))
        w, average = torch.tensor([0.0, 5.0, -5.0]), torch.zeros(3)
        for t, batch in enumerate((1.0, 2.0, 3.0), 1):
            w = w - 0.1 * 2 * (w - batch) / 3
            average = average + (w - average) * 9 / (t + 8)
        torch.testing.assert_close(trainee.module["w"].detach(), average)


def test_averaged_sgd_is_resumed_exactly(tmp_path: Path) -> None:
    options = change(SGD, optimizer="asgd", epochs=4)
    whole, half = Small(figures=[4.0, 3.0, 2.0, 1.0]), Small(figures=[4.0, 3.0])
    fit(whole, options)
    fit(half, change(options, epochs=2), folder=tmp_path / "run")
    rest = Small(figures=[2.0, 1.0])
    fit(rest, options, folder=tmp_path / "run", resume=True)
    assert torch.equal(whole.module["w"], rest.module["w"])


def explode(w: torch.Tensor, batch: float) -> torch.Tensor:
    if batch > 90:
        return (w * math.nan).sum()
    return (w - w.detach()).abs().sqrt().sum() if batch > 80 else ((w - batch) ** 2).mean()


@pytest.mark.parametrize(
    ("bad", "what"), [(99.0, "the loss is nan at step 4"), (85.0, "the gradient norm is (nan|inf) at step 4")]
)
def test_nan_stops_and_the_last_good_checkpoint_stays(bad: float, what: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trainee = Small(batches=[1.0, 2.0, 3.0, bad], figures=[7.0], loss=explode)
    options = change(SGD, checkpoint_steps=2, validate_every=3, clip_norm=2.0)
    with pytest.raises(TrainingError, match=what) as error:
        fit(trainee, options, folder=folder)
    for part in (
        "last gradient norms were",
        "--lr (now 0.1)",
        "--clip-norm (now 2)",
        "checkpoint-2",
        "best-3.safetensors",
    ):
        assert part in str(error.value)
    assert (folder / "checkpoint-2" / "state.json").exists()
    assert json.loads((folder / "last.json").read_text())["best"] == "best-3.safetensors"
    best = trainee.module["w"].detach().clone()
    again = Small(batches=[1.0, 2.0, 3.0, 4.0], figures=[7.0], loss=explode)  # the data is mended: the run can go on
    fit(again, options, folder=folder, resume=True)
    assert torch.equal(again.module["w"], best)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    trainee = Small(batches=[1.0, 2.0], loss=lambda w, batch: (w * 100).sum() * batch)
    with pytest.raises(TrainingError, match="the weights are not finite any more after step 1"):
        fit(trainee, change(SGD, lr=1e38, checkpoint_steps=1), folder=tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_the_time_is_up_and_the_run_is_prolonged(tmp_path: Path) -> None:
    first = fit(Small(figures=[1.0]), change(SGD, epochs=10**9, max_seconds=0.05), folder=tmp_path / "run")
    assert first.stopped == "time"
    assert first.last["loss"] == 1.0
    assert 0.05 <= first.seconds < 30
    again = fit(Small(figures=[1.0]), change(SGD, epochs=10**9, max_seconds=0.01), folder=tmp_path / "run", resume=True)
    assert (again.stopped, again.steps) == ("time", first.steps)
    epochs = first.epochs + 2
    more = fit(Small(figures=[1.0]), change(SGD, epochs=epochs), folder=tmp_path / "run", resume=True)
    assert (more.stopped, more.steps) == ("epochs", 3 * epochs)
    assert more.seconds >= 0.05, "the first run's time counts too"


def test_interrupted_runs_save_first_and_go_on(tmp_path: Path) -> None:
    whole, folder = Small(batches=[1.0] * 9), tmp_path / "run"
    fit(whole, SGD)
    interrupted = Small(batches=[1.0] * 9)
    original = interrupted.loss

    def loss(batch: float, carry: Any) -> Any:
        if len(interrupted.seen) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(batch, carry)

    interrupted.loss = loss  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, SGD, folder=folder)
    assert json.loads((folder / "last.json").read_text())["checkpoint"] == "checkpoint-5"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest = Small(batches=[1.0] * 9)
    fit(rest, SGD, folder=folder, resume=True)
    assert len(rest.seen) == 4
    assert torch.equal(whole.module["w"], rest.module["w"])
    assert [line["step"] for line in log(folder)] == list(range(1, 10))


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_resume_without_a_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    folder, progress = tmp_path / "run", Notes()
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"step":1}\n{"st')  # killed before the first checkpoint
    with pytest.raises(TrainingError, match="already holds a run: pass --resume"):
        fit(Small(), SGD, folder=folder)
    fit(Small(), SGD, folder=folder, resume=True, progress=progress)
    assert "no checkpoint: training starts from the beginning" in progress.notes[0]
    assert [line["step"] for line in log(folder)] == [1, 2, 3]
    with pytest.raises(TrainingError, match="already holds a run"):
        fit(Small(), SGD, folder=folder)


def test_a_difference_is_named_with_both_values(tmp_path: Path) -> None:
    folder, mine = tmp_path / "run", {"cell": "lstm", "data": {"sha256": "ab", "size": 3}, "sizes": (1, 2)}
    fit(Small(), SGD, folder=folder, fingerprint=mine)
    fit(
        Small(),
        change(SGD, epochs=2, max_seconds=9.0, checkpoint_steps=3),
        folder=folder,
        resume=True,
        fingerprint=mine,
    )
    cases: list[tuple[TrainingOptions, dict[str, Any], str]] = [
        (change(SGD, lr=0.2), mine, "lr was 0.1 and is now 0.2"),
        (SGD, {**mine, "cell": "gru"}, "cell was 'lstm' and is now 'gru'"),
        (SGD, {**mine, "data": {"sha256": "cd", "size": 3}}, "data.sha256 was 'ab' and is now 'cd'"),
        (SGD, {"cell": "lstm"}, "data was .* and is now not set"),
        (SGD, {**mine, "new": True}, "new was not set and is now True"),
    ]
    for options, fingerprint, match in cases:
        with pytest.raises(TrainingError, match=match):
            fit(Small(), options, folder=folder, resume=True, fingerprint=fingerprint)


def test_what_cannot_be_trained() -> None:
    with pytest.raises(TrainingError, match="epoch 1 has no batches"):
        fit(Small(batches=[]), SGD)
    frozen = Small()
    frozen.module.requires_grad_(False)
    with pytest.raises(TrainingError, match="no weights to train"):
        fit(frozen, SGD)
    other = Small(figures=[1.0])
    other.monitor = "f1"
    with pytest.raises(TrainingError, match="loss, accuracy, but not the figure to monitor, 'f1'"):
        fit(other, SGD)


def test_one_run_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    outer = Small()
    outer.epoch = lambda number: fit(Small(), SGD, folder=folder, resume=True)  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(TrainingError, match="another process is training in"):
        fit(outer, SGD, folder=folder)


def test_a_checkpoint_of_shorter_data_is_refused(tmp_path: Path) -> None:
    interrupted = Small(batches=[1.0, 2.0, 3.0, 99.0], loss=explode)
    with pytest.raises(TrainingError):
        fit(interrupted, change(SGD, checkpoint_steps=3), folder=tmp_path / "run")
    with pytest.raises(ModelFileError, match="stands at batch 3 of epoch 1, which has 2"):
        fit(Small(batches=[1.0, 2.0]), change(SGD, checkpoint_steps=3), folder=tmp_path / "run", resume=True)
