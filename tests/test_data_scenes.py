"""Made scenes: every wording reads back as its scene, pictures show it, some combinations are kept apart."""

from __future__ import annotations

import numpy as np
import pytest

from elman.data.scenes import COLOURS, FRAMES, HELD_OUT, captions, make_scenes, parse
from elman.errors import OptionError


@pytest.mark.parametrize("clips", [False, True])
def test_every_wording_says_the_same_and_nothing_else_does(clips: bool) -> None:
    table = make_scenes(200, 1, clips=clips, size=16)
    contents = set()
    for caption, references in zip(table.columns["caption"], table.columns["references"]):
        said = {parse(wording) for wording in references}
        assert len(said) == 1
        (content,) = said
        assert content is not None
        assert caption in captions(content) == references
        contents.add(content)
    assert len(contents) > 100
    assert parse("a small red") is None
    assert parse("a small red circle left of") is None


def test_the_other_way_round_is_another_scene() -> None:
    one = parse("a small red circle left of a large blue square")
    assert one == parse("a large blue square right of a small red circle")
    assert one != parse("a large blue square left of a small red circle")
    assert one != parse("a small red circle above a large blue square")


def test_combinations_are_kept_apart() -> None:
    for held_out, expected in (("never", {False}), ("always", {True}), ("any", {False, True})):
        contents = map(parse, make_scenes(120, 2, size=16, held_out=held_out).columns["caption"])
        novel = {any((t.colour, t.shape) in HELD_OUT for t in content.things) for content in contents if content}
        assert novel == expected


def test_pictures_show_what_is_said() -> None:
    table = make_scenes(60, 3, size=32)
    for image, caption in zip(table.columns["image"], table.columns["caption"]):
        content = parse(caption)
        assert content is not None
        assert image.shape == (32, 32, 3)
        where = []
        for thing in content.things:
            near = np.abs(image.astype(int) - COLOURS[thing.colour]).sum(-1) < 40
            assert near.any()
            where.append(np.argwhere(near).mean(0))
        if len({thing.colour for thing in content.things}) == len(content.things) > 1:
            axis = 1 if content.order == "row" else 0
            assert [point[axis] for point in where] == sorted(point[axis] for point in where)


def test_clips_move_as_they_say() -> None:
    table = make_scenes(60, 4, clips=True, size=32)
    seen = set()
    for clip, caption in zip(table.columns["clip"], table.columns["caption"]):
        content = parse(caption)
        assert content is not None
        assert clip.shape == (FRAMES, 32, 32, 3)
        if len(content.things) == 1:
            places = [np.argwhere(frame.sum(-1) > 200).mean(0) for frame in (clip[0], clip[-1])]
            down, right = np.round(places[1] - places[0]).tolist()
            way = {(0, 1): "right", (0, -1): "left", (1, 0): "down", (-1, 0): "up", (0, 0): "still"}
            assert way[int(np.sign(down)), int(np.sign(right))] == content.things[0].motion
            seen.add(content.things[0].motion)
    assert len(seen) == 5


def test_the_same_seed_gives_the_same_scenes() -> None:
    one, two, other = (make_scenes(5, seed, size=16) for seed in (7, 7, 8))
    assert all((a == b).all() for a, b in zip(one.columns["image"], two.columns["image"]))
    assert one.columns["caption"] == two.columns["caption"] != other.columns["caption"]
    with pytest.raises(OptionError, match="size 16 to 512"):
        make_scenes(5, 0, size=4)
