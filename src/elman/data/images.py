"""Pictures: PNG and JPEG files as arrays of bytes, and tables with a column of paths to them."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.files import PathLike, brief, check_exists
from elman.data.folders import PICTURES, with_texts
from elman.data.readers import read_table
from elman.data.table import Table
from elman.errors import DataError

Image = npt.NDArray[np.uint8]
FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 1 << 24
"""Of a picture: what it claims is looked at before anything is unpacked."""


def read_image(path: PathLike) -> Image:
    """A PNG or JPEG file as bytes (h, w, 3). DataError for what is damaged, too large or something else."""
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise DataError(f"{path} needs Pillow to be read; install it with: pip install 'elman[data]'") from None
    check_exists(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own warnings of large or odd files; the size is checked here
            with Pillow.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise DataError(
                        f"{os.fspath(path)} says it has {width:,} x {height:,} pixels, more than the {MOST_PIXELS:,} "
                        "allowed; make it smaller"
                    )
                return np.asarray(picture.convert("RGB"), np.uint8)
    except DataError:
        raise
    # What Pillow raises on damaged files is not one family: SyntaxError, struct.error, OSError, its own bombs.
    except Exception as error:
        reason = brief((str(error) or type(error).__name__).splitlines()[0], 80)
        raise DataError(
            f"{os.fspath(path)} cannot be read as a picture ({reason}); is it a whole PNG or JPEG?"
        ) from None


def image_table(path: PathLike, input: str = "image", target: str = "caption", **reading: Any) -> Table:
    """A table of pictures: one PNG or JPEG; a folder of them, a.txt beside a.png; an .npz of arrays; or a list (.csv,
    .tsv, .jsonl) with a column of paths.

    Paths are taken from where the list lies. A path that stands in several records is one picture, and their captions
    are all right. reading: as `read_table` takes it.
    """
    path = Path(path)
    if path.is_dir():
        return with_texts(path, PICTURES, "pictures", input, target)
    if path.suffix.lower() in PICTURES:
        return Table(str(path), {input: [str(path)]}, [1], "record")
    table = read_table(path, **reading)
    if not any(isinstance(one, str) for one in table.column(input)):
        return table
    table = table.beside(path.parent, input)
    paths = table.column(input)
    if len(set(map(str, paths))) == len(paths) or target not in table.columns:
        return table
    first: dict[str, int] = {}
    captions: dict[str, list[Any]] = {}
    lines: dict[str, list[int]] = {}
    for i, (one, caption) in enumerate(zip(paths, table.column(target))):
        own = caption if isinstance(caption, list) else [caption]
        first.setdefault(str(one), i)
        captions.setdefault(str(one), []).extend(own)
        lines.setdefault(str(one), []).extend([table.lines[i]] * len(own))
    chosen = table.select(first.values())
    columns = {**chosen.columns, target: list(captions.values())}
    return replace(chosen, columns=columns, parts=tuple(map(tuple, lines.values())))
