"""What the verbs tell people: what was chosen, what a run came to, what a model file holds, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elman.cli import typed
from elman.cli.runs import Place
from elman.cli.tasks import TASKS, Data
from elman.models.options import OPTIONS, fields

if TYPE_CHECKING:
    from elman.models.estimator import Estimator

SHOWN = (
    "batch_size",
    "bptt",
    "epochs",
    "max_seconds",
    "optimizer",
    "lr",
    "schedule",
    "clip_norm",
    "dropout",
    "patience",
)
IN_NETWORK = ("cell", "hidden_size", "num_layers", "bidirectional", "level", "valid_fraction", "input", "target")


def block(lines: Mapping[str, str]) -> str:
    """Names and what they are, aligned; empty ones are left out."""
    width = max(len(name) for name in lines)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items() if text)


def figures(values: Mapping[str, float]) -> str:
    """Figures in one line, as in the progress."""
    from elman.training.progress import describe

    return describe(values)


def trained(estimator: Estimator, place: Place, data: Data, test: Mapping[str, float] | None) -> str:
    """After training: what was chosen, the best figures, and where everything lies."""
    summary = estimator.summary_
    curve = place.run / "learning-curve.png"
    reason = {"epochs": "all epochs", "patience": "no gain any more", "time": "the time was up"}[summary.stopped]
    size = place.model.stat().st_size
    lines = _network(estimator) | {
        "data": f"{', '.join(data.names)} ({data.size})",
        "validated on": data.held_out,
        "options": _options(estimator),
        "trained": f"{_effort(vars(summary))} ({reason})",
        "validation": figures(summary.best) + (f" at step {summary.best_step:,}" if summary.best else ""),
        "test": "" if test is None else f"{figures(TASKS[estimator.task].brief(test))} ({data.test_name})",
        "model": f"{place.model} ({size:,} bytes)",
        "run folder": f"{place.run}/ (log.jsonl, checkpoints)",
        "learning curve": str(curve) if curve.exists() else "",
    }
    return f"{TASKS[estimator.task].title}\n{block(lines)}"


def _effort(summary: Mapping[str, Any]) -> str:
    epochs = "1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs"
    return f"{summary['steps']:,} steps, {epochs} in {summary['seconds']:,.0f} s"


def chosen(estimator: Estimator, data: Data) -> str:
    """Before training: the network and the options in one line."""
    network = " · ".join(_network(estimator).values())
    return f"training {a(TASKS[estimator.task].title)} on {data.size}: {network} · {_options(estimator)}"


def a(title: str) -> str:
    """With its article."""
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def _network(estimator: Any) -> dict[str, str]:
    parameters = sum(p.numel() for p in estimator.module_.parameters())
    found = []
    for network in estimator.networks:
        sizes = ", ".join(
            f"{layer.program.name} {layer.hidden_size}{' in both directions' if layer.direction == 'both' else ''}"
            for layer in estimator.recurrent_layers(network)
        )
        found.append(f"{network} {sizes}" if len(estimator.networks) > 1 else sizes)
    shown = f"{', '.join(found)} ({parameters:,} parameters)"
    return {"network": shown, "reads": TASKS[estimator.task].reads(estimator)}


def _options(estimator: Estimator) -> str:
    """The options that always matter, and every other that is not at its default."""
    defaults = {field.name: field.default for field in fields(OPTIONS[estimator.task])}
    given = estimator.get_params()
    names = [n for n in SHOWN if n in given and given[n] is not None]
    names += [n for n in given if n not in (*SHOWN, *IN_NETWORK) and given[n] != defaults[n]]
    return " · ".join(
        f"{name.replace('_', ' ')} {_short(given[name])}"
        for name in [*names, *(["seed"] if "seed" not in names else [])]
    )


def _short(value: Any) -> str:
    """An option's value as it is typed."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_short(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_short, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def following(estimator: Any, place: Place, data: Data) -> str:
    """What to type next."""
    name = data.test_name or data.valid_name or data.names[0]
    model, source = shlex.quote(str(place.model)), shlex.quote(name)
    lines = TASKS[estimator.task].following(estimator, model, source, data.words)
    return "\n".join(["next", *(f"  {typed(line)}" for line in [*lines, f"elman info {model}"])])


def probed(figures: Mapping[str, Any]) -> str:
    """The table of a probe, and what it does not tell."""
    width = max(len(row["group"]) for row in figures["rows"])
    lines = []
    for name, rows in ((figures["probe"], figures["rows"]), ("all words known", figures.get("known"))):
        if rows:
            lines.append(f"{name:<{width}}  {'accuracy':>8}  {'baseline':>8}  {'items':>6}")
        for row in rows or ():
            lines.append(f"{row['group']:<{width}}  {row['accuracy']:8.4f}  {row['baseline']:8.4f}  {row['items']:6,}")
    lines += [f"left out, {reason}: {count:,}" for reason, count in figures.get("left_out", {}).items()]
    if figures.get("ties"):
        lines.append(f"ties, counted as half: {figures['ties']:,}")
    return "\n".join(lines)


# -- a model file ------------------------------------------------------------------------------------------------------
def described(path: str, document: Any, about: Mapping[str, Any]) -> str:
    """`elman info` for people. about: as `elman.runtime.describe` gives it."""
    from elman.compiler.printers import as_text

    options = (
        {field.name: field.default for field in fields(OPTIONS[about["task"]])} if about["task"] in OPTIONS else {}
    )
    changed = [
        f"{n.replace('_', ' ')} {_short(v)}"
        for n, v in about["options"].items()
        if n != "cell" and options.get(n) != v and v != []
    ]
    training = about["training"]
    lines = {
        "task": TASKS[about["task"]].title if about["task"] in TASKS else about["task"],
        "parameters": f"{about['parameters']:,}",
        "vocabularies": ", ".join(
            f"{name}: {count:,}" for name, count in about["vocabularies"].items() if name not in ("level", "crf")
        ),
        "options": " · ".join(changed) or "all at their defaults",
        "trained": _effort(training) if training else "",
        "validation": figures(training.get("best", {})) if training else "",
        "file": f"{path}, format {about['format']}, {about['file_bytes']:,} bytes, written by elman {about['elman']}",
    }
    parts = [block(lines)]
    for name, layers in document.networks.items():
        for number, layer in enumerate(layers):
            ways = {"both": "in both directions", "backward": "backward", "forward": "forward"}[layer.direction]
            out = f", {layer.output_size} out" if layer.output_size != layer.hidden_size else ""
            sizes = f"{layer.input_size} in, {layer.hidden_size} units{out}"
            parts.append(f"{name} layer {number}: {layer.cell.name}, {sizes}, {ways}")
            parts.append("\n".join(f"    {line}" for line in as_text(layer.cell).splitlines()))
    return "\n".join(parts)
