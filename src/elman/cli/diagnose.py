"""`elman diagnose`: what happens to the gradient inside a model, on data."""

from __future__ import annotations

from elman.cli.sources import Reading
from elman.cli.use import Chosen, loaded
from elman.errors import OptionError


def diagnose(path: str, source: str, chosen: Chosen) -> None:
    """Print the summary of the report; with --json, write all of it."""
    import elman
    from elman.runtime import write_atomically

    sizes = {name: chosen.get(name, default) for name, default in (("sequences", 16), ("steps", 256))}
    for name, value in sizes.items():
        if value < 1:
            raise OptionError(f"--{name} must be a whole number, 1 or more, not {value}")
    model, task = loaded(path, chosen)
    data = task.read([source], Reading.of(chosen), "test", model)
    report = elman.diagnose(model.probe(data, **sizes))
    print(report.summary())
    if (out := chosen.get("json")) is not None:
        write_atomically(out, [report.to_json()])
