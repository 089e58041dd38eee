"""Reports side by side: `elman.compare` and the table, the page and the pictures that it gives."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elman.diagnosis.page import html
from elman.diagnosis.pictures import save_pictures
from elman.diagnosis.report import WIDTH, Report
from elman.diagnosis.table import side_by_side
from elman.errors import OptionError
from elman.runtime import write_atomically


@dataclass(frozen=True, eq=False)
class Comparison:
    """Reports under their names."""

    reports: dict[str, Report]

    def summary(self) -> str:
        """A table with a column for each report, then what the sick ones should change."""
        rows = side_by_side(self.reports)
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = []
        for label, *cells in rows:
            shown = [label.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:]))]
            lines.append("  ".join(shown).rstrip())
        sick = [(name, one) for name, report in self.reports.items() for one in report.verdicts if one.sick]
        for number, (name, one) in enumerate(sick):
            text = f"! {name}: {one.sentence} -> {one.advice}"
            lines += [*([] if number else [""]), *textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
        return "\n".join(lines)

    def html(self) -> bytes:
        """One page with all of them."""
        return html(self.reports)

    def save_page(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all."""
        write_atomically(path, self.html())

    def save_pictures(self, folder: str | os.PathLike[str]) -> list[Path]:
        """As `Report.save_pictures`, with a column for each report and common axes."""
        return save_pictures({name: (r.networks, r.learning) for name, r in self.reports.items()}, folder)


def compare(reports: Mapping[str, Report]) -> Comparison:
    """Reports of `elman.diagnose` side by side, under names such as {"rnn": one, "lstm": other}. Raises OptionError
    for what is no such thing."""
    wrong = next((one for one in reports.values() if not isinstance(one, Report)), None)
    if wrong is not None:
        raise OptionError(f"compare takes the reports of elman.diagnose under their names, not {type(wrong).__name__}")
    if not reports:
        raise OptionError("compare was given no report")
    return Comparison(dict(reports))
