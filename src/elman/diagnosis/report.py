"""The report: what `elman.diagnose` found, as text, as JSON and back."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from elman.diagnosis.figures import Layer, Learning, Network, Verdict
from elman.errors import DataError

FORMAT = 1
WIDTH = 100
HEAD = ("layer", "cell", "gradient first", "last", "memory", "a step", "radius of J", "Lyapunov", "saturated", "dead")


@dataclass(frozen=True, eq=False)
class Report:
    """What `elman.diagnose` found."""

    model: str
    loss: float
    gradient_norm: float
    """Of all the model's weights together, as training has it before clipping."""
    gradients: dict[str, float]
    """‖∂L/∂W‖ of every weight of the model."""
    training: dict[str, Any]
    """What is known of how it is trained: clip_norm, bptt, lr, ..."""
    networks: tuple[Network, ...]
    verdicts: tuple[Verdict, ...]
    seconds: float
    learning: tuple[Learning, ...] = ()
    """What was seen while it learned, where its training was looked at and the log is known."""
    format: int = FORMAT

    @property
    def layers(self) -> list[Layer]:
        """The layers of all networks."""
        return [layer for network in self.networks for layer in network.layers]

    def to_json(self) -> bytes:
        """The report as JSON; numbers that are not finite become null."""
        return msgspec.json.encode(self, enc_hook=_plain)

    @staticmethod
    def from_json(text: bytes | str | Path) -> Report:
        """The report of a JSON text or file. Raises DataError for one that is none."""
        try:
            plain = msgspec.json.decode(text.read_bytes() if isinstance(text, Path) else text)
            found = msgspec.convert(_filled(plain), Report, dec_hook=_array)
        except OSError as error:
            raise DataError(f"the report {error.filename} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"this is no report of elman.diagnose: {str(error).splitlines()[0][:200]}") from None
        if found.format != FORMAT:
            raise DataError(f"the report has the format {found.format}; this elman reads format {FORMAT}")
        return found

    def save_pictures(self, folder: str | os.PathLike[str], units: Sequence[int] = ()) -> list[Path]:
        """Draw every chart into a folder, as `elman.diagnosis.pictures.save_pictures` does; the files."""
        from elman.diagnosis.pictures import save_pictures

        return save_pictures({"": (self.networks, self.learning)}, folder, units)

    def summary(self) -> str:
        """The verdicts with their advice, then a table of the layers."""
        lines = [f"{self.model}: loss {self.loss:.4g}, gradient norm {self.gradient_norm:.3g}"]
        for verdict in self.verdicts:
            mark = "!" if verdict.sick else "·"
            advice = f" -> {verdict.advice}" if verdict.advice else ""
            lines += textwrap.wrap(f"{mark} {verdict.sentence}{advice}", WIDTH, subsequent_indent="  ")
        for network in self.networks:
            rows = [HEAD, *(row(layer) for layer in network.layers)]
            widths = [max(len(cells[k]) for cells in rows) for k in range(len(HEAD))]
            table = ("  ".join(cell.rjust(width) for cell, width in zip(cells, widths)) for cells in rows)
            lines += ["", title(network), *(f"  {line}" for line in table)]
        return "\n".join(lines)


def _plain(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"a report holds arrays, not {type(array).__name__}")
    if array.dtype == np.float32:  # the shortest digits that give the same number back
        return np.array([float(str(v)) for v in array.ravel()]).reshape(array.shape).tolist()
    return array.tolist()


def _filled(plain: Any) -> Any:
    """The numbers of a report that JSON has as null are NaN again; those inside arrays follow in `_array`."""
    if isinstance(plain, dict):
        as_is = ("training", "change")
        return {k: v if k in as_is else math.nan if v is None else _filled(v) for k, v in plain.items()}
    if isinstance(plain, list) and plain and isinstance(plain[0], dict):
        return [_filled(one) for one in plain]
    return plain


def _array(kind: Any, value: Any) -> Any:
    dtype = kind.__args__[1].__args__[0]
    return np.array(value, dtype)


def title(network: Network) -> str:
    lengths = network.lengths
    steps = f"{lengths.max()} steps" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()} steps"
    name = f"{network.name}: " if network.name else ""
    return f"{name}{len(lengths)} sequences of {steps}; the output sees {network.sensitivity.span} steps back"


def row(layer: Layer) -> tuple[str, ...]:
    flow = next(iter(layer.flow.states.values())).mean
    known = flow[~np.isnan(flow)]
    full = max((one.saturated for one in layer.activity if not math.isnan(one.saturated)), default=math.nan)
    dead = max((len(one.dead) for one in layer.activity if one.state), default=0)
    return (
        f"{layer.number} {layer.direction}",
        layer.cell,
        f"{known[0]:.2e}",
        f"{known[-1]:.2e}",
        f"{layer.memory.steps}{'+' if layer.memory.whole else ''}",
        f"{layer.memory.rate:.3f}",
        f"{layer.jacobian.radius.mean():.3f}",
        f"{layer.lyapunov.exponents[0]:+.3f}",
        "" if math.isnan(full) else f"{full:.0%}",
        str(dead),
    )
