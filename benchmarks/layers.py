"""How fast the layers are beside torch.nn's, and the adjoint beside autograd through the same steps.

    python benchmarks/layers.py [--repeats 20] [--threads 1] [--clock wall]

One process; the rivals take turns, so that a change of the machine's load meets all of them. A time is that of one
forward and backward pass (train) or of one forward pass without gradients (infer), float32: the median, and in brackets
the quartiles. The ratio is the median over turns of rival / elman: above 1, elman is faster. On a machine that others
use, `--clock cpu` with one thread counts the process's own time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import elman.nn
from elman.nn.reference import Scan, scan

Run = Callable[[], object]
SHAPES = ((32, 1, 64, 64), (100, 16, 64, 128), (35, 20, 256, 256))
"""T, B, I, H."""
REFERENCE_CELLS = ("lstm_peephole", "gru_reset_before", "rnn_sigmoid")


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def turns(rivals: dict[str, Run], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each rival in every turn, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(repeats + 1):
        for name, run in rivals.items():
            start = clock()
            run()
            if turn:
                times[name].append(clock() - start)
    return times


def train(layer: Any, x: Tensor) -> Run:
    def run() -> None:
        layer(x)[0].sum().backward()
        layer.zero_grad()

    return run


def infer(layer: Any, x: Tensor) -> Run:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def against_torch() -> Iterator[tuple[str, dict[str, Run]]]:
    """(title, rivals); elman's first."""
    for kind in ("LSTM", "GRU", "RNN"):
        for t, b, i, h in SHAPES:
            x = torch.randn(t, b, i)
            layers = {
                "Recurrent": elman.nn.Recurrent(kind.lower(), i, h),
                f"elman.nn.{kind}": getattr(elman.nn, kind)(i, h),
                f"torch.nn.{kind}": getattr(torch.nn, kind)(i, h),
            }
            for how in (train, infer):
                title = f"{kind} {how.__name__} T={t} B={b} I={i} H={h}"
                yield title, {name: how(layer, x) for name, layer in layers.items()}


def against_autograd() -> Iterator[tuple[str, dict[str, Run]]]:
    """The reference back end: backward by the adjoint program, and by autograd through the scan."""
    for cell in REFERENCE_CELLS:
        t, b, i, h = SHAPES[1]
        part = next(elman.nn.Recurrent(cell, i, h).parts())
        names, weights = tuple(part.weights), list(part.weights.values())
        x = torch.randn(t, b, i)

        def adjoint(part: Any = part, names: Any = names, weights: Any = weights, x: Tensor = x) -> None:
            sequences = Scan.apply(part.program, names, x, *part.zeros(x.shape[1]), *weights)  # type: ignore[no-untyped-call]
            torch.autograd.grad(sequences[0].sum(), weights)

        def autograd(part: Any = part, weights: Any = weights, x: Tensor = x) -> None:
            sequences, _ = scan(part.program, part.weights, x, part.zeros(x.shape[1]))
            torch.autograd.grad(sequences[0].sum(), weights)

        yield f"{cell} train T={t} B={b} I={i} H={h}", {"adjoint": adjoint, "autograd": autograd}


def report(title: str, times: dict[str, list[float]]) -> None:
    *_, rival = times
    for name, own in times.items():
        low, middle, high = statistics.quantiles(own, n=4)
        ratio = statistics.median(r / o for r, o in zip(times[rival], own, strict=True))
        said = "" if name == rival else f"{ratio:7.2f}"
        print(f"{title:44} {name:15} {1e3 * middle:8.2f} [{1e3 * low:.2f}, {1e3 * high:.2f}] {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=20, help="turns, 2 or more")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    about = f"{options.threads} thread(s), {options.repeats} turns, milliseconds of {options.clock} time"
    print(f"torch {torch.__version__}, {about}")
    print(f"{'what':44} {'who':15} {'median':>8} [quartiles] ratio to the last")
    for title, rivals in (*against_torch(), *against_autograd()):
        report(title, turns(rivals, options.repeats, CLOCKS[options.clock]))


if __name__ == "__main__":
    main()
