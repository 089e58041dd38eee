"""What the allocator costs a training step: the same LSTM steps with glibc as it is and told to keep large blocks.

    python benchmarks/allocator.py

Each setting runs in processes of its own, alternating, because it cannot be taken back; medians and spread.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

SHAPES = [(128, 32, 512), (100, 64, 256), (35, 20, 650)]
ROUNDS = 3


def child(keep: bool) -> None:
    """Print the median milliseconds of a step for every shape."""
    import torch

    from elman.nn import Recurrent
    from elman.training.allocator import keep_large_blocks

    if keep:
        keep_large_blocks()
    for steps, batch, hidden in SHAPES:
        layer = Recurrent("lstm", hidden, hidden)
        x = torch.randn(steps, batch, hidden)
        times = []
        for _ in range(12):
            start = time.perf_counter()
            output, _state = layer(x)[:2]
            output.sum().backward()
            times.append(time.perf_counter() - start)
        print(1e3 * median(times[2:]))


def main() -> None:
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for keep in (False, True):
            out = subprocess.run(
                [sys.executable, __file__, str(keep)], capture_output=True, text=True, check=True
            ).stdout
            found[keep].append([float(line) for line in out.split()])
    print("| T, B, H = I | as it is, ms | large blocks kept, ms | ratio (least to most) |")
    print("|---|---|---|---|")
    for place, shape in enumerate(SHAPES):
        plain, kept = ([run[place] for run in found[keep]] for keep in (False, True))
        ratios = sorted(a / b for a, b in zip(plain, kept))
        spread = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {shape} | {median(plain):.1f} | {median(kept):.1f} | {spread} |")


if __name__ == "__main__":
    child(sys.argv[1] == "True") if len(sys.argv) > 1 else main()
