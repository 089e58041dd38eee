"""`elman evaluate`, `predict`, `generate` and `info`: what is done with a model file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elman.cli import report
from elman.cli.sources import Reading, as_inputs, require_made
from elman.data import Table, detokenize, tokenize
from elman.errors import DataError, OptionError

Chosen = Mapping[str, Any]


def evaluate(path: str, source: str, chosen: Chosen) -> None:
    """Print the figures of a model on labelled data."""
    model, reading = _loaded(path, chosen), Reading.of(chosen)
    if model.task == "language-model":
        figures = model.evaluate([reading.text(source)])
    else:
        figures = model.evaluate(_table(source, reading, model.task))
    if chosen.get("json"):
        print(json.dumps(figures))
    else:
        width = max(len(name) for name in figures)
        print("\n".join(f"{name.replace('_', ' '):<{width}}  {value:.4f}" for name, value in figures.items()))


def _loaded(path: str, chosen: Chosen) -> Any:
    """The model, which reads the columns that were chosen."""
    from elman.cli.train import set_machine
    from elman.models import load

    set_machine(chosen.get("threads"))
    model = load(path)
    columns = {name: chosen[name] for name in ("input", "target") if chosen.get(name) is not None}
    if columns and model.task == "language-model":
        raise OptionError(
            f"--{next(iter(columns))} names a column, but a language model reads plain text; leave it out"
        )
    return model.set_params(**columns)


def predict(path: str, source: str, chosen: Chosen) -> None:
    """Write one JSON object a record to standard output, or to the file --out, whole or not at all."""
    model, reading, out = _loaded(path, chosen), Reading.of(chosen), chosen.get("out")
    every = bool(chosen.get("probabilities"))
    if every and model.task != "classify":
        raise OptionError(f"--probabilities is for a classifier; {path} is a {report.TASK_NAMES[model.task]}")
    table = _table(source, reading, model.task)
    column = "text" if model.task == "language-model" else model.input
    table = as_inputs(table, column, words=model.task == "tag")
    records = {"classify": _labels, "tag": _tags, "language-model": _scores}[model.task](model, table, every)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if out is None:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    from elman.runtime import write_atomically

    write_atomically(out, [line.encode() for line in lines])


def _table(source: str, reading: Reading, task: str) -> Table:
    require_made(reading, [source])
    return reading.table(source, "test", task)


def _labels(model: Any, table: Table, every: bool) -> Iterator[dict[str, Any]]:
    rows = model.predict_proba(table)
    for row in rows:
        best = int(row.argmax())
        record: dict[str, Any] = {"label": model.classes_[best], "probability": round(float(row[best]), 6)}
        if every:
            record["probabilities"] = {name: round(float(p), 6) for name, p in zip(model.classes_, row)}
        yield record


def _tags(model: Any, table: Table, every: bool) -> Iterator[dict[str, Any]]:
    sentences = table.column(model.input)
    for tokens, tags in zip(sentences, model.predict(table)):
        yield {"tokens": tokens, "tags": tags}


def _scores(model: Any, table: Table, every: bool) -> Iterator[dict[str, Any]]:
    texts = table.column("text")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{table.place(place)}: expected a text, got {type(text).__name__}")
    for text, score in zip(texts, model.score(texts)):
        yield {"text": text, "log_probability": score["log_probability"], "perplexity": score["perplexity"]}


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
