"""What backpropagation through a long sequence keeps: the most memory of a step at T = 10,000, B = 8, H = I = 256.

    python benchmarks/speed/memory.py [--steps 10000]

MiB above what the process held before the step (its input included); each rival in a process of its own, after a short
step that loads and warms all code. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from elman.bench import report

BATCH, HIDDEN = 8, 256
RIVALS = ("torch", "elman", "elman, recomputing")


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most since the mark was last taken back."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def child(rival: str, cell: str, steps: int, backend: str) -> None:
    """Print the MiB of one step."""
    import torch

    import elman.nn

    layer: torch.nn.Module
    if rival == "torch":
        layer = getattr(torch.nn, cell.upper())(HIDDEN, HIDDEN)
    else:
        more = {"checkpoint_every": "auto"} if "recomputing" in rival else {}
        layer = elman.nn.Recurrent(cell, HIDDEN, HIDDEN, backend=backend, **more)  # type: ignore[arg-type]
    torch.set_num_threads(2)
    for length in (64, steps):
        x, grad = torch.randn(length, BATCH, HIDDEN), torch.randn(length, BATCH, HIDDEN)
        Path("/proc/self/clear_refs").write_text("5")  # the mark of the most memory starts again
        before = resident("VmRSS")
        layer(x)[0].backward(grad)
        most = resident("VmHWM") - before
        layer.zero_grad()
    print(most)


def measured(rival: str, cell: str, options: argparse.Namespace) -> float | str:
    """The MiB, or the last line of what went wrong."""
    command = [sys.executable, __file__, "--child", rival, "--cell", cell]
    command += ["--steps", str(options.steps), "--backend", options.backend]
    done = subprocess.run(command, capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else (done.stderr.strip().splitlines() or ["killed"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--cell", default="lstm,gru,rnn")
    parser.add_argument("--backend", default="auto", help="of elman")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.cell, options.steps, options.backend)
    rows, wrong = [], []
    for cell in options.cell.split(","):
        found = {rival: measured(rival, cell, options) for rival in RIVALS}
        rows.append([cell, *("–" if isinstance(mib, str) else f"{mib:,.0f}" for mib in found.values())])
        wrong += [f"{rival}, {cell}: {mib}" for rival, mib in found.items() if isinstance(mib, str)]
    print(f"{report.about()}; MiB of a step, T = {options.steps:,}, B = {BATCH}, H = I = {HIDDEN}\n")
    print(report.markdown(("cell", *RIVALS), rows), *wrong, sep="\n")
    return None


if __name__ == "__main__":
    main()
