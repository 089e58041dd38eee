"""`elman diagnose`: what happens to the gradient inside a model, on data. What `elman compare` shares with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.cli.sources import Reading
from elman.cli.tasks import Task
from elman.cli.use import Chosen, loaded
from elman.errors import DataError, OptionError

if TYPE_CHECKING:
    from elman.diagnosis import Report
    from elman.diagnosis.figures import Learning

PAGES = (".html", ".htm")
LOG = "log.jsonl"


def diagnose(path: str, source: str, chosen: Chosen) -> None:
    """Print the summary of the report; write what is asked for."""
    from elman.diagnosis.page import html

    check(chosen)
    report = measured(*model_of(path, chosen), path, source, chosen)
    print(report.summary())
    write(
        chosen,
        report.to_json,
        lambda: html({Path(path).name: report}),
        lambda folder: report.save_pictures(folder, chosen.get("units", ())),
    )


def check(chosen: Chosen) -> None:
    """Raises OptionError for places that cannot be written to and numbers that cannot be, before anything is done."""
    out = chosen.get("out")
    if out is not None and Path(out).suffix.lower() not in PAGES:
        raise OptionError(f"--out {out} must end in .html: it is a page for a browser; --json writes the numbers")
    for name in ("out", "json", "pictures"):
        if (place := chosen.get(name)) is not None and not Path(place).parent.is_dir():
            raise OptionError(f"--{name} {place}: there is no folder {Path(place).parent}; make it, or choose another")
    if (folder := chosen.get("pictures")) is not None:
        from elman.diagnosis.pictures import need_matplotlib

        if Path(folder).exists() and not Path(folder).is_dir():
            raise OptionError(f"--pictures {folder} is a file; name a folder for the pictures")
        need_matplotlib()
    elif "units" in chosen:
        raise OptionError("--units chooses what --pictures draws; give both")
    for name in ("sequences", "steps"):
        if chosen.get(name, 1) < 1:
            raise OptionError(f"--{name} must be a whole number, 1 or more, not {chosen[name]}")


def model_of(path: str, chosen: Chosen) -> tuple[Any, Task]:
    """The model of a file, and its task."""
    return loaded(path, {name: chosen[name] for name in ("threads", "input", "target") if name in chosen})


def measured(model: Any, task: Task, path: str, source: str, chosen: Chosen) -> Report:
    """The report of a model, which was read from `path`, on data; with what the log of its training holds."""
    import elman

    learning = _learning(model, path, chosen.get("run"))
    data = task.read([source], Reading.of(chosen), "test", model)
    sizes = {name: chosen.get(name, default) for name, default in (("sequences", 16), ("steps", 256))}
    return replace(elman.diagnose(model.probe(data, **sizes)), learning=learning)


def _learning(model: Any, path: str, run: str | None) -> tuple[Learning, ...]:
    """What was seen while the model learned: in the run that is named, or in the one beside it, if that is its own."""
    if run is not None:
        return logged(Path(run), looked_at=True)
    beside = Path(f"{path}.run")
    try:
        steps = model.summary_.steps if hasattr(model, "summary_") else None
        return logged(beside, steps) if (beside / LOG).is_file() else ()
    except DataError as error:
        print(f"elman: note: left out: {error}", file=sys.stderr)
        return ()


def logged(run: Path, steps: int | None = None, *, looked_at: bool = False) -> tuple[Learning, ...]:
    """What the log of a run holds of the gradient. Raises DataError for one that is damaged, that does not end at
    `steps`, or (looked_at) that holds nothing."""
    from elman.diagnosis.watch import learning
    from elman.training.log import read_log

    lines = read_log(run / LOG)
    last = lines[-1]["step"] if lines else 0
    if steps not in (None, last):
        raise DataError(f"{run / LOG} is of another training: it ends at step {last:,}, the model's at {steps:,}")
    try:
        found = learning(lines)
    except DataError as error:
        raise DataError(f"{run / LOG}: {error}") from None
    if looked_at and not found:
        raise DataError(f"the gradient was not looked at in {run}; train with --diagnose 200 to see it while it learns")
    return found


def write(
    chosen: Chosen, numbers: Callable[[], bytes], page: Callable[[], bytes], pictures: Callable[[str], Any]
) -> None:
    """What --json, --out and --pictures ask for."""
    from elman.runtime import write_atomically

    if (folder := chosen.get("pictures")) is not None:
        pictures(folder)
    for name, make in (("json", numbers), ("out", page)):
        if (place := chosen.get(name)) is not None:
            write_atomically(place, make())
