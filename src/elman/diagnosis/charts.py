"""The charts of a report by matplotlib, each into axes that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.diagnosis.figures import Floats, Layer, Learning, Network

COLOURS = (
    "#3b82d6", "#d9534f", "#2a9d6f", "#c08a12", "#9361c9", "#1597ab", "#d0671e", "#7b8698", "#c2478f", "#6d9b1d",
)  # fmt: skip
LOW, HIGH = (58, 124, 214), (217, 83, 79)
"""The ends of the colours of a unit's values; white is between."""
DECADES = 8
STEPS, WIDTH = 256, 88
"""Of a text: steps that are drawn, letters in a line."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Unit:
    """One unit over one sequence."""

    title: str
    symbols: Sequence[str]
    """What stands at each step; empty where that is not known."""
    values: Floats
    """(T,)."""


def _line(axes: Any, number: int, x: Any, y: Array, label: str, **style: Any) -> None:
    lone = {"marker": "o", "markersize": 3} if len(y) < 3 else {}  # a lone point is only seen with a marker
    axes.plot(x, y, color=COLOURS[number % len(COLOURS)], linewidth=1.3, label=label, **lone, **style)


def _finish(axes: Any, across: str, up: str, *, logarithmic: bool = False) -> None:
    if logarithmic and any((np.asarray(line.get_ydata(), float) > 0).any() for line in axes.lines):
        axes.set_yscale("log")
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(which="both", labelsize=8)
    if len(axes.lines) > 4:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    elif axes.lines:
        axes.legend(fontsize=8, ncols=2, loc="best", framealpha=0.7, edgecolor="none")


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def flow(axes: Any, network: Network) -> None:
    """The gradient at each state and step: the mean, and the quartiles as a band."""
    number = 0
    for layer in network.layers:
        for name, curve in layer.flow.states.items():
            x = np.arange(len(curve.mean))
            _line(axes, number, x, _positive(curve.mean), f"∂L/∂{name}, {layer.number} {layer.direction}")
            colour = COLOURS[number % len(COLOURS)]
            axes.fill_between(x, _positive(curve.lower), _positive(curve.upper), color=colour, alpha=0.15, linewidth=0)
            number += 1
    _line(axes, number, np.arange(len(network.input.mean)), _positive(network.input.mean), "∂L/∂x", linestyle="--")
    _finish(axes, "step", "norm of the gradient", logarithmic=True)


def shares(axes: Any, layer: Layer) -> None:
    """What each step adds to the gradient of each weight."""
    for number, (name, share) in enumerate(layer.flow.shares.items()):
        _line(axes, number, np.arange(len(share)), _positive(share), name)
    _finish(axes, "step", "norm of the share", logarithmic=True)


def memory(axes: Any, network: Network) -> None:
    """The gain by lag."""
    for number, layer in enumerate(network.layers):
        gain = layer.memory.gain
        _line(axes, number, np.arange(len(gain)), _positive(gain), f"{layer.number} {layer.direction}")
    axes.axhline(0.01, color="#777777", linewidth=0.9, linestyle="--", label="1 %")
    _finish(axes, "lag k, steps", "gain", logarithmic=True)


def _map(axes: Any, x: Array, y: Array, values: Floats, label: str) -> None:
    """Values (y, x) by the logarithm, over eight decades at most."""
    from matplotlib.colors import LogNorm

    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        axes.text(0.5, 0.5, "nothing to draw", ha="center", transform=axes.transAxes)
        return
    high = float(known.max())
    low = max(float(known.min()), high * 10.0**-DECADES)
    norm = LogNorm(low, high if high > low else low * 10)
    clipped = np.where(np.isfinite(values), np.maximum(values, low), np.nan)
    drawn = axes.pcolormesh(x, y, clipped, norm=norm, cmap="viridis", shading="nearest", rasterized=True)
    axes.grid(False)
    bar = axes.figure.colorbar(drawn, ax=axes, aspect=15)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(which="both", labelsize=8)


def sensitivity(axes: Any, network: Network) -> None:
    """How much the output at a step hangs on the input at another."""
    seen = network.sensitivity
    _map(axes, np.arange(seen.map.shape[1]), seen.steps, seen.map, "‖∂y/∂x‖")
    axes.invert_yaxis()
    _finish(axes, "step of the input", "step of the output")


def eigenvalues(axes: Any, layer: Layer) -> None:
    """Of the recurrent matrices, and of step Jacobians along the data, around the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(turn), np.sin(turn), color="#777777", linewidth=0.9)
    for place in range(len(layer.jacobian.steps)):
        points = layer.jacobian.eigenvalues[place]
        label = "step Jacobians" if place == 0 else None
        axes.scatter(points[:, 0], points[:, 1], s=5, color="#999999", alpha=0.5, linewidths=0, label=label)
    square = [one for one in layer.matrices if len(one.eigenvalues)]
    for number, one in enumerate(square):
        label = f"{one.map}({one.vector}), radius {one.radius:.3g}"
        points, colour = one.eigenvalues, COLOURS[number % len(COLOURS)]
        axes.scatter(points[:, 0], points[:, 1], s=9, color=colour, alpha=0.8, linewidths=0, label=label)
    every = np.concatenate([*layer.jacobian.eigenvalues, *(one.eigenvalues for one in square)])
    reach = max(1.1, *(1.1 * np.hypot(*every.T)), axes.get_xlim()[1])  # the axes are shared along a row
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), box_aspect=1)
    axes.set_xlabel("real part", fontsize=9)
    axes.set_ylabel("imaginary part", fontsize=9)
    axes.legend(fontsize=8, loc="upper right", framealpha=0.7)


def singular_values(axes: Any, layer: Layer) -> None:
    """Of the recurrent matrices."""
    for number, one in enumerate(layer.matrices):
        values = one.singular_values
        _line(axes, number, np.arange(len(values)), _positive(values), f"{one.map}({one.vector})")
    _finish(axes, "number, largest first", "singular value", logarithmic=True)


def step_jacobian(axes: Any, layer: Layer) -> None:
    """Its singular values at some places of the data."""
    found = layer.jacobian
    for place, values in enumerate(found.singular_values):
        name = f"step {found.steps[place]} of sequence {found.sequences[place]}"
        _line(axes, place, np.arange(len(values)), _positive(values), name)
    _finish(axes, "number, largest first", "singular value", logarithmic=True)


def lyapunov(axes: Any, network: Network) -> None:
    """The exponents of every layer, with their deviation over the sequences."""
    for number, layer in enumerate(network.layers):
        found, colour = layer.lyapunov, COLOURS[number % len(COLOURS)]
        axes.errorbar(
            np.arange(len(found.exponents)), found.exponents, found.deviation, color=colour, marker="o", markersize=3,
            linewidth=1.0, capsize=2,
        )  # fmt: skip
        axes.plot([], [], color=colour, marker="o", markersize=3, label=f"{layer.number} {layer.direction}")
    axes.axhline(0, color="#777777", linewidth=0.9, linestyle="--")
    _finish(axes, "number, largest first", "nats a step")


def activity(axes: Any, layer: Layer) -> None:
    """The mean of each unit, sorted for each value, with its standard deviation as a band."""
    for number, one in enumerate(layer.activity):
        order = np.argsort(one.mean)
        mean, spread, x = one.mean[order], np.sqrt(one.variance[order]), np.arange(len(order))
        _line(axes, number, x, mean, one.name)
        axes.fill_between(
            x, mean - spread, mean + spread, color=COLOURS[number % len(COLOURS)], alpha=0.15, linewidth=0
        )
    _finish(axes, "units, sorted for each value", "mean, standard deviation")


def saturation(axes: Any, layer: Layer) -> None:
    """The share of each value's places near an end; the end that keeps the state is hatched."""
    found = [one for one in layer.activity if not np.isnan(one.low).all()]
    for place, one in enumerate(found):
        for end, share, sign in (("low", one.low, -1), ("high", one.high, 1)):
            keeps = one.keeps == end
            axes.barh(
                place, sign * 100 * float(share.mean()), color=COLOURS[0 if sign < 0 else 1],
                alpha=0.35 if keeps else 1.0, hatch="///" if keeps else None,
            )  # fmt: skip
    axes.set_yticks(range(len(found)), [f"{one.name} ({len(one.dead)} dead)" for one in found], parse_math=False)
    axes.set_xlim(-100, 100)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g} %")
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_xlabel(
        "within 0.05 of the lower end | of the upper end (hatched: there the gate keeps the state)", fontsize=9
    )


def _shade(share: float) -> tuple[float, ...]:
    """From LOW at -1 by white at 0 to HIGH at 1; white where it is not known."""
    part = min(abs(share), 1.0) if np.isfinite(share) else 0.0
    return tuple(1 + (end / 255 - 1) * part for end in (LOW if share < 0 else HIGH))


def units(axes: Any, unit: Unit) -> None:
    """A unit over the data: the text, each step coloured by the value, or a line."""
    if not len(unit.symbols):
        _line(axes, 0, np.arange(len(unit.values)), unit.values, unit.title)
        axes.set_xlabel("step", fontsize=9)
        return
    from matplotlib.patches import Rectangle

    values = unit.values[: min(STEPS, len(unit.symbols))]
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    centre = 0.0 if low < 0 < high else (low + high) / 2
    most = max(high - centre, centre - low) or 1.0
    words = sum(len(symbol) > 1 for symbol in unit.symbols) > len(unit.symbols) / 2  # a letter may be "<s>"
    row, column = 0, 0
    for symbol, value in zip(unit.symbols, values):
        text = "".join(letter if letter.isprintable() else "⏎" if letter == "\n" else "·" for letter in symbol)[:WIDTH]
        if column + len(text) > WIDTH:
            row, column = row + 1, 0
        axes.add_patch(Rectangle((column, -row - 1), len(text), 1, color=_shade((value - centre) / most), linewidth=0))
        letters = axes.text(
            column + len(text) / 2, -row - 0.5, text, ha="center", va="center", family="monospace", fontsize=9,
            parse_math=False, color="#14171c",
        )  # fmt: skip
        letters.set_in_layout(False)  # the axes are their place: measuring a thousand of them takes seconds
        column += len(text) + words
        if "\n" in symbol:
            row, column = row + 1, 0
    axes.set(xlim=(0, WIDTH), ylim=(min(-row - 1, -3), 0), xticks=[], yticks=[])
    axes.grid(False)
    axes.set_xlabel(f"blue {centre - most:.3g}, white {centre:.3g}, red {centre + most:.3g}", fontsize=9)


def learning_gradient(axes: Any, one: Learning) -> None:
    """The gradient at each step of the sequences, against training."""
    _map(axes, one.at, one.steps, one.gradient.T, "‖∂L/∂h‖")
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))
    _finish(axes, "step of training", "step of the sequence")


def learning_gain(axes: Any, one: Learning) -> None:
    """The gain by lag, against training."""
    _map(axes, one.at, one.lags, one.gain.T, "gain")
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))
    _finish(axes, "step of training", "lag k, steps")


def learning_memory(axes: Any, one: Learning) -> None:
    """The effective memory, against training."""
    _line(axes, 0, one.at, one.memory, "effective memory, steps")
    _finish(axes, "step of training", "steps")
