"""What a person sees of a run: a live bar on a terminal, plain lines elsewhere, nothing when silent. All on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from elman.training.metrics import bits, in_nats
from elman.training.options import Summary

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Report:
    """How a run stands. `done`: share of the run, 0 to 1; `epoch`: from 1; `seconds`: of training, across resumes;
    `seconds_left`: None until it can be told; loss in nats per unit; the gradient's norm before clipping; `memory`: the
    steps that the network remembers, where that is watched."""

    step: int
    epoch: int
    epochs: int
    done: float
    unit: str
    loss: float
    gradient_norm: float
    rate: float
    units_per_second: float
    seconds: float
    seconds_left: float | None
    memory: int | None = None

    def figures(self) -> str:
        """The figures in one line."""
        memory = "" if self.memory is None else f" · memory {self.memory:,} steps"
        left = "" if self.seconds_left is None else f" · {clock(self.seconds_left)} left"
        extra = f" · {bits(self.loss):.3f} bits per {singular(self.unit)}" if in_nats(self.unit) else ""
        return (
            f"loss {self.loss:.4f}{extra} · "
            f"{self.units_per_second:,.0f} {self.unit}/s · gradient norm {self.gradient_norm:.3g}{memory}{left}"
        )


class Progress:
    """The base, which shows nothing. `seconds`: the least time between two calls of `step`."""

    seconds = float("inf")

    @staticmethod
    def auto(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
        """A bar where `stream` (stderr) is a terminal and rich is installed, else plain lines; nothing when `quiet`."""
        stream = sys.stderr if stream is None else stream
        if quiet:
            return Progress()
        if stream.isatty():
            try:
                return Bar(stream)
            except ImportError:
                return Lines(stream)
        return Lines(stream)

    def start(self, epochs: int) -> None:
        """Training begins."""

    def step(self, report: Report) -> None:
        """Some steps are done."""

    def validated(self, report: Report, figures: Mapping[str, float], best: bool) -> None:
        """The model was validated; `best`: better than ever before in this run."""

    def note(self, text: str) -> None:
        """Something worth one line."""

    def stop(self, summary: Summary | None) -> None:
        """Training is over; None: it broke off."""


silent = Progress()


class Lines(Progress):
    """Plain lines: one every few seconds and one at each validation."""

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.seconds = seconds

    def step(self, report: Report) -> None:
        """One line of figures."""
        self.note(f"epoch {report.epoch}/{report.epochs} · step {report.step:,} · {report.figures()}")

    def validated(self, report: Report, figures: Mapping[str, float], best: bool) -> None:
        """One line of validation figures."""
        self.note(_validation(report, figures, best))

    def note(self, text: str) -> None:
        """The text as a line."""
        print(text, file=self._stream, flush=True)

    def stop(self, summary: Summary | None) -> None:
        """Why it ended, after how much."""
        if summary is not None:
            self.note(_ending(summary))


class Bar(Progress):
    """A live bar with the figures under it, by rich. Raises ImportError where rich is not installed."""

    seconds = 0.1

    def __init__(self, stream: TextIO | None = None, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(file=sys.stderr if stream is None else stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._report: Report | None = None

    def start(self, epochs: int) -> None:
        """Show the bar."""
        self._live.start()

    def step(self, report: Report) -> None:
        """Move the bar."""
        self._report = report
        self._live.update(self._picture(report), refresh=True)

    def validated(self, report: Report, figures: Mapping[str, float], best: bool) -> None:
        """A line above the bar."""
        self.note(_validation(report, figures, best))
        self.step(report)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def stop(self, summary: Summary | None) -> None:
        """Take the bar away, and say why it ended."""
        self._live.update("", refresh=True)
        self._live.stop()
        if summary is not None:
            self.note(_ending(summary))

    def _picture(self, report: Report) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        bar = ProgressBar(total=1.0, completed=report.done)
        row.add_row(f"epoch {report.epoch}/{report.epochs}", bar, f"{100 * report.done:3.0f} %")
        return Group(row, Text(folded(report.figures(), self._console.width), overflow="fold"))


def folded(figures: str, width: int) -> str:
    """The line in lines of up to `width`, broken between two figures and not inside one."""
    lines = [""]
    for figure in figures.split(" · "):
        longer = f"{lines[-1]} · {figure}" if lines[-1] else figure
        if lines[-1] and len(longer) > width:
            lines.append(figure)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def singular(unit: str) -> str:
    """'characters' as 'character'."""
    return unit[:-1] if unit.endswith("s") and not unit.endswith("ss") else unit


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def describe(figures: Mapping[str, float], unit: str | None = None) -> str:
    """Figures by name in one line; with `unit`, the loss in bits as well."""
    parts = []
    for name, value in figures.items():
        extra = ""
        if name == "loss" and unit is not None and in_nats(unit):
            extra = f" ({bits(value):.3f} bits per {singular(unit)})"
        parts.append(f"{name.replace('_', ' ')} {value:.4f}{extra}")
    return " · ".join(parts)


def _validation(report: Report, figures: Mapping[str, float], best: bool) -> str:
    star = " · best so far" if best else ""
    head = f"epoch {report.epoch}/{report.epochs} · step {report.step:,}"
    return f"{head} · training loss {report.loss:.4f} · validation {describe(figures, report.unit)}{star}"


def _ending(summary: Summary) -> str:
    why = {"epochs": "all epochs are done", "patience": "no improvement any more", "time": "the time is up"}[
        summary.stopped
    ]
    best = f"; best at step {summary.best_step:,}: {describe(summary.best)}" if summary.best else ""
    return f"trained {summary.steps:,} steps in {clock(summary.seconds)}: {why}{best}"
