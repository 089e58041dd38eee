"""The report as one HTML page: what is drawn of it, bounded in size, and the script that draws it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.diagnosis.figures import Activity, Curve, Layer, Learning, Matrix, Network, Singles
from elman.diagnosis.places import evenly
from elman.diagnosis.report import HEAD, Report, row, title
from elman.diagnosis.table import side_by_side

LIMIT = 1_000_000
"""Bytes: a page that would be longer is drawn with fewer points, steps and units."""
POINTS, STEPS, UNITS = 256, 256, 128
NAME, SYMBOL = 200, 24
GAP = 255

Numbers = npt.NDArray[np.floating[Any]]


def html(reports: Mapping[str, Report]) -> bytes:
    """The page of one report, or of several side by side, each under its name; below LIMIT where that can be."""
    text = b""
    table = [[_short(cell) for cell in row] for row in side_by_side(reports)] if len(reports) > 1 else []
    for detail in range(8):
        drawn = {
            "reports": [_report(name, report, _Bounds(detail)) for name, report in reports.items()],
            "table": table,
        }
        text = _filled(json.dumps(drawn, separators=(",", ":"), allow_nan=False, ensure_ascii=False))
        if len(text) < LIMIT:
            break
    return text


class _Bounds:
    """How much of each figure is drawn; half as much at each further level."""

    def __init__(self, level: int) -> None:
        self.points, self.units = max(POINTS >> level, 16), max(UNITS >> level, 2)
        self.steps = STEPS if level < 4 else 64

    def thinned(self, values: Numbers) -> Numbers:
        """(points, ...) of (n, ...)."""
        return values[evenly(self.points, len(values))] if len(values) else values


def _filled(data: str) -> bytes:
    """The page's files put together. The hashes let the browser run these scripts and no other."""
    here = files("elman.diagnosis")
    own = {name: (here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    library = {
        name: (here / "vendor" / f"uPlot.{name}").read_text(encoding="utf-8") for name in ("iife.min.js", "min.css")
    }
    script = f"{library['iife.min.js']}\n{own['page.js']}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "@HASH@": f"sha256-{digest}",
        "@STYLE@": f"{library['min.css']}\n{own['page.css']}",
        "@SCRIPT@": script,
        # Inside JSON these can only be in strings: "<" could end the script element.
        "@DATA@": data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    }
    page = own["page.html"]
    for mark, text in parts.items():
        before, _, after = page.partition(mark)
        page = before + text + after
    return page.encode("utf-8", "replace")  # half a pair of surrogates, which no browser takes


def _report(name: str, report: Report, bounds: _Bounds) -> dict[str, Any]:
    return {
        "name": _short(name),
        "model": _short(report.model),
        "loss": _number(report.loss),
        "norm": _number(report.gradient_norm),
        "verdicts": [
            {"rule": v.rule, "sick": v.sick, "sentence": v.sentence[:2000], "advice": v.advice[:2000]}
            | {key: _number(value) for key, value in asdict(v).items() if key in ("value", "threshold")}
            for v in report.verdicts
        ],
        "networks": [_network(network, bounds) for network in report.networks],
        "learning": [_learning(one, bounds) for one in report.learning],
    }


def _network(network: Network, bounds: _Bounds) -> dict[str, Any]:
    steps = int(min(network.lengths[network.shown[0]], bounds.steps)) if len(network.shown) else 0
    seen = network.sensitivity
    columns = evenly(max(bounds.points // 2, 16), seen.map.shape[1])
    rows = evenly(max(bounds.points // 8, 8), len(seen.steps))
    return {
        "title": _short(title(network)),
        "name": _short(network.name),
        "head": HEAD,
        "rows": [row(layer) for layer in network.layers],
        "symbols": [symbol[:SYMBOL] for symbol in network.symbols[0][:steps]] if network.symbols else [],
        "inputs": [_numbers(channel) for channel in _first(network.inputs, steps).T],
        "input": _curve(network.input, bounds),
        "sensitivity": {
            "ends": [int(step) for step in seen.steps[rows]],
            "from": columns,
            "span": seen.span,
            "map": _numbers(seen.map[rows][:, columns]),
        },
        "layers": [_layer(layer, steps, bounds) for layer in network.layers],
    }


def _layer(layer: Layer, steps: int, bounds: _Bounds) -> dict[str, Any]:
    flow, memory, jacobian, lyapunov = layer.flow, layer.memory, layer.jacobian, layer.lyapunov
    some = evenly(bounds.points, len(next(iter(flow.states.values())).mean))
    places = evenly(6, len(jacobian.steps))
    return {
        "title": _short(f"{layer.title}, {layer.cell}, {layer.units} units"),
        "short": _short(f"{layer.number} {layer.direction}"),
        "steps": some,
        "states": {_short(name): _curve(curve, bounds) for name, curve in flow.states.items()},
        "shares": {_short(name): _numbers(bounds.thinned(share)) for name, share in flow.shares.items()},
        "lags": evenly(bounds.points, len(memory.gain)),
        "gain": _numbers(bounds.thinned(memory.gain)),
        "matrices": [_matrix(matrix, bounds) for matrix in layer.matrices],
        "jacobian": [
            {
                "at": f"step {jacobian.steps[p]} of sequence {jacobian.sequences[p]}",
                "singular": _numbers(bounds.thinned(jacobian.singular_values[p])),
                "eigen": _numbers(bounds.thinned(jacobian.eigenvalues[p])),
                "radius": _number(jacobian.radius[p]),
            }
            for p in places
        ],
        "lyapunov": _numbers(bounds.thinned(lyapunov.exponents)),
        "deviation": _numbers(bounds.thinned(lyapunov.deviation)),
        "activity": [_activity(one, steps, bounds) for one in layer.activity],
    }


def _learning(one: Learning, bounds: _Bounds) -> dict[str, Any]:
    some = max(bounds.points // 4, 16)
    at, steps, lags = (evenly(some, len(values)) for values in (one.at, one.steps, one.lags))
    return {
        "network": _short(one.network),
        "title": _short(f"{one.network}, {one.title}" if one.network else one.title),
        "short": f"{one.number} {_short(one.direction)}",
        "at": one.at[at].tolist(),
        "loss": _numbers(one.loss[at]),
        "memory": one.memory[at].tolist(),
        "rate": _numbers(one.rate[at]),
        "steps": one.steps[steps].tolist(),
        "gradient": _numbers(one.gradient[at][:, steps]),
        "lags": one.lags[lags].tolist(),
        "gain": _numbers(one.gain[at][:, lags]),
    }


def _matrix(matrix: Matrix, bounds: _Bounds) -> dict[str, Any]:
    return {
        "name": _short(f"{matrix.map}({matrix.vector})"),
        "singular": _numbers(bounds.thinned(matrix.singular_values)),
        "eigen": _numbers(bounds.thinned(matrix.eigenvalues)),
        "radius": _number(matrix.radius),
    }


def _activity(one: Activity, steps: int, bounds: _Bounds) -> dict[str, Any]:
    return {
        "name": _short(one.name),
        "kind": one.kind,
        "state": one.state,
        "keeps": one.keeps,
        "saturated": _number(one.saturated),
        "slope": _number(one.slope.mean()),
        "steepest": _number(one.steepest),
        "dead": len(one.dead),
        "mean": _numbers(bounds.thinned(np.sort(one.mean))),
        "spread": _numbers(bounds.thinned(np.sort(np.sqrt(one.variance)))),
        "low": _numbers(bounds.thinned(np.sort(one.low))),
        "high": _numbers(bounds.thinned(np.sort(one.high))),
        "values": _values(one, steps, bounds.units),
    }


def _values(one: Activity, steps: int, most: int) -> dict[str, Any]:
    """The first sequence's values of the units that vary most: bytes from the smallest to the largest, in base64."""
    shown = _first(one.values, steps)
    varying = np.argsort(-np.nan_to_num(one.variance), kind="stable")[:most]
    units = np.sort(varying)
    values = shown[:, units].astype(np.float64)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    scaled = np.where(np.isfinite(values), (values - low) / ((high - low) or 1.0) * (GAP - 1), GAP)
    data = base64.b64encode(scaled.round().astype(np.uint8).tobytes()).decode()
    return {"units": units.tolist(), "low": _number(low), "high": _number(high), "data": data}


def _first(values: Singles, steps: int) -> Singles:
    """(steps, H) the first sequence of (T, S, H)."""
    return values[:steps, 0] if values.shape[1] else values[:0].reshape(0, values.shape[2])


def _curve(curve: Curve, bounds: _Bounds) -> dict[str, Any]:
    return {
        name: _numbers(bounds.thinned(getattr(curve, name))) for name in ("mean", "lower", "median", "upper")
    }  # fmt: skip


def _number(value: float) -> float | None:
    return float(f"{value:.3e}") if np.isfinite(value) else None


def _numbers(values: Numbers) -> list[Any]:
    return [_number(float(v)) if values.ndim == 1 else _numbers(v) for v in values]


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
