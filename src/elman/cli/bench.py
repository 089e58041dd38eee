"""`elman bench`: how fast the layers are on this machine, beside torch's, onnxruntime and jax, and beside its peak."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elman import cells
from elman.cli.options import BENCH
from elman.errors import OptionError

if TYPE_CHECKING:
    from elman.bench.measure import Measured

Shape = tuple[int, int, int, int]
MOST_REPEATS, MOST_THREADS = 10_000, 1024
LARGEST = 1 << 30
"""Numbers in the input or the output: 4 GiB."""
EXPLAINED = """\
pass: training is forward and backward with all gradients, inference forward without gradients; ms: the median turn.
of peak: matrix products a second as a share of the most multiply-adds that the processor did meanwhile.
x NAME: how many times as long NAME took; above 1, elman is faster. Every result is first compared with float64."""


class Tell(Protocol):
    """Called before each measurement."""

    def __call__(self, title: str) -> None: ...


def bench(chosen: Mapping[str, Any]) -> None:
    """Measure every cell, shape and pass on every number of threads; print the table."""
    default = {option.name: option.default for option in BENCH}
    names = chosen.get("cell", default["cell"].split(","))
    kinds = [cells.named(name) for name in ([names] if isinstance(names, str) else names)]
    shapes = [shape(text) for text in chosen.get("shape", default["shape"].split())]
    passes = [train for train in (True, False) if chosen.get("train" if train else "infer", True)]
    repeats, file = chosen.get("repeats", default["repeats"]), chosen.get("json")
    if not passes:
        raise OptionError("--no-train and --no-infer leave nothing to measure; leave one of them out")
    if not 1 <= repeats <= MOST_REPEATS:
        raise OptionError(f"--repeats must be from 1 to {MOST_REPEATS}, not {repeats}")
    if file is not None and (Path(file).is_dir() or not Path(file).parent.is_dir()):
        raise OptionError(f"--json {file}: a file cannot be written there; name one in a folder that exists")
    threads = _threads(chosen.get("threads", ()))
    results = _measured(kinds, shapes, passes, threads, repeats, chosen.get("backend", default["backend"]))
    from elman.bench import report

    print(f"{report.about()}; turns: {repeats}\n")
    print(f"{report.table(results)}\n\n{EXPLAINED}")
    if file is not None:
        from elman.runtime import write_atomically

        write_atomically(file, json.dumps(report.as_data(results), indent=1).encode())


def shape(text: str) -> Shape:
    """T, B, I, H out of `128,32,64,128`; OptionError for anything else."""
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9}){3}", text):
        raise OptionError(f"--shape must be four whole numbers T,B,I,H such as 128,32,64,128, not {text[:60]!r}")
    steps, batch, inputs, hidden = (int(n) for n in text.split(","))
    if min(steps, batch, inputs, hidden) < 1:
        raise OptionError(f"--shape {text}: each of T,B,I,H must be 1 or more")
    if steps * batch * max(inputs, hidden) > LARGEST or hidden * (inputs + hidden) > LARGEST:
        raise OptionError(f"--shape {text} needs more memory than is sensible; choose smaller numbers")
    return steps, batch, inputs, hidden


def _threads(given: Sequence[int]) -> list[int]:
    """The numbers of threads, or torch's own choice and 1."""
    for count in given:
        if not 1 <= count <= MOST_THREADS:
            raise OptionError(f"--threads must be from 1 to {MOST_THREADS}, not {count}")
    if given:
        return list(dict.fromkeys(given))
    import torch

    return list(dict.fromkeys([torch.get_num_threads(), 1]))


def _measured(
    kinds: Sequence[cells.Cell | cells.TracedCell],
    shapes: Sequence[Shape],
    passes: Sequence[bool],
    threads: Sequence[int],
    repeats: int,
    backend: str,
) -> list[Measured]:
    from elman.bench.measure import measure
    from elman.bench.task import Task
    from elman.nn import Recurrent

    for cell in kinds:
        Recurrent(cell, 1, 1, backend=backend)  # refuses before minutes have passed
    tasks = [Task(cell, *sizes, train) for cell in kinds for sizes in shapes for train in passes]
    found = []
    with _progress(len(tasks) * len(threads)) as tell:
        for task in tasks:
            for count in threads:
                tell(f"{task.title}, {count} thread{'s' * (count > 1)}")
                found.append(measure(task, count, repeats, backend=backend))
    return found


@contextmanager
def _progress(total: int) -> Iterator[Tell]:
    """A bar on a terminal, plain lines elsewhere; on stderr."""
    done = 0
    if not sys.stderr.isatty():

        def line(title: str) -> None:
            nonlocal done
            done += 1
            print(f"{done}/{total} {title}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    # Drawn between measurements alone: a thread that draws would run beside what is timed.
    with Progress(*shown, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        number = bar.add_task("", total=total)

        def move(title: str) -> None:
            nonlocal done
            bar.update(number, description=title, completed=done, refresh=True)
            done += 1

        yield move
