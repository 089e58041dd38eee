"""`elman diagnose`: what happens to the gradient inside a model, on data."""

from __future__ import annotations

from pathlib import Path

from elman.cli.sources import Reading
from elman.cli.use import Chosen, loaded
from elman.errors import OptionError

PAGES = (".html", ".htm")


def diagnose(path: str, source: str, chosen: Chosen) -> None:
    """Print the summary of the report; with --out, write the page; with --json, all the numbers."""
    import elman
    from elman.diagnosis.page import html
    from elman.runtime import write_atomically

    out = chosen.get("out")
    if out is not None and Path(out).suffix.lower() not in PAGES:
        raise OptionError(f"--out {out} must end in .html: it is a page for a browser; --json writes the numbers")
    if out is not None and not Path(out).parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {Path(out).parent}; make it, or choose another")
    sizes = {name: chosen.get(name, default) for name, default in (("sequences", 16), ("steps", 256))}
    for name, value in sizes.items():
        if value < 1:
            raise OptionError(f"--{name} must be a whole number, 1 or more, not {value}")
    model, task = loaded(path, {name: value for name, value in chosen.items() if name not in sizes})
    data = task.read([source], Reading.of(chosen), "test", model)
    report = elman.diagnose(model.probe(data, **sizes))
    print(report.summary())
    if (numbers := chosen.get("json")) is not None:
        write_atomically(numbers, [report.to_json()])
    if out is not None:
        write_atomically(out, html({Path(path).name: report}))
