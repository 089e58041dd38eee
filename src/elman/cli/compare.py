"""`elman compare`: the reports of several models, or of the runs that trained them, side by side."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.cli.diagnose import LOG, check, logged, measured, model_of, write
from elman.cli.report import a
from elman.cli.use import Chosen
from elman.errors import OptionError

if TYPE_CHECKING:
    from elman.diagnosis import Report

NEED = (
    "compare takes two models or more and then the data, elman compare A B DATA, "
    "or the folders of two training runs or more, elman compare A.run B.run"
)


def compare(*arguments: Any) -> None:
    """Models, the data, and what was chosen; or runs and what was chosen. Print the table; write what is asked for."""
    import elman

    operands: Sequence[str] = arguments[:-1]
    chosen: Chosen = arguments[-1]
    check(chosen)
    if len(operands) > 1 and all(_is_run(one) for one in operands):
        for name in ("input", "target", "columns", "length", "count", "sequences", "steps"):
            if name in chosen:
                raise OptionError(f"--{name} is for models on data; the logs of runs are only read: leave it out")
        paths, reports = operands, [_of_run(Path(one)) for one in operands]
    else:
        paths = operands[:-1]
        if len(paths) < 2:
            raise OptionError(NEED)
        reports = _of_models(paths, operands[-1], chosen)
    found = elman.compare(dict(zip(unique(paths), reports)))
    print(found.summary())
    write(
        chosen,
        lambda: json.dumps({name: json.loads(one.to_json()) for name, one in found.reports.items()}).encode(),
        found.html,
        found.save_pictures,
    )


def _is_run(path: str) -> bool:
    return (Path(path) / LOG).is_file()


def _of_models(paths: Sequence[str], source: str, chosen: Chosen) -> list[Report]:
    """Their reports on the same data. Raises OptionError for models of different tasks."""
    if source == "-":
        raise OptionError("compare reads the data once for each model, and standard input comes once: save it first")
    files = [_model_file(path) for path in paths]
    models = [model_of(path, chosen) for path in files]
    first = models[0][1]
    for path, (_, task) in zip(paths, models):
        if task is not first:
            raise OptionError(
                f"compare takes models of one task, but {paths[0]} is {a(first.title)} and {path} {a(task.title)}"
            )
    levels = dict.fromkeys(getattr(model, "level", None) for model, _ in models)
    if len(levels) > 1:
        print(
            f"elman: note: the models read different tokens ({', '.join(map(str, levels))}): "
            "a step and a loss of one are not those of another",
            file=sys.stderr,
        )
    return [measured(model, task, path, source, chosen) for (model, task), path in zip(models, files)]


def _model_file(path: str) -> str:
    """The model; of the folder of a run, the one that it trained."""
    if not _is_run(path):
        return path
    model = path.rstrip("/").removesuffix(".run")
    if not Path(model).is_file():
        raise OptionError(f"{path} is the folder of a run, and its model is not beside it; name the model file")
    return model


def _of_run(run: Path) -> Report:
    """What the log of a run tells, as a report without networks."""
    from elman.diagnosis import Report

    found = logged(run, looked_at=True)
    return Report("a training run", float(found[0].loss[-1]), math.nan, {}, {}, (), (), 0.0, found)


def unique(paths: Sequence[str]) -> list[str]:
    """Their names, with as many folders before them as tell them apart; the same file again has a number."""
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [name if names.index(name) == k else f"{name} ({names[:k].count(name) + 1})" for k, name in enumerate(names)]
