"""Tables of what was measured, for a terminal and in Markdown, and all of it as data."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import elman
from elman.bench.measure import DISAGREES, Measured
from elman.bench.rivals import NOT_INSTALLED, RIVALS
from elman.bench.turns import Spread

LEFT = 3
"""Columns of words; the others are numbers, to the right."""
VERSIONS = ("torch", "onnxruntime", "jax")
HEADER = ("cell", "T,B,I,H", "pass", "threads", "back end", "ms (quartiles)", "GFLOP/s", "of peak")


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain text, aligned."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    padded = (
        [f"{t:<{w}}" if n < LEFT else f"{t:>{w}}" for n, (t, w) in enumerate(zip(line, widths))] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same in Markdown."""
    rule = "|".join("---" if n < LEFT else "---:" for n in range(len(header)))
    return "\n".join([f"| {' | '.join(header)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)])


def table(results: Sequence[Measured], rivals: Sequence[str] = tuple(RIVALS)) -> str:
    """The results for a terminal, and below them what was not timed and why."""
    rows = [_row(result, rivals) for result in results]
    return "\n".join([columns((*HEADER, *(f"x {name}" for name in rivals)), rows), *notes(results)])


def notes(results: Iterable[Measured]) -> list[str]:
    """Why a rival is missing from a table, each reason once."""
    found: dict[str, None] = {}
    for result in results:
        for name, why in result.missing.items():
            title = f" ({result.task.title}, threads: {result.threads})" if why.startswith(DISAGREES) else ""
            found[f"{name}: {why}{title}"] = None
    return list(found)


def _row(result: Measured, rivals: Sequence[str]) -> list[str]:
    task = result.task
    return [
        task.cell.name,
        task.shape,
        "training" if task.train else "inference",
        str(result.threads),
        result.backend,
        quartiles(result.milliseconds),
        "–" if result.gflops is None else digits(result.gflops),
        percent(result.share),
        *(number(result.against(name), ".2f", _absent(result.missing.get(name, ""))) for name in rivals),
    ]


def _absent(why: str) -> str:
    """In a table's cell; the notes say more."""
    return next((short for short in (NOT_INSTALLED, DISAGREES) if why.startswith(short)), "–")


def quartiles(spread: Spread | None) -> str:
    """The median (and quartiles), three digits."""
    if spread is None:
        return "–"
    low, middle, high = map(digits, spread)
    return f"{middle} ({low} to {high})"


def digits(value: float) -> str:
    """A figure with three digits or all before the point."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def percent(share: float | None) -> str:
    """A share as a whole number of hundredths."""
    return "–" if share is None else f"{100 * share:.0f} %"


def number(value: float | None, form: str, missing: str = "–") -> str:
    """A number, or what stands in its place."""
    return missing if value is None else f"{value:{form}}"


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    found: dict[str, Any] = {"date": datetime.date.today().isoformat(), "elman": elman.__version__}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found | {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()}


def about() -> str:
    """The same in a line."""
    found = machine()
    versions = [f"{name} {found[name]}" for name in VERSIONS if found[name] is not None]
    return ", ".join([found["date"], found["processor"], f"{found['cores']} cores", *versions])


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def as_data(results: Iterable[Measured]) -> dict[str, Any]:
    """Everything measured, for JSON: the seconds of every turn too."""
    return {
        "machine": machine(),
        "results": [
            {
                "cell": r.task.cell.name,
                "steps": r.task.steps,
                "batch": r.task.batch,
                "inputs": r.task.inputs,
                "hidden": r.task.hidden,
                "train": r.task.train,
                "threads": r.threads,
                "backend": r.backend,
                "flops": r.task.flops,
                "peak": r.peak,
                "seconds": r.times,
                "missing": r.missing,
                "share_of_peak": r.share,
                "times_as_fast": {name: r.against(name) for name in r.times if name in RIVALS},
            }
            for r in results
        ],
    }
