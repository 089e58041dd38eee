"""Made scenes: pictures and short clips of coloured shapes, with sentences about them that can be read back.

What a caption must say is its content: the objects in order, from left to right ("row") or from top to bottom
("column"), or, in a clip, what each of them does. `parse` reads it from any sentence of the grammar, so that a caption
is right or wrong whatever its wording. Combinations of colour and shape can be kept out of training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.batching import random
from elman.data.table import Table
from elman.errors import DataError, OptionError

Image = npt.NDArray[np.uint8]

COLOURS = {
    "red": (214, 39, 40), "green": (44, 160, 44), "blue": (31, 87, 200), "yellow": (240, 200, 20),
    "purple": (140, 60, 170), "white": (240, 240, 240),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 0.09, "large": 0.15}
"""Half the width of a shape as a share of the picture."""
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
HELD_OUT = (("red", "square"), ("green", "circle"), ("blue", "triangle"), ("yellow", "cross"))
"""Combinations that training does not show, each colour and each shape of which it does."""
FRAMES = 8
_FINE = 4  # drawn so many times larger, then made smaller: smooth edges
_INVERSE = {"left of": "right of", "above": "below"}


@dataclass(frozen=True, order=True)
class Thing:
    """One object; `motion` in clips only: left, right, up, down or still."""

    size: str
    colour: str
    shape: str
    motion: str = ""

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Content:
    """What a caption says: order is "row", "column" or "" (one object, or a clip)."""

    order: str
    things: tuple[Thing, ...]


def make_scenes(
    count: int, seed: int, *, clips: bool = False, size: int = 48, held_out: str = "never", most: int = 3
) -> Table:
    """`count` scenes of up to `most` objects (clips: up to 2), as a Table: image (size, size, 3) of bytes, or clip
    (T, size, size, 3); caption, one wording; references, every wording.

    held_out: scenes with a combination of HELD_OUT appear "never", "always", or as it happens ("any").
    The same arguments give the same scenes. Raises OptionError.
    """
    if count < 1 or not 16 <= size <= 512 or not 1 <= most <= 3 or held_out not in ("never", "always", "any"):
        raise OptionError(
            "scenes are made with count 1 or more, size 16 to 512, most 1 to 3, held_out never, always or any"
        )
    generator = random(seed, int.from_bytes(b"clips" if clips else b"scenes", "little"))
    columns: dict[str, list[Any]] = {"clip" if clips else "image": [], "caption": [], "references": []}
    while len(columns["caption"]) < count:
        content = _content(generator, clips, min(most, 2) if clips else most)
        novel = any((thing.colour, thing.shape) in HELD_OUT for thing in content.things)
        if held_out != "any" and novel != (held_out == "always"):
            continue
        wordings = captions(content)
        columns["clip" if clips else "image"].append(
            _clip(generator, content, size) if clips else _image(_places(generator, content), content.things, size)
        )
        columns["caption"].append(wordings[generator.integers(len(wordings))])
        columns["references"].append(wordings)
    return Table("made:clips" if clips else "made:scenes", columns, list(range(1, count + 1)), "record")


def _content(generator: np.random.Generator, clips: bool, most: int) -> Content:
    def pick(choices: Sequence[str]) -> str:
        return choices[int(generator.integers(len(choices)))]

    number = int(generator.integers(1, most + 1))
    things: list[Thing] = []
    while len(things) < number:
        motion = pick(tuple(MOTIONS)) if clips else ""
        thing = Thing(pick(tuple(SIZES)), pick(tuple(COLOURS)), pick(SHAPES), motion)
        if thing not in things:
            things.append(thing)
    if clips:
        return Content("", tuple(sorted(things)))
    return Content("" if number == 1 else pick(("row", "column")), tuple(things))


# -- sentences ---------------------------------------------------------------------------------------------------------
def captions(content: Content) -> list[str]:
    """Every wording of a content."""
    things = content.things
    if content.order == "" and not _moving(content):
        return [f"{things[0]}", f"there is {things[0]}", f"the picture shows {things[0]}"]
    if content.order == "":
        return _of_clips(things)
    if len(things) == 2:
        first, second = things
        near = "left of" if content.order == "row" else "above"
        far = _INVERSE[near]
        return [f"{first} {near} {second}", f"{second} {far} {first}", f"there is {first} {near} {second}"]
    listed = f"{things[0]} , {things[1]} and {things[2]}"
    way = "from left to right" if content.order == "row" else "from top to bottom"
    return [f"{listed} {way}", f"{way} there are {listed}"]


def _moving(content: Content) -> bool:
    return bool(content.things[0].motion)


def _does(thing: Thing, manner: int) -> str:
    if thing.motion == "still":
        return f"{thing} {('stands still', 'rests')[manner]}"
    return f"{thing} {('moves', 'is going')[manner]} {thing.motion}"


def _of_clips(things: Sequence[Thing]) -> list[str]:
    if len(things) == 1:
        return [_does(things[0], manner) for manner in (0, 1)]
    pairs = (things, things[::-1])
    return [f"{_does(a, manner)} {joint} {_does(b, manner)}" for manner, joint in ((0, "and"), (1, "while"))
            for a, b in pairs]  # fmt: skip


_THING = rf"a ({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_DOES = rf"{_THING} (?:(?:moves|is going) (left|right|up|down)|(?:stands still|rests))"
_FORMS = [
    (re.compile(rf"(?:there is |the picture shows )?{_THING}"), ""),
    (re.compile(rf"(?:there is )?{_THING} (left of|right of|above|below) {_THING}"), "pair"),
    (re.compile(rf"{_THING} , {_THING} and {_THING} from (left) to right"), "row"),
    (re.compile(rf"{_THING} , {_THING} and {_THING} from (top) to bottom"), "column"),
    (re.compile(rf"from left to (right) there are {_THING} , {_THING} and {_THING}"), "row"),
    (re.compile(rf"from top to (bottom) there are {_THING} , {_THING} and {_THING}"), "column"),
    (re.compile(_DOES), "clip"),
    (re.compile(rf"{_DOES} (?:and|while) {_DOES}"), "clip"),
]


def parse(caption: str) -> Content | None:
    """What a sentence says, or None for one that the grammar does not make."""
    for form, kind in _FORMS:
        found = form.fullmatch(caption)
        if found is None:
            continue
        words = [word or "still" for word in found.groups()]
        if kind == "clip":
            return Content("", tuple(sorted(Thing(*words[k : k + 4]) for k in range(0, len(words), 4))))
        if kind == "pair":
            first, second = Thing(*words[:3]), Thing(*words[4:])
            order = "row" if words[3] in ("left of", "right of") else "column"
            return Content(order, (first, second) if words[3] in _INVERSE else (second, first))
        if kind:
            words = [word for word in words if word not in ("left", "top", "right", "bottom")]
        return Content(kind, tuple(Thing(*words[k : k + 3]) for k in range(0, len(words), 3)))
    return None


# -- pictures ----------------------------------------------------------------------------------------------------------
def _places(generator: np.random.Generator, content: Content) -> list[tuple[float, float]]:
    """Where the things stand, as shares of width and height: in order along one axis, near each other on the other."""
    number = len(content.things)
    step = 1 / number
    along = [(k + 0.5) * step + generator.uniform(-0.1, 0.1) * step for k in range(number)]
    if number == 1:
        along = [generator.uniform(0.2, 0.8)]
    across = [generator.uniform(0.35, 0.65) if number > 1 else generator.uniform(0.2, 0.8) for _ in along]
    places = list(zip(along, across))
    return [(b, a) for a, b in places] if content.order == "column" else places


def _clip(generator: np.random.Generator, content: Content, size: int) -> npt.NDArray[np.uint8]:
    """(FRAMES, size, size, 3)."""
    number = len(content.things)
    starts = [(0.5, 0.5)] if number == 1 else [(0.3, 0.3), (0.7, 0.7)]
    if number == 2 and generator.random() < 0.5:
        starts = [(0.7, 0.3), (0.3, 0.7)]
    starts = [(x + generator.uniform(-0.06, 0.06), y + generator.uniform(-0.06, 0.06)) for x, y in starts]
    frames = []
    for frame in range(FRAMES):
        gone = 0.3 * (frame / (FRAMES - 1) - 0.5)
        ways = [MOTIONS[thing.motion] for thing in content.things]
        places = [(x + gone * dx, y + gone * dy) for (x, y), (dx, dy) in zip(starts, ways)]
        frames.append(_image(places, content.things, size))
    return np.stack(frames)


def _image(places: Sequence[tuple[float, float]], things: Sequence[Thing], size: int) -> Image:
    """(size, size, 3), on black."""
    try:
        from PIL import Image as Pillow
        from PIL import ImageDraw
    except ModuleNotFoundError:
        raise DataError("made scenes are drawn by Pillow; install it with: pip install 'elman[data]'") from None
    wide = size * _FINE
    picture = Pillow.new("RGB", (wide, wide))
    draw = ImageDraw.Draw(picture)
    for (x, y), thing in zip(places, things):
        _draw(draw, thing, x * wide, y * wide, SIZES[thing.size] * wide)
    return np.asarray(picture.resize((size, size), Pillow.Resampling.BOX), np.uint8)


def _draw(draw: Any, thing: Thing, x: float, y: float, r: float) -> None:
    colour = COLOURS[thing.colour]
    if thing.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif thing.shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif thing.shape == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    else:
        draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=colour)
        draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=colour)
