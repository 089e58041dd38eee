"""`elman evaluate`, `predict`, `generate` and `info`: what is done with a model file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.cli import report
from elman.cli.report import a
from elman.cli.sources import Reading
from elman.cli.tasks import TASKS, Task
from elman.errors import OptionError

Chosen = Mapping[str, Any]


def evaluate(path: str, source: str, chosen: Chosen) -> None:
    """Print the figures of a model on labelled data."""
    model, task = loaded(path, chosen, "judging")
    if (name := chosen.get("probe")) is not None:
        from elman.models.probes import probe

        probed = probe(name, model, Reading.of(chosen).table(source, "test"))
        print(json.dumps(probed) if chosen.get("json") else report.probed(probed))
        return
    figures = task.evaluate(model, source, Reading.of(chosen), chosen)
    if chosen.get("json"):
        print(json.dumps(figures))
    else:
        print(task.figures(figures))


def predict(path: str, source: str, chosen: Chosen) -> None:
    """Write the records, one JSON object each, to standard output, or to the file --out, whole or not at all."""
    model, task = loaded(path, chosen, "using")
    records = task.predict(model, source, Reading.of(chosen), chosen)
    lines = task.lines(records, out := chosen.get("out"))
    if out is None:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    from elman.runtime import write_atomically

    write_atomically(out, [line.encode() for line in lines])


def loaded(path: str, chosen: Chosen, own: str = "") -> tuple[Any, Task]:
    """The model, which reads the columns that were chosen, and its task. Raises OptionError for options of others
    (own: where `Task` keeps those that only some take), and for a place where no picture can be."""
    if (picture := chosen.get("picture")) is not None:
        check_picture(Path(picture))
    from elman.cli.train import set_machine
    from elman.models import load

    set_machine(chosen.get("threads"))
    model = load(path)
    task = TASKS[model.task]
    takes = {one: {option.name: option for option in getattr(one, own, ())} for one in TASKS.values()}
    for option in (option for other in takes.values() for option in other.values()):
        if option.name in chosen and option.name not in takes[task]:
            others = " or ".join(a(one.title) for one, names in takes.items() if option.name in names)
            raise OptionError(f"{option.flag} is for {others}; {path} is {a(task.title)}")
    columns = {name: chosen[name] for name in ("input", "target") if chosen.get(name) is not None}
    for name in columns:
        if name not in model.option_names():
            raise OptionError(f"--{name} names a column, but {a(task.title)} reads none; leave it out")
    return model.set_params(**columns), task


def check_picture(place: Path) -> None:
    """Raises OptionError for a place where no PNG file can be."""
    if place.suffix.lower() != ".png":
        raise OptionError(f"--picture {place} must end in .png")
    if not place.parent.is_dir():
        raise OptionError(f"--picture {place}: there is no folder {place.parent}; create it first")
    if place.is_dir():
        raise OptionError(f"--picture {place} is a folder; name the file to write")


def generate(path: str, chosen: Chosen) -> None:
    """Print what a model makes of its own. Raises OptionError for one that makes nothing, and for options of others."""
    model, task = loaded(path, chosen, "generating")
    if not task.makes_with:
        makers = " or ".join(a(other.title) for other in TASKS.values() if other.makes_with)
        raise OptionError(f"{path} is {a(task.title)}, which generates nothing; give {makers}")
    own = {*task.makes_with, *(option.name for option in task.generating), "threads"}
    for name in chosen:
        if name not in own:
            raise OptionError(f"--{name.replace('_', '-')} is not for {a(task.title)}; leave it out")
    task.generate(model, chosen)


def info(path: str, chosen: Chosen) -> None:
    """Print what a model file holds. Loads no torch."""
    from elman.runtime import describe, load

    document, tensors = load(path)
    about = describe(document, tensors)
    print(json.dumps(about) if chosen.get("json") else report.described(str(Path(path)), document, about))
