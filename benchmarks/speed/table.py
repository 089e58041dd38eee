"""The layers on eight shapes beside torch.nn's, onnxruntime and jax, as shares of the peak, beside the targets.

    python benchmarks/speed/table.py [--cell lstm,gru,rnn] [--shape T,B,I,H ...] [--threads 2,1] [--backend auto]

Prints Markdown. A figure under its target is marked with "miss". `elman.bench` says how it is measured.
"""

from __future__ import annotations

import argparse
import sys

from elman.bench import report
from elman.bench.measure import Measured, measure
from elman.bench.task import Task
from elman.cells import named

Shape = tuple[int, int, int, int]
# T, B, I, H: for each cell the share of the peak in training (%) and how many times as fast as torch, and in inference
# how many times as fast as the better of torch and onnxruntime.
TARGETS: dict[Shape, dict[str, tuple[float, float, float]]] = {
    (100, 1, 64, 64): {"lstm": (42, 6, 2.8), "gru": (40, 60, 2.6), "rnn": (24, 45, 3.5)},
    (128, 32, 64, 128): {"lstm": (78, 1.45, 1.25), "gru": (78, 5.5, 2.5), "rnn": (75, 5.5, 5.5)},
    (128, 32, 256, 256): {"lstm": (82, 1.5, 1.15), "gru": (83, 3.3, 1.7), "rnn": (80, 3.3, 3.5)},
    (100, 64, 512, 512): {"lstm": (85, 1.45, 1.2), "gru": (88, 2.7, 1.45), "rnn": (85, 2.6, 2.9)},
    (35, 20, 650, 650): {"lstm": (80, 1.1, 1.1), "gru": (78, 2.8, 1.3), "rnn": (75, 2.6, 3.0)},
    (35, 20, 1500, 1500): {"lstm": (76, 1.5, 1.6), "gru": (75, 3.0, 1.25), "rnn": (79, 3.0, 2.0)},
    (784, 32, 1, 128): {"lstm": (80, 3.0, 1.4), "gru": (75, 7.3, 4.0), "rnn": (70, 7.0, 8.0)},
    (1000, 8, 32, 256): {"lstm": (83, 1.4, 1.3), "gru": (80, 8.0, 2.4), "rnn": (78, 7.8, 7.0)},
}
HEADER = (
    "T,B,I,H", "cell", "threads", "training, ms", "of peak (target)", "x torch (target)", "x jax",
    "inference, ms", "of peak", "x torch", "x onnxruntime", "x the better (target)",
)  # fmt: skip


MISS = " miss"


def beside(value: float | None, target: float | None, form: str, unit: str = "") -> str:
    """The figure, its target, and whether it was missed."""
    if value is None or target is None:
        return report.number(value, form)
    shown = f"{value:{form}}"
    return f"{shown}{unit} ({target:g}){MISS if float(shown) < target else ''}"


def row(train: Measured, infer: Measured) -> list[str]:
    """Both passes of a cell on a shape."""
    task = train.task
    shape = (task.steps, task.batch, task.inputs, task.hidden)
    share, torchs, better = TARGETS.get(shape, {}).get(task.cell.name, (None, None, None))
    return [
        task.shape, task.cell.name, str(train.threads),
        report.quartiles(train.milliseconds),
        beside(None if train.share is None else 100 * train.share, share, ".0f", " %"),
        beside(train.against("torch"), torchs, ".2f"),
        report.number(train.against("jax"), ".2f"),
        report.quartiles(infer.milliseconds),
        report.percent(infer.share),
        report.number(infer.against("torch"), ".2f"),
        report.number(infer.against("onnxruntime"), ".2f"),
        beside(infer.against("torch", "onnxruntime"), better, ".2f"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cell", default="lstm,gru,rnn")
    parser.add_argument("--shape", nargs="*", default=[",".join(map(str, shape)) for shape in TARGETS])
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    rows, results = [], []
    for shape in options.shape:
        for name in options.cell.split(","):
            for threads in map(int, options.threads.split(",")):
                both = []
                for train in (True, False):
                    steps, batch, inputs, hidden = map(int, shape.split(","))
                    task = Task(named(name), steps, batch, inputs, hidden, train)
                    print(f"{task.title}, threads: {threads}", file=sys.stderr)
                    rivals = ("torch", "jax") if train else ("torch", "onnxruntime")
                    both.append(measure(task, threads, options.repeats, backend=options.backend, rivals=rivals))
                rows.append(row(*both))
                results += both
    backends = ", ".join(sorted({result.backend for result in results}))
    print(f"{report.about()}; turns: {options.repeats}; elman's back end: {backends}\n")
    print(report.markdown(HEADER, rows), *report.notes(results), sep="\n")
    print(f"\nfigures under their target: {sum(cell.endswith(MISS) for row in rows for cell in row)}")


if __name__ == "__main__":
    main()
