"""One step of one sequence, called from Python: microseconds a step, one thread.

    python benchmarks/streaming.py

elman's compiled step beside torch's cells (LSTMCell, GRUCell, RNNCell, in inference mode), in one process, interleaved:
the median over rounds and, in brackets, the least and the most. Outputs are compared before anything is timed. With
onnxruntime and onnx installed its figure would belong beside; it is not measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from elman.cells import CATALOGUE
from elman.engine.native import Step, library
from elman.nn import Recurrent

ROUNDS, CALLS = 15, 300
TORCH: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "lstm": torch.nn.LSTMCell,
    "gru": torch.nn.GRUCell,
    "rnn": torch.nn.RNNCell,
}


def microseconds(call: Callable[[], object]) -> float:
    """Of one call, on average over CALLS."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return 1e6 * (time.perf_counter() - start) / CALLS


def ours(name: str, hidden: int) -> Callable[[], np.ndarray]:
    """A step of the compiled cell from a fixed input; checked against the layer in torch."""
    layer = Recurrent(name, hidden, hidden)
    (part,) = layer.parts()
    code = library(part.program)
    if code is None:
        raise SystemExit("no C++ compiler: there is nothing to measure")
    weights = {n: w.detach().numpy() for n, w in part.weights.items()}
    step = Step(code, part.program, weights, (hidden, hidden, hidden))
    x, out = np.zeros((1, hidden), np.float32), np.zeros((1, hidden), np.float32)
    x[:] = np.random.default_rng(0).normal(size=(1, hidden))
    arguments = step.bind(x, out)
    step.call(arguments)
    with torch.inference_mode():
        np.testing.assert_allclose(out, layer(torch.from_numpy(x)[:, None])[0][:, 0], atol=1e-5)

    def call() -> np.ndarray:
        step.call(arguments)
        return out

    return call


def torchs(name: str, hidden: int) -> Callable[[], object]:
    """A step of torch's cell, the state fed back."""
    cell = TORCH[name](hidden, hidden)
    x = torch.randn(1, hidden)
    state = [cell(x)]

    def call() -> object:
        with torch.inference_mode():
            state[0] = cell(x, state[0])
        return state

    return call


def main() -> None:
    torch.set_num_threads(1)
    assert set(TORCH) <= set(CATALOGUE)
    print("| cell | H = I | elman, µs | torch, µs | ratio |")
    print("|---|---:|---:|---:|---:|")
    for name in TORCH:
        for hidden in (32, 128, 512):
            calls = {"elman": ours(name, hidden), "torch": torchs(name, hidden)}
            times: dict[str, list[float]] = {key: [] for key in calls}
            for _ in range(ROUNDS):
                for key, call in calls.items():
                    times[key].append(microseconds(call))
            cells = [f"{median(t):.2f} ({min(t):.2f} to {max(t):.2f})" for t in times.values()]
            ratio = median(b / a for a, b in zip(times["elman"], times["torch"]))
            print(f"| {name} | {hidden} | {cells[0]} | {cells[1]} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
