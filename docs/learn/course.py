"""What the pages of the course share: weights set by hand, and pictures in one style."""

from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STYLES = [("#4477aa", "-"), ("#cc3311", "--"), ("#228833", "-."), ("#aa3377", ":"), ("#777777", "-")]


def set_weights(layer, **values):
    """Give the weights of a layer of one direction, by name, these values; a number fills all of one."""
    (part,) = layer.parts()
    with torch.no_grad():
        for name, value in values.items():
            part.weights[name].copy_(torch.as_tensor(value, dtype=torch.float64))


def panels(count=1, height=3.6):
    """A figure with so many panels side by side, and the list of their axes."""
    figure = Figure(figsize=(8, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def curves(axes, x, lines, *, title, xlabel, ylabel, log=False):
    """Curves over x by their labels, each in a colour and a dash of its own."""
    for (label, y), (colour, dash) in zip(lines.items(), cycle(STYLES)):
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, label=label)
    if log:
        axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def save(figure, name):
    """Into pictures/NAME.png of the current folder, in 64 colours."""
    path = Path("pictures", f"{name}.png")
    path.parent.mkdir(exist_ok=True)
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    pixels.quantize(64).save(path, optimize=True)
