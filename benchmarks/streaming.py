"""One step of one sequence, called from Python: microseconds a step, in one thread and in two.

    python benchmarks/streaming.py

elman's compiled step beside torch's cells (LSTMCell, GRUCell, RNNCell, in inference mode) and, where it is installed,
onnxruntime with its buffers bound; in one process, in turns, the state fed back. All have the same weights, and their
first steps are compared before anything is timed. The median over turns and, in brackets, the quartiles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from elman.bench import report
from elman.bench.rivals import NOT_INSTALLED
from elman.bench.task import Task
from elman.bench.turns import ratio, spread, turns
from elman.cells import CATALOGUE
from elman.engine.step import compiled

REPEATS, COMPARED = 15, 5
SIZES, THREADS = (32, 128, 512), (1, 2)
TORCH: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "lstm": torch.nn.LSTMCell,
    "gru": torch.nn.GRUCell,
    "rnn": torch.nn.RNNCell,
}
Call = Callable[[], np.ndarray]
"""A step from the state that the last one left; gives the output (1, H)."""


def elmans(task: Task, threads: int) -> Call:
    """The compiled cell."""
    (part,) = task.layer().parts()
    weights = {name: weight.detach().numpy() for name, weight in part.weights.items()}
    step = compiled(part.program, weights, (task.inputs, task.hidden, task.hidden), threads)
    if step is None:
        raise SystemExit("no C++ compiler: there is nothing to measure")
    out = np.zeros((1, task.hidden), np.float32)
    bound = step.bind(task.tensors()[0][0].numpy(), out)

    def call() -> np.ndarray:
        step.call(bound)
        return out

    return call


def torchs(task: Task) -> Call:
    """torch's cell."""
    cell = TORCH[task.cell.name](task.inputs, task.hidden)
    x = task.tensors()[0][0]
    for parameter, weight in zip(cell.parameters(), task.torch_weights(), strict=True):
        parameter.data.copy_(weight)
    state = [None]

    def call() -> np.ndarray:
        with torch.inference_mode():
            state[0] = made = cell(x, state[0])
        return np.asarray(made[0] if isinstance(made, tuple) else made)

    return call


def onnxruntimes(task: Task, threads: int) -> Call | None:
    """A model of one node and one step; two sets of buffers, since a step must not write what it reads."""
    try:
        from elman.bench.onnx_node import Bound, session
    except ImportError:
        return None
    names = ("h", "c")[: len(task.cell.states)]
    x, output = task.tensors()[0].numpy(), np.zeros((1, 1, 1, task.hidden), np.float32)
    buffers = [{name: np.zeros((1, 1, task.hidden), np.float32) for name in names} for _ in range(2)]
    of = session(task, threads, states=True)
    there, back = (
        Bound(of, {"x": x, **before}, {"output": output, **{f"new_{name}": a for name, a in after.items()}})
        for before, after in (buffers, buffers[::-1])
    )
    turn = [there, back]
    here: np.ndarray = output[0, 0]

    def call() -> np.ndarray:
        turn[0]()
        turn.reverse()
        return here

    return call


def measured(task: Task, threads: int) -> list[str]:
    """A row of the table."""
    torch.set_num_threads(threads)
    made = {"elman": elmans(task, threads), "torch": torchs(task), "onnxruntime": onnxruntimes(task, threads)}
    calls = {rival: call for rival, call in made.items() if call is not None}
    for _ in range(COMPARED):
        first, *others = (call().copy() for call in calls.values())
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-5)
    times = turns(calls, REPEATS)
    shown = [report.quartiles(spread(times[r]).times(1e6)) if r in times else NOT_INSTALLED for r in made]
    ratios = [f"{ratio(times, r, 'elman'):.1f}" if r in times else "–" for r in ("torch", "onnxruntime")]
    return [task.cell.name, str(task.hidden), str(threads), *shown, *ratios]


def main() -> None:
    rows = [
        measured(Task(CATALOGUE[name], 1, 1, hidden, hidden, train=False), threads)
        for name in TORCH
        for hidden in SIZES
        for threads in THREADS
    ]
    print(f"{report.about()}; microseconds a step\n")
    header = ("cell", "H = I", "threads", "elman", "torch's cell", "onnxruntime", "x torch", "x onnxruntime")
    print(report.markdown(header, rows))


if __name__ == "__main__":
    main()
