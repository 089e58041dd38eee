"""Training a character model on Tiny Shakespeare with the native back end and with torch's: characters a second.

    python benchmarks/speed/end_to_end.py [../shared/data/tinyshakespeare] [--cell lstm,gru] [--hidden 128,512]

The same text, seed and number of steps, in turns; the losses stand beside the speeds, since both ought to learn the
same. B = 32, windows of 128 steps, as benchmarks/quality/tinyshakespeare.py trains.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import torch

from elman.bench import report
from elman.bench.turns import Spread, settle, spread
from elman.data.readers import read_text
from elman.models import LanguageModel
from elman.nn import Recurrent
from elman.training.allocator import keep_large_blocks

BATCH, WINDOW = 32, 128


class On(LanguageModel):
    """A language model whose recurrent layers run on the back end `on`."""

    on = "auto"

    def _network(self):  # type: ignore[no-untyped-def]
        network = super()._network()
        recurrent = network.get_submodule("recurrent")
        assert isinstance(recurrent, Recurrent)
        recurrent.backend = self.on
        return network


def trained(text: str, cell: str, hidden: int, backend: str) -> tuple[float, float]:
    """(characters a second, nats per character at the end)."""
    model = On(cell=cell, hidden_size=hidden, batch_size=BATCH, bptt=WINDOW, epochs=1, valid_fraction=0.0, seed=1)
    model.on = backend
    model.fit(text)
    summary = model.summary_
    return summary.steps * BATCH * WINDOW / summary.seconds, model.evaluate(text[:20_000])["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", default="../shared/data/tinyshakespeare")
    parser.add_argument("--cell", default="lstm,gru")
    parser.add_argument("--hidden", default="128,512")
    parser.add_argument("--backend", default="native,torch", help="two back ends; the first is elman's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=40, help="of training, in each of the turns")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_large_blocks()  # as `elman train` does
    text = read_text(Path(options.folder) / "input.txt.gz")[: options.steps * BATCH * WINDOW + 1]
    own, other = options.backend.split(",")
    rows = []
    for cell in options.cell.split(","):
        for hidden in map(int, options.hidden.split(",")):
            speeds: dict[str, list[float]] = {own: [], other: []}
            losses: dict[str, float] = {}
            for _ in range(options.repeats):
                for backend in (own, other):
                    settle()
                    speed, losses[backend] = trained(text, cell, hidden, backend)
                    speeds[backend].append(speed)
            faster = median(a / b for a, b in zip(speeds[own], speeds[other], strict=True))
            shown = [_thousands(spread(found)) for found in speeds.values()]
            rows.append([cell, str(hidden), *shown, f"{faster:.2f}", *(f"{nats:.3f}" for nats in losses.values())])
    print(f"{report.about()}; threads: {options.threads}; thousands of characters a second, {options.steps} steps\n")
    header = ("cell", "H", own, other, f"x {other}", f"nats, {own}", f"nats, {other}")
    print(report.markdown(header, rows))


def _thousands(found: Spread) -> str:
    return report.quartiles(found.times(1e-3))


if __name__ == "__main__":
    main()
