"""`elman evaluate`, `predict`, `generate` and `info`: what is done with a model file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.cli import report
from elman.cli.sources import Reading
from elman.cli.tasks import TASKS, Task
from elman.data import detokenize, tokenize
from elman.errors import OptionError

Chosen = Mapping[str, Any]


def evaluate(path: str, source: str, chosen: Chosen) -> None:
    """Print the figures of a model on labelled data."""
    model, task = _loaded(path, chosen)
    figures = task.evaluate(model, source, Reading.of(chosen), chosen)
    if chosen.get("json"):
        print(json.dumps(figures))
    else:
        print(task.figures(figures))


def predict(path: str, source: str, chosen: Chosen) -> None:
    """Write the records, one JSON object each, to standard output, or to the file --out, whole or not at all."""
    model, task = _loaded(path, chosen)
    records = task.predict(model, source, Reading.of(chosen), chosen)
    lines = task.lines(records, out := chosen.get("out"))
    if out is None:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    from elman.runtime import write_atomically

    write_atomically(out, [line.encode() for line in lines])


def _loaded(path: str, chosen: Chosen) -> tuple[Any, Task]:
    """The model, which reads the columns that were chosen, and its task. Raises OptionError for options of others."""
    from elman.cli.train import set_machine
    from elman.models import load

    set_machine(chosen.get("threads"))
    model = load(path)
    task = TASKS[model.task]
    for other in TASKS.values():
        for option in other.using:
            if chosen.get(option.name) and option.name not in {own.name for own in task.using}:
                raise OptionError(f"{option.flag} is for a {other.title}; {path} is a {task.title}")
    columns = {name: chosen[name] for name in ("input", "target") if chosen.get(name) is not None}
    for name in columns:
        if name not in model.option_names():
            raise OptionError(f"--{name} names a column, but a {task.title} reads none; leave it out")
    return model.set_params(**columns), task


def generate(path: str, chosen: Chosen) -> None:
    """Print the prompt and what the model makes of it, token by token as they are drawn."""
    from elman.cli.train import set_machine
    from elman.models import LanguageModel

    set_machine(chosen.get("threads"))
    model = LanguageModel.load(path)
    prompt, length = chosen.get("prompt", ""), chosen.get("length", 200)
    how = {name: chosen[name] for name in ("temperature", "top_k", "top_p", "seed") if name in chosen}
    tokens = tokenize(prompt, model.level)
    unknown = [token for token in dict.fromkeys(tokens) if token not in model.vocabulary_]
    if unknown:
        names = ", ".join(repr(token) for token in unknown[:5])
        print(f"elman: note: the model never saw {names} of the prompt; it reads them as unknown", file=sys.stderr)
    shown = prompt if model.level == "char" else detokenize(tokens, model.level)
    drawn = model.stream(prompt, length, **how)  # refuses wrong options before anything is written
    sys.stdout.write(shown)
    for token in drawn:
        tokens.append(token)
        # A word's spacing depends on the one before it alone, so that two tokens tell what the next one adds.
        more = (
            token
            if model.level == "char"
            else detokenize(tokens[-2:], model.level)[len(tokens[-2]) if len(tokens) > 1 else 0 :]
        )
        sys.stdout.write(more)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def info(path: str, chosen: Chosen) -> None:
    """Print what a model file holds. Loads no torch."""
    from elman.runtime import describe, load

    document, tensors = load(path)
    about = describe(document, tensors)
    print(json.dumps(about) if chosen.get("json") else report.described(str(Path(path)), document, about))
