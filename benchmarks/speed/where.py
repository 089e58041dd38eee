"""Where the time of a call goes: products, loops over units, packing, waiting, fresh memory, Python and torch.

    python benchmarks/speed/where.py [--cell lstm,gru,rnn] [--shape T,B,I,H ...] [--passes training,inference]

Needs Linux's `perf`. Each row is a process of its own that repeats one call; the shares are of the samples of all its
threads, and a thread that sleeps is in none of them. What the system does beside switching threads is to give memory.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from table import TARGETS

from elman.bench import report

# The first that a sample's "library symbol" answers to.
KINDS = {
    "products": r"^engine-\S+ .*::(tiles?<|multiply)",
    "loops over units": r"^[\w.]+-[0-9a-f]{32}\.so (for|back)ward_",
    "packing": r"^engine-\S+ .*(::pack|Packing|unpack|gather|scatter)",
    "waiting": r"^(engine-\S+ .*::(serve|meet|in_parallel)|libgomp|\[kernel\S* .*(sched|yield|futex|switch|task))",
    "driver": r"^engine-",
    "fresh memory": r"^\[kernel",
    "Python, torch": r"",
}
HEADER = ("T,B,I,H", "cell", "pass", "threads", *KINDS)


def child(cell: str, shape: str, passes: str, threads: int) -> NoReturn:
    """One call, warm, again and again, until this process is ended."""
    import torch

    from elman.bench.task import Task
    from elman.cells import named

    torch.set_num_threads(threads)
    steps, batch, inputs, hidden = map(int, shape.split(","))
    task = Task(named(cell), steps, batch, inputs, hidden, passes == "training")
    run = task.own_rival(task.layer()).run
    run()
    print("warm", flush=True)
    while True:
        run()


def shares(samples: str) -> dict[str, float]:
    """The share of each kind in the lines of `perf report`: percent;library;symbol."""
    found = dict.fromkeys(KINDS, 0.0)
    for line in samples.splitlines():
        if parts := re.match(r"\s*([\d.]+)%\s*;\s*([^;]+?)\s*;\s*\[.\] (.*)", line):
            name = f"{parts[2]} {parts[3]}"
            found[next(kind for kind, form in KINDS.items() if re.search(form, name))] += float(parts[1])
    total = sum(found.values())
    if not total:
        raise SystemExit(f"perf took no samples:\n{samples}")
    return {kind: share / total for kind, share in found.items()}


def measured(cell: str, shape: str, passes: str, threads: int, seconds: float) -> dict[str, float]:
    """The shares of one call."""
    command = [sys.executable, __file__, "--cell", cell, "--shape", shape, "--threads", str(threads), "--child", passes]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running,
    ):
        try:
            assert running.stdout is not None
            if not running.stdout.readline():
                raise SystemExit("the call could not be run")
            data = str(Path(folder) / "perf.data")
            perf(["record", "-F", "999", "-p", str(running.pid), "-o", data, "--", "sleep", str(seconds)])
            return shares(perf(["report", "-i", data, "--stdio", "--sort", "dso,sym", "-t", ";"]))
        finally:
            running.kill()


def perf(words: list[str]) -> str:
    done = subprocess.run(["perf", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"perf {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cell", default="lstm,gru,rnn")
    parser.add_argument("--shape", nargs="*", default=[",".join(map(str, shape)) for shape in TARGETS])
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--passes", default="training,inference")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.cell, options.shape[0], options.child, int(options.threads))
    if shutil.which("perf") is None:
        raise SystemExit("this needs perf (Debian: linux-perf)")
    rows = []
    for shape in options.shape:
        for cell in options.cell.split(","):
            for passes in options.passes.split(","):
                for threads in options.threads.split(","):
                    print(f"{cell} {shape} {passes}, threads: {threads}", file=sys.stderr)
                    found = measured(cell, shape, passes, int(threads), options.seconds)
                    rows.append([shape, cell, passes, threads, *(f"{share:.0%}" for share in found.values())])
    print(f"{report.about()}; % of the samples of all threads\n")
    print(report.markdown(HEADER, rows))


if __name__ == "__main__":
    main()
