"""What every picture needs: an empty figure, and a file that is whole or not there."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

from elman.errors import OptionError
from elman.runtime import write_atomically


def new_figure(width: float, height: float, dpi: int = 120) -> Any:
    """An empty matplotlib figure of so many inches, apart from any that the caller shows. OptionError without
    matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise OptionError("a picture needs matplotlib; install it with: pip install 'elman[report]'") from None
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: Any, out_png: str | os.PathLike[str]) -> None:
    """Draw the figure into a file, whole or not at all."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        figure.savefig(picture, format="png")
    write_atomically(out_png, picture.getvalue())
