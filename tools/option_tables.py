"""The tables of options in the pages of the tasks, written from the estimators: `python tools/option_tables.py`."""

from __future__ import annotations

import re
from pathlib import Path

from elman.models.options import OPTIONS, TRAINING, EstimatorOptions, fields

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {task: f"{task}.md" for task in OPTIONS}
BEGIN, END = "<!-- options: python tools/option_tables.py -->\n", "<!-- end of options -->"


def table(task: str) -> str:
    """The options of the model and the data, and those of training that the task adds or sets otherwise."""
    kind: type[EstimatorOptions] = OPTIONS[task]
    below = kind.__mro__[: kind.__mro__.index(EstimatorOptions)]
    own = {name for one in below for name in one.__annotations__}
    rows = ["| option | default | what |", "|---|---|---|"]
    for field in fields(kind):
        if field.metadata["group"] != TRAINING or field.name in own:
            default = "none" if field.default in (None, ()) else str(field.default)
            about = field.metadata["about"].replace("|", "\\|")
            rows.append(f"| `{field.name}` | {default} | {about} |")
    return "\n".join(rows) + "\n"


def current(task: str, page: str) -> str:
    """The page with the table as it should be."""
    found, count = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + table(task) + END, page, flags=re.S
    )
    if count != 1:
        raise SystemExit(f"the page of {task} must hold the marks of the table of options exactly once")
    return found


def main() -> None:
    """Write the tables into the pages."""
    for task, name in PAGES.items():
        path = DOCS / name
        path.write_text(current(task, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
