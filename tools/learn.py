"""The pages of the course, written by running its scripts: `python tools/learn.py [NAME ...]`, all without names.

A script of docs/learn is prose and code in turns: a string that stands alone is prose, in Markdown; what is between two
of them is code. Its page has both, what each piece of code prints below it, and links to the pages around it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

COURSE = Path(__file__).resolve().parents[1] / "docs" / "learn"
SCRIPTS = sorted(COURSE.glob("[0-9][0-9]_*.py"))


def pieces(script: Path) -> Iterator[tuple[str, str, int]]:
    """("prose" or "code", text, line at which it begins), in order."""
    text = script.read_text(encoding="utf-8")
    lines, last = text.splitlines(), 0
    for node in ast.parse(text).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield "code", "\n".join(lines[last : node.lineno - 1]), last
            yield "prose", node.value.value.strip(), node.lineno
            last = node.end_lineno or node.lineno
    yield "code", "\n".join(lines[last:]), last


def title(script: Path) -> str:
    """The heading of a script."""
    return next(text for kind, text, _ in pieces(script) if kind == "prose").splitlines()[0].removeprefix("# ")


def page(script: Path) -> str:
    """Run the script, in the current folder, where it puts its pictures; its page."""
    if str(COURSE) not in sys.path:
        sys.path.insert(0, str(COURSE))  # where `drawing` is, as for a script that is started by name
    names: dict[str, object] = {"__name__": "__main__", "__file__": str(script)}
    out = []
    for kind, text, line in pieces(script):
        if kind == "prose":
            out.append(text)
        elif text.strip():
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + text, str(script), "exec"), names)
            out.append(f"```python\n{text.strip()}\n```")
            if printed.getvalue():
                out.append(f"```text\n{printed.getvalue().rstrip()}\n```")
    return "\n\n".join([*out, "---", footer(script)]) + "\n"


def footer(script: Path) -> str:
    """Links to the script and to the pages around it."""
    place = SCRIPTS.index(script)
    around = [("Before", SCRIPTS[place - 1])] if place else []
    around += [("Next", SCRIPTS[place + 1])] if place + 1 < len(SCRIPTS) else []
    links = [f"{word}: [{title(other)}]({other.stem}.md)" for word, other in around]
    return " · ".join([f"This page is [{script.name}]({script.name}), run", *links, "[The course](README.md)"])


def main(names: list[str]) -> None:
    """Write the pages of the scripts whose names hold one of `names`."""
    import torch

    torch.set_num_threads(1)
    os.chdir(COURSE)
    for script in SCRIPTS:
        if not names or any(name in script.stem for name in names):
            script.with_suffix(".md").write_text(page(script), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
