"""The engine in a process: the same bits again, many callers, forks, other instruction sets, no compiler, tracing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from elman.engine import build
from elman.errors import OptionError
from elman.nn import Recurrent, rows
from engine_kit import BY_ROWS, BY_UNITS, EVERY, RAGGED, Case, differences, fast, outcome, problem, sharing, slow

HERE = Path(__file__).parent
SHARED = (BY_ROWS, BY_UNITS, RAGGED)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE), **changes}


def run_fresh(code: str, **changes: str) -> str:
    """What `code` prints in a process of its own, which must succeed without a word on its standard error."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=120, env=environment(**changes),
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    return run.stdout


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["lstm", "gru", "rhn", "lstm_layer_norm"])
def test_the_same_call_gives_the_same_bits(name: str, threads: int) -> None:
    """Sums are added up in an order that the sizes fix, and not the threads' luck."""
    torch.set_num_threads(threads)
    program = EVERY[name]
    for case in SHARED:
        given = problem(program, case)
        first, *again = (outcome(fast(program, case), program, case, given, torch.float32) for _ in range(4))
        assert all(equal(found, first) for found in again), case


def test_fifty_threads_at_once() -> None:
    """Different cells and sizes, forward and backward: what each finds is what it finds alone, bit for bit."""
    names = ("lstm", "gru", "rhn", "lstm_layer_norm", "indrnn", "rnn", "sums_of_units", "nine_maps", "lagging", "twice")
    jobs = []
    for k in range(50):
        units = (3 + k % 7, 41 + k, 41 + k)  # sizes of this test alone: their plans are made in the threads
        lengths = tuple(1 + (b * k) % 9 for b in range(20)) if k % 3 == 1 else None
        case = Case(9, 20, units, lengths=lengths, reverse=k % 2 == 1)
        jobs.append((EVERY[names[k % 10]], case, torch.float64 if k % 4 == 3 else torch.float32))
    together = threading.Barrier(len(jobs))

    def work(job: Any, alone: bool = False) -> dict[str, Tensor]:
        program, case, dtype = job
        torch.set_num_threads(2)  # for the calling thread
        given = problem(program, case)
        if not alone:
            together.wait(60)
        found = [outcome(fast(program, case), program, case, given, dtype) for _ in range(1 if alone else 3)]
        assert all(equal(one, found[0]) for one in found)
        return found[0]

    with ThreadPoolExecutor(len(jobs)) as pool:
        found = list(pool.map(work, jobs))
    torch.set_num_threads(1)
    for k, job in enumerate(jobs):
        program, case, dtype = job
        if k % 5 == 0:
            truth = outcome(slow(program, case), program, case, problem(program, case), torch.float64)
            assert not differences(found[k], truth), (program.name, case)
        assert equal(found[k], work(job, alone=True)), (program.name, case, dtype)


FORK = """
import os, warnings
import torch
from engine_kit import EVERY, Case, fast, outcome, problem, sharing
from elman.nn import Recurrent
torch.set_num_threads(2)
# No tensor of 32768 numbers: torch would put its own threads to work, whose library (libgomp) does not survive a fork
given = {case: problem(EVERY["gru"], case) for case in (Case(8, 33, (64, 64, 64)), Case(9, 15, (9, 130, 130)))}
def work():
    return [outcome(fast(EVERY["gru"], case), EVERY["gru"], case, g, torch.float32) for case, g in given.items()]
def same(a, b):
    return all(torch.equal(x[k], y[k]) for x, y in zip(a, b) for k in x)
with sharing(torch.float32) as seen:
    wanted = work()
assert seen == [(2, True), (2, False)], seen  # the pool's threads are there
for _ in range(2):
    child = os.fork()
    if child == 0:
        os._exit(0 if same(work(), wanted) and same(work(), wanted) else 1)
    assert same(work(), wanted)  # at the same time
    assert os.waitpid(child, 0)[1] == 0

class Encoded(torch.utils.data.Dataset):
    layer = Recurrent("lstm", 4, 150)
    def __len__(self):
        return 6
    def __getitem__(self, k):
        torch.set_num_threads(2)
        generator = torch.Generator().manual_seed(k)
        with torch.no_grad():
            return self.layer(torch.randn(10, 12, 4, generator=generator))[0]
data = Encoded()
alone = [data[k] for k in range(len(data))]
warnings.filterwarnings("ignore", "This DataLoader will create")  # on a machine with one processor
loaded = list(torch.utils.data.DataLoader(data, batch_size=None, num_workers=2))
assert all(torch.equal(a, b) for a, b in zip(alone, loaded, strict=True))
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("policy", ["PASSIVE", "ACTIVE"])
def test_a_fork_after_use_works(policy: str) -> None:
    """The child has neither torch's nor the pool's threads, and whatever locks they held: it makes its own. So do
    DataLoaders."""
    assert run_fresh(FORK, OMP_NUM_THREADS="2", OMP_WAIT_POLICY=policy) == "done\n"


WHOSE = """
import hashlib, os, torch
from engine_kit import BY_ROWS, BY_UNITS, EVERY, RAGGED, fast, outcome, problem
torch.set_num_threads(2)
torch.zeros(1 << 20).add_(1)  # torch's second thread is there
before, digest = len(os.listdir("/proc/self/task")), hashlib.sha256()
for name in ("lstm", "lstm_layer_norm"):
    for case in (BY_ROWS, BY_UNITS, RAGGED):
        given = problem(EVERY[name], case)
        for found in outcome(fast(EVERY[name], case), EVERY[name], case, given, torch.float32).values():
            digest.update(found.contiguous().numpy().tobytes())
print(len(os.listdir("/proc/self/task")) - before, digest.hexdigest())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.backends.openmp.is_available(), reason="needs torch's OpenMP and /proc"
)
def test_torchs_threads_are_used_where_they_spin() -> None:
    """Others of the engine's own would find the processors taken; the numbers are the same."""
    variables = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kinds = {"spin": ("ACTIVE", "1000"), "sleep": ("PASSIVE", "0"), "both": ("PASSIVE", "1000")}
    found = {
        which: run_fresh(WHOSE, OMP_NUM_THREADS="2", **dict(zip(variables, values))).split()
        for which, values in kinds.items()
    }
    assert {which: int(more) for which, (more, _) in found.items()} == {"spin": 0, "sleep": 1, "both": 0}
    assert len({digest for _, digest in found.values()}) == 1


FEWER = """
import torch
from engine_kit import BY_ROWS, BY_UNITS, EVERY, check
torch.set_num_threads(2)
for case in (BY_ROWS, BY_UNITS):
    check(EVERY["gru"], case, torch.float32)
print("done")
"""


def test_threads_that_are_not_given_are_not_waited_for() -> None:
    assert run_fresh(FEWER, OMP_THREAD_LIMIT="1", OMP_WAIT_POLICY="ACTIVE") == "done\n"


PARITY = """
import torch
from engine_kit import BY_ROWS, EVERY, Case, check
for name in ("lstm", "gru", "lstm_layer_norm", "rhn"):
    for case in (Case(3, 2, (5, 7, 3), lengths=(1, 3), every_state=True), Case(4, 5, (20, 33, 18), reverse=True),
                 Case(1, 1, (1, 1, 1)), Case(5, 9, (9, 16, 16))):
        check(EVERY[name], case)
torch.set_num_threads(2)
check(EVERY["gru"], BY_ROWS, torch.float32)
from elman.engine import build
print(build.chosen_isa())
"""


@pytest.mark.parametrize("isa", build.isas())
def test_every_instruction_set_that_the_processor_has(isa: str) -> None:
    """ELMAN_ISA chooses it, in a process of its own; in float32 and float64."""
    assert run_fresh(PARITY, ELMAN_ISA=isa) == f"{isa}\n"


def test_an_instruction_set_that_the_processor_lacks_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_ISA", "v9")
    layer = Recurrent("gru", 3, 41)  # what other tests have run is ready, and asks no more
    with pytest.raises(OptionError) as caught:
        layer(torch.zeros(2, 1, 3))
    assert str(caught.value).startswith(f"ELMAN_ISA=v9: this processor runs {', '.join(build.isas())}")
    assert "\n" not in str(caught.value)


WITHOUT = """
import warnings
import torch
from engine_kit import EVERY, Case, differences, fast, outcome, problem, slow
from elman import explain
from elman.nn import LSTM, Recurrent
case = Case(5, 3, (4, 6, 6), lengths=(2, 5, 0))
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("default")
    for name in ("lstm", "gru", "lstm_layer_norm"):
        given = problem(EVERY[name], case)
        wanted = outcome(slow(EVERY[name], case), EVERY[name], case, given, torch.float64)
        for dtype in (torch.float32, torch.float64):
            assert not differences(outcome(fast(EVERY[name], case, "auto"), EVERY[name], case, given, dtype), wanted)
    print(explain(LSTM(3, 4)))
    print(explain(Recurrent("lstm_layer_norm", 3, 4)))
print([str(w.message) for w in seen])
"""


def test_without_a_compiler_the_slower_back_ends_run(tmp_path: Path) -> None:
    """One warning, and the right numbers."""
    found = run_fresh(WITHOUT, CXX="/nonexistent", PATH="", ELMAN_CACHE=str(tmp_path)).splitlines()
    assert len(found) == 3
    assert "cell lstm: torch" in found[0]
    assert "cell lstm_layer_norm: reference" in found[1]
    assert found[2] == "['no C++ compiler was found: cells run without kernels, slower; install g++ or clang++']"


STREAMED = """
import numpy as np
from elman.cells import mgu
from elman.engine.step import compiled
shapes = mgu.program.parameter_shapes(3, 5, 5)
step = compiled(mgu.program, {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}, (3, 5, 5))
x, out = np.ones((4, 3), np.float32), np.zeros((4, 5), np.float32)
step.call(step.bind(x, out))
print(out)
"""


def test_two_processes_may_compile_into_one_empty_cache(tmp_path: Path) -> None:
    made = environment(ELMAN_CACHE=str(tmp_path / "cache"), ELMAN_CXXFLAGS="-O0")
    command = [sys.executable, "-W", "error", "-c", STREAMED]
    pipe = subprocess.PIPE
    runs = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=made) for _ in range(2)]
    answers = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert answers[0] == answers[1]
    assert answers[0][1] == ""
    names = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "cache").iterdir())
    assert names == ["engine", "mgu"], "nothing is left over"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_retained_graph_gives_its_gradients_again(threads: int) -> None:
    torch.set_num_threads(threads)
    for name in ("lstm", "rhn", "lstm_layer_norm", "map_of_the_new"):
        for case in SHARED:
            x, states, weights = problem(EVERY[name], case)
            leaves = [t.float().requires_grad_() for t in (x, *states, *weights.values())]
            count = 1 + len(states)
            sequences, final = fast(EVERY[name], case)(dict(zip(weights, leaves[count:])), leaves[0], leaves[1:count])
            loss = sequences[0].square().sum() + sum(f.sum() for f in final)
            first = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
            for retain in (True, False):
                again = torch.autograd.grad(loss, leaves, retain_graph=retain, materialize_grads=True)
                assert all(torch.equal(a, b) for a, b in zip(again, first))
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(loss, leaves, allow_unused=True)


def gradients(layer: Recurrent, x: Tensor, lengths: Any, every: Any) -> dict[str, Tensor]:
    layer.checkpoint_every = every
    output, final = layer(x, lengths=lengths)
    found = {"output": output, **{f"state {k}": s for k, s in enumerate(s for part in final for s in part)}}
    weighted = sum((s * torch.linspace(-1, 1, s.numel()).view_as(s)).sum() for s in found.values())
    names, leaves = zip(("x", x), *layer.named_parameters())
    return {**found, **dict(zip(names, torch.autograd.grad(weighted, leaves)))}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["lstm", "gru", "rhn", "lstm_layer_norm", "indrnn", "slstm"])
def test_checkpoints_give_the_same_bits(name: str, threads: int) -> None:
    """States are kept at some steps alone and the others computed again: outputs and gradients do not change."""
    torch.set_num_threads(threads)
    some = [150, *[(37 * k) % 151 for k in range(32)]]
    for units, steps, batch, lengths in ((5, 1200, 3, None), (64, 150, 33, None), (64, 150, 33, some),
                                         (130, 500, 4, None), (130, 500, 4, [500, 17, 0, 430])):  # fmt: skip
        kept = rows.dense(steps, batch, "auto") if lengths is None else rows.ragged(steps, lengths, "auto")
        assert len(kept.segments) > 1
        layer = Recurrent(name, 4, units, bidirectional=True)
        x = torch.randn(steps, batch, 4, requires_grad=True)
        plain = gradients(layer, x, lengths, None)
        for every in (1, 250, "auto"):
            for what, ours in gradients(layer, x, lengths, every).items():
                assert torch.equal(ours, plain[what]), (units, lengths, every, what)


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "250", "Auto", [3]])
def test_wrong_distances_of_checkpoints_are_refused(every: Any) -> None:
    with pytest.raises(OptionError, match=r"^checkpoint_every must be a number of steps, 1 or more, .* not ") as caught:
        Recurrent("gru", 3, 4, checkpoint_every=every)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_checkpoints_need_the_kernels(backend: str) -> None:
    layer = Recurrent("gru", 3, 4, checkpoint_every=5, backend=backend)
    with pytest.raises(OptionError, match=f"^checkpoint_every needs the native back end; here runs {backend}"):
        layer(torch.zeros(2, 1, 3))


TRACED = ("lstm", "gru", "lstm_layer_norm", "mgu")


@pytest.mark.parametrize("name", TRACED)
def test_a_fake_tensor_mode_has_shapes_alone(name: str) -> None:
    for lengths in (None, [3, 1]):
        layer, x = Recurrent(name, 3, 4, bidirectional=True), torch.randn(3, 2, 3)
        with FakeTensorMode(allow_non_fake_inputs=True):
            output, state = layer(torch.empty(3, 2, 3, requires_grad=True), lengths=lengths)
            output.sum().backward()
            fake = Recurrent(name, 3, 4)(torch.empty(3, 2, 3))[0]
        assert (output.shape, state[0][0].shape, fake.shape) == ((3, 2, 8), (2, 4), (3, 2, 4))
        assert layer(x)[0].isfinite().all()


@pytest.mark.parametrize("name", TRACED)
def test_make_fx_traces_a_layer(name: str) -> None:
    """What is traced computes from what it is given, and not from the numbers of the trace."""
    layer, x = Recurrent(name, 3, 4, bidirectional=True), torch.randn(3, 2, 3)
    for mode in ("real", "fake"):
        with torch.no_grad():
            traced = make_fx(lambda x: layer(x)[0], tracing_mode=mode, _allow_non_fake_inputs=True)(x)
            torch.testing.assert_close(traced(2 * x), layer(2 * x)[0])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", TRACED)
def test_jit_traces_a_layer(name: str, tmp_path: Path) -> None:
    """Checked by torch, saved and loaded; it computes from what it is given, and passes gradients on."""
    layer, x = Recurrent(name, 3, 4, bidirectional=True), torch.randn(3, 2, 3)
    torch.jit.save(torch.jit.trace(layer, (x,)), tmp_path / "traced.pt")  # type: ignore[no-untyped-call]
    traced, x = torch.jit.load(tmp_path / "traced.pt"), torch.randn(3, 2, 3, requires_grad=True)  # type: ignore[no-untyped-call]
    outputs = [one(x)[0] for one in (traced, layer)]
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad(output.square().sum(), x) for output in outputs))


def test_calls_that_are_shared_out_are() -> None:
    """Else the tests above would not see what they are for."""
    torch.set_num_threads(2)
    for case, way in zip(SHARED, ((2, True), (2, False), (2, False))):
        with sharing(torch.float32) as seen:
            outcome(fast(EVERY["lstm"], case), EVERY["lstm"], case, problem(EVERY["lstm"], case), torch.float32)
        assert seen == [way]
