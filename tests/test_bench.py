"""Measuring: turns, the count of work, the peak; rivals that agree are timed, one that errs is not; `elman bench`."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman import cells
from elman.bench import measure as measuring
from elman.bench import peak as peaks
from elman.bench import report, rivals, turns, work
from elman.bench.measure import Measured, measure
from elman.bench.peak import peak
from elman.bench.task import Rival, Task, disagreement, truth
from elman.cells import CATALOGUE, cell, sigmoid, tanh
from elman.cli import main

FUSED = ("lstm", "gru", "rnn", "rnn_relu")


def a_task(name: str = "lstm", *, train: bool = True) -> Task:
    """At sizes that are no multiples of anything."""
    return Task(CATALOGUE[name], 5, 3, 2, 7, train)


# -- turns -------------------------------------------------------------------------------------------------------------
def test_turns_are_taken_in_turns_and_short_calls_repeated() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.02)

    times = turns.turns({"slow": slow, "quick": lambda: order.append("quick")}, 3, least=0.001)
    assert {name: len(own) for name, own in times.items()} == {"slow": 3, "quick": 3}
    changes = [a for a, b in zip(order, [*order[1:], ""]) if a != b]
    assert changes == ["slow", "quick"] * 4  # the first pair warms up
    assert order.count("quick") > 100
    # Two to learn how long a call takes; in a turn one that does not count and one that does.
    assert order.count("slow") == 2 + 3 * 2
    assert all(0.02 <= s < 0.2 for s in times["slow"])
    assert turns.ratio(times, "slow", "quick") > 100


def test_quartiles() -> None:
    assert turns.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)
    assert turns.spread([2.0]).times(1e3) == (2000.0, 2000.0, 2000.0)
    assert turns.ratio({"a": [1.0, 1.0, 4.0], "b": [2.0, 6.0, 4.0]}, "b", "a") == 2.0  # of each turn: 2, 6, 1
    assert report.quartiles(turns.Spread(0.1234, 5.678, 123.4)) == "5.68 (0.123 to 123)"


def test_settling_waits_for_threads_that_spin_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """Time stands still but for sleep; the process is busy until `quiet`."""

        def __init__(self, quiet: float) -> None:
            self.now, self.quiet = 0.0, quiet

        def perf_counter(self) -> float:
            return self.now

        def process_time(self) -> float:
            return min(self.now, self.quiet)

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    for quiet, until in ((0.0, 0.02), (0.038, 0.06), (9.0, 0.1)):
        clock = Clock(quiet)
        monkeypatch.setattr(turns, "time", clock)
        turns.settle(0.1)
        assert clock.now == pytest.approx(until, abs=0.001)


# -- work and peak -----------------------------------------------------------------------------------------------------
def test_work_is_counted_from_the_program() -> None:
    t, b, i, h = 5, 3, 2, 7
    assert work.flops(cells.lstm.program, t, b, i, h, train=False) == t * b * 2 * 4 * h * (i + h)
    assert work.flops(cells.gru.program, t, b, i, h, train=True) == 3 * t * b * 2 * 3 * h * (i + h)
    assert work.flops(cells.rnn.program, t, b, i, h, train=False) == t * b * 2 * h * (i + h)
    assert work.flops(cells.indrnn.program, t, b, i, h, train=False) == t * b * 2 * h * i  # u∘h is no product
    assert a_task("gru", train=False).flops * 3 == a_task("gru").flops


def test_the_peak_is_that_of_a_processor() -> None:
    one, two = peak(1), peak(2)
    assert one is not None
    assert two is not None
    assert two.flops == 2 * one.flops
    one()
    start = time.perf_counter()
    one()
    seconds = time.perf_counter() - start
    # A core does 2 to 128 operations in a cycle of 0.2 to 1 ns; a busy machine may take ten times as long.
    assert 0.1e9 < one.flops / seconds < 1e12
    assert one.flops / seconds <= one.rate < 1e12  # the fastest call so far


def test_the_peak_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (None, "/bin/false"):
        found = "no C\\+\\+ compiler was found|could not be compiled"
        with monkeypatch.context() as patch:
            patch.setattr(peaks.build, "compiler", lambda path=path: path)
            with pytest.warns(RuntimeWarning, match=found):
                assert peaks._kernel.__wrapped__() is None
    monkeypatch.setattr(measuring, "peak", lambda threads: None)
    found = measure(a_task("rnn", train=False), 1, 1, rivals=())
    assert found.share is None
    assert found.milliseconds is not None


# -- rivals ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", [*FUSED, "lstm_peephole", "gru_reset_before", "lstm_projected"])
def test_elman_and_its_rivals_agree_in_float64(name: str, train: bool) -> None:
    task = a_task(name, train=train)
    assert disagreement(task, task.own_rival(task.layer())) == ""
    assert disagreement(task, task.own_rival(task.layer("reference"))) == ""
    timed = set()
    for rival, make in rivals.RIVALS.items():
        made = make(task, 1)
        if isinstance(made, Rival):
            timed.add(rival)
            assert disagreement(task, made) == "", rival
        else:
            reasons = {rivals.NOT_INSTALLED, "inference only"} if name in FUSED else {rivals.NO_SUCH_CELL}
            assert made in reasons
    assert ("torch" in timed) == (name in FUSED)


def test_a_result_holds_every_gradient() -> None:
    weights = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert list(truth(a_task())) == ["output", *(f"gradient of {name}" for name in ["x", *weights])]
    assert list(truth(a_task(train=False))) == ["output"]
    own = truth(a_task("gru_reset_before"))
    assert [*own][:3] == ["output", "gradient of x", "gradient of weight_r"]
    assert own["gradient of weight_r"].shape == (7, 9)
    assert own["output"].dtype == np.float64


def test_a_cell_of_ones_own_meets_torch_where_torch_has_its_equations() -> None:
    @cell
    def mine(x: Any, h: Any, W: Any) -> Any:
        return tanh(W.h(x, h))

    @cell
    def other(x: Any, h: Any, W: Any) -> Any:
        return sigmoid(W.h(x, h))

    for one, found in ((mine, True), (other, False)):
        assert isinstance(rivals.of_torch(Task(one, 2, 1, 2, 3, True), 1), Rival) == found


@pytest.mark.parametrize("name", ["output", "gradient of x", "gradient of weight_hh", "gradient of bias_ih"])
def test_one_number_that_is_off_is_seen(name: str) -> None:
    task = a_task("gru")
    true = truth(task)
    largest = np.abs(true[name]).max()
    for error, agrees in ((1e-5, True), (1e-3, False), (math.nan, False)):
        wrong = {**true, name: true[name].copy()}
        wrong[name].flat[-1] += error * largest
        said = disagreement(task, Rival(lambda: None, lambda _, wrong=wrong: wrong))
        assert (said == "") == agrees
        assert agrees or said.startswith(f"{name} differs by ")
    short = {**true, name: true[name][:1]}
    assert f"{name} has the shape" in disagreement(task, Rival(lambda: None, lambda _: short))
    less = {other: array for other, array in true.items() if other != name}
    assert disagreement(task, Rival(lambda: None, lambda _: less)).startswith("it gives ")


def test_a_rival_that_errs_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rivals.of_torch

    def wrong(task: Task, threads: int) -> Rival | str:
        made = right(dataclasses.replace(task, cell=cells.rnn_relu), threads)  # the same shapes, another function
        assert isinstance(made, Rival)
        return made

    monkeypatch.setitem(rivals.RIVALS, "wrong", wrong)
    found = measure(a_task("rnn"), 1, 2, rivals=("torch", "wrong"))
    assert {"elman", "torch"} <= set(found.times)
    assert "wrong" not in found.times
    assert found.missing["wrong"].startswith("disagrees: output differs by")
    assert found.against("wrong") is None
    text = report.table([found], ("torch", "wrong"))
    assert "disagrees" in text.splitlines()[1]
    assert "wrong: disagrees: output differs" in text
    assert "(rnn 5,3,2,7 training, threads: 1)" in text


def test_elman_that_errs_is_not_timed_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "disagreement", lambda task, rival: "output differs by 1")
    found = measure(a_task("rnn"), 1, 1, rivals=("torch",))
    assert (found.times, found.milliseconds, found.gflops, found.share) == ({}, None, None, None)
    assert "elman: disagrees: output differs by 1" in report.table([found], ("torch",))


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "elman.bench.onnx_node", raising=False)
    found = measure(a_task("gru", train=False), 1, 1)
    assert found.missing == {"onnxruntime": "not installed", "jax": "not installed"}
    assert report.table([found]).splitlines()[1].count("not installed") == 2


def test_a_measurement_leaves_torch_as_it_was() -> None:
    torch.set_num_threads(1)
    weights = torch.randn(3)
    torch.manual_seed(5)
    measure(a_task("rnn", train=False), 2, 1, rivals=("torch",))
    assert torch.get_num_threads() == 1
    drawn = torch.randn(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.randn(3))
    assert not torch.equal(drawn, weights)


def test_figures_of_a_measurement() -> None:
    task = a_task(train=False)
    times = {
        "elman": [1.0, 2.0, 4.0],
        "torch": [2.0, 4.0, 8.0],
        "onnxruntime": [1.5, 3.0, 6.0],
        "peak": [0.5, 1.0, 2.0],
    }
    found = Measured(task, 1, "torch", times, 10 * task.flops, {})
    assert (found.against("torch"), found.against("torch", "onnxruntime"), found.against("jax")) == (2.0, 1.5, None)
    assert found.share == pytest.approx(0.05)  # in two seconds what the peak does in a tenth of one
    assert found.gflops == pytest.approx(task.flops / 2e9)
    assert found.milliseconds == (1500.0, 2000.0, 3000.0)


# -- the verb ----------------------------------------------------------------------------------------------------------
def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    words = "--cell gru,mgu --shape 3,2,4,5 --shape 1,1,1,1 --threads 1 --repeats 2 --no-train --json"
    assert main(["bench", *words.split(), str(file)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    header = next(n for n, line in enumerate(lines) if line.startswith("cell "))
    assert [line.split()[:4] for line in lines[header + 1 : header + 5]] == [
        [name, shape, "inference", "1"] for name in ("gru", "mgu") for shape in ("3,2,4,5", "1,1,1,1")
    ]
    assert "4/4 mgu 1,1,1,1 inference, 1 thread" in err
    data = json.loads(file.read_text())
    assert data["machine"]["torch"] == torch.__version__
    first = data["results"][0]
    assert (first["cell"], first["steps"], first["hidden"], first["train"]) == ("gru", 3, 5, False)
    assert len(first["seconds"]["elman"]) == len(first["seconds"]["torch"]) == 2
    assert first["times_as_fast"]["torch"] == pytest.approx(turns.ratio(first["seconds"], "torch", "elman"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--shape 1,2,3", "--shape must be four whole numbers T,B,I,H such as 128,32,64,128, not '1,2,3'"),
        ("--shape 1,2,3,x", "not '1,2,3,x'"),
        ("--shape 1,2,3,0", "each of T,B,I,H must be 1 or more"),
        ("--shape 1,2,3,4 --shape 100000,10000,1000,1", "more memory than is sensible"),
        ("--shape 1,1,1,100000", "more memory than is sensible"),
        ("--cell lsmt", "unknown cell 'lsmt' (did you mean 'lstm'?)"),
        ("--backend torhc", "unknown back end 'torhc' (did you mean 'torch'?)"),
        ("--backend torch --cell mgu", "back end 'torch' cannot run cell 'mgu' here"),
        ("--threads 0", "--threads must be from 1 to 1024, not 0"),
        ("--threads two", "--threads must be whole numbers"),
        ("--repeats 0", "--repeats must be from 1 to 10000, not 0"),
        ("--no-train --no-infer", "nothing to measure"),
        ("--json .", "a file cannot be written there"),
        ("--json no/such/folder", "a file cannot be written there"),
        ("--reps 3", "there is no option --reps"),
        ("lstm", "one argument too many: 'lstm'"),
    ],
)
def test_wrong_options_get_one_sentence(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("elman: ")
    assert err.count("\n") == 1


def test_its_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom elman.cli import main\n"
        "assert main(['bench', '--help']) == 0\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for option in ("--cell", "--shape", "--threads", "--train --no-train", "--infer --no-infer", "--repeats", "--json"):
        assert option in done.stdout
