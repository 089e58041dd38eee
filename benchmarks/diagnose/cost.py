"""The cost of a full report on a 2-layer LSTM, H = 256, T = 200, B = 16, and of `--diagnose` during training.

python benchmarks/diagnose/cost.py [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

import elman
from elman.diagnosis import Sampling
from elman.diagnosis.watch import watch
from elman.nn import Recurrent

STEPS, BATCH, INPUT, HIDDEN = 200, 16, 64, 256


def peak() -> float:
    """The most memory that the process held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def training_step(layer: Recurrent, x: torch.Tensor) -> float:
    """Seconds of a forward and a backward pass, the best of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        layer(x)[0].square().mean().backward()
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    layer = Recurrent("lstm", INPUT, HIDDEN, 2)
    x = torch.randn(STEPS, BATCH, INPUT)
    layer(x)  # kernels are compiled once in a machine's life
    layer.double()(x.double())
    layer.float()
    before, began, processor = peak(), time.perf_counter(), time.process_time()
    report = elman.diagnose(layer, x, sampling=Sampling())
    print(
        f"a full report: {time.perf_counter() - began:.1f} s, {time.process_time() - processor:.1f} s of processor time"
    )
    print(f"peak memory: {peak():,.0f} MiB, {before:,.0f} MiB of them before the report")
    print(f"as JSON: {len(report.to_json()) / 1e6:.1f} MB")
    began = time.perf_counter()
    watch(layer, lambda: layer(x)[0].square().mean())
    look, step = time.perf_counter() - began, training_step(layer, x)
    print(f"a look during training: {look:.2f} s, as long as {look / step:.0f} training steps of {step * 1000:.0f} ms")
    print(report.summary())


if __name__ == "__main__":
    main()
