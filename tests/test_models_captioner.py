"""Captioners: scenes are learnt, every kind of input trains and comes back from its file, bad inputs are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.data import Table
from elman.data.images import image_table, read_image
from elman.data.scenes import make_scenes, parse
from elman.errors import DataError, OptionError
from elman.models import Captioner
from elman.models.write.captioner import _Trainee
from elman.models.write.captioner_network import grid, halvings
from elman.models.write.views import View
from elman.training.pictures.captions import Shown, draw_captions

SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 6, "embedding_size": 5, "channels": 4, "epochs": 1, "batch_size": 4,
    "valid_fraction": 0.0, "patience": None, "dropout": 0.0, "beam_size": 2,
}  # fmt: skip
CAPTIONS = ["a red one", "a blue one", ["two", "a pair of them"], "a red one", "none"]


def inputs(kind: str) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    if kind in ("image", "clip"):
        shapes = [(3, 9, 7, 3) if kind == "clip" else (9, 7, 3)] * 5
        shapes[1] = (2, 9, 7, 3) if kind == "clip" else shapes[1]
        return [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    shapes = {"vector": [(7,)] * 5, "grid": [(2, 3, 4)] * 5, "places": [(6, 4)] * 5,
              "frames": [(n, 4) for n in (3, 1, 5, 2, 4)]}[kind]  # fmt: skip
    return [generator.normal(3, 2, shape) for shape in shapes]


def small(kind: str, **options: Any) -> Captioner:
    return Captioner(**{**SMALL, **options}).fit(inputs(kind), CAPTIONS)


# -- learning ----------------------------------------------------------------------------------------------------------
def test_scenes_are_learnt_and_told_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    """The baseline says of every picture what is most often right."""
    train, test = (make_scenes(n, seed, size=16, most=1) for n, seed in ((300, 1), (60, 2)))
    model = Captioner(
        cell="gru", hidden_size=32, embedding_size=16, channels=24, epochs=14, lr=0.01, schedule="cosine",
        batch_size=20, dropout=0.0, patience=None, valid_fraction=0.0, target="references", beam_size=2,
    ).fit(train)  # fmt: skip
    said = Counter(text for own in train.columns["references"] for text in own).most_common(1)[0][0]
    baseline = float(np.mean([said in own for own in test.columns["references"]]))
    figures = model.evaluate(test)
    assert baseline < 0.1
    assert figures["accuracy"] > 3 * baseline
    assert figures["bleu"] > 50
    texts = model.predict(test)
    right = np.mean([parse(text) == parse(true) for text, true in zip(texts, test.columns["caption"])])
    assert right == figures["accuracy"] == model.score(test)
    model.save(tmp_path / "model.elman")
    np.savez(tmp_path / "test.npz", image=np.stack(test.columns["image"]))
    code = "import sys, json, pathlib; from elman.models import load; m = load(sys.argv[1]);" \
           "print(json.dumps(m.predict(pathlib.Path(sys.argv[2]))))"  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.elman"), str(tmp_path / "test.npz")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout) == texts


@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        ("vector", {"tied": True}, None),
        ("grid", {"attention": "dot"}, (2, 3)),
        ("places", {}, (6,)),
        ("places", {"attention": "none", "num_layers": 2}, None),
        ("frames", {"cell": ["gru", "lstm"], "num_layers": 2}, (4,)),
        ("frames", {"bidirectional": False, "attention": "none", "level": "char"}, None),
        ("image", {"label_smoothing": 0.1, "level": "subword", "max_vocabulary": 40}, (5, 4)),
        ("clip", {"monitor": "bleu", "valid_fraction": 0.4}, (3,)),
    ],
)
def test_every_kind_of_input_trains_and_is_restored(
    kind: str, options: dict[str, Any], shape: tuple[int, ...] | None, tmp_path: Path
) -> None:
    model = small(kind, **options)
    assert model.view_.kind == {"places": "grid"}.get(kind, kind)
    model.save(tmp_path / "model.elman")
    loaded = Captioner.load(tmp_path / "model.elman")
    fresh = inputs(kind)[::-1]
    assert loaded.outputs(fresh, 2) == model.outputs(fresh, 2)
    assert loaded.evaluate(fresh, CAPTIONS) == model.evaluate(fresh, CAPTIONS)
    assert loaded.outputs([]) == []
    if shape is None:
        with pytest.raises(OptionError, match="this model has no attention"):
            model.look(fresh[0])
    else:
        tokens, weights = model.look(fresh[0], "a red one")
        assert weights.shape == (len(tokens), *shape)
        assert np.allclose(weights.reshape(len(tokens), -1).sum(1), 1, atol=1e-5)
        assert loaded.look(fresh[0], "a red one").weights.tobytes() == weights.tobytes()


def test_company_does_not_matter_and_channels_are_scaled() -> None:
    model = small("frames")
    together, alone = model.outputs(inputs("frames")), [model.outputs([one])[0] for one in inputs("frames")]
    for one, two in zip(together, alone):
        assert one[0].text == two[0].text
        assert one[0].score == pytest.approx(two[0].score, abs=1e-5)
    steps = np.concatenate(inputs("frames"))
    assert np.allclose(model.module_.mean, steps.mean(0), atol=1e-5)
    assert np.allclose(model.module_.scale, steps.std(0), atol=1e-5)


def test_left_and_right_are_told_apart() -> None:
    """Without an embedding of the place a grid would be a bag of its places."""
    model = small("places")
    one = inputs("places")[0]
    with torch.no_grad():
        memory, carried = model._encoded([one.astype(np.float32), one[::-1].astype(np.float32)])
    assert memory is not None
    assert not torch.allclose(memory.values[0], memory.values[1].flip(0), atol=1e-3)
    assert not torch.allclose(carried.state[0][0][0], carried.state[0][0][1], atol=1e-6)


def test_each_epoch_draws_one_of_several_captions() -> None:
    model = small("vector")
    read, _, written = model.to_judge(inputs("vector"), CAPTIONS)
    trainee = _Trainee(model, read, written, None)
    drawn = [sorted(n.tobytes() for _, some in trainee.epoch(k) for n in some) for k in range(8)]
    assert all(len(own) == 5 for own in drawn)
    assert len({str(own) for own in drawn}) == 2
    assert drawn == [sorted(n.tobytes() for _, some in trainee.epoch(k) for n in some) for k in range(8)]
    one, two = small("vector", epochs=3), small("vector", epochs=3)
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name)), name


@pytest.mark.parametrize(("side", "times"), [(48, 3), (16, 1), (8, 1), (1, 1), (224, 5), (65, 4)])
def test_pictures_are_halved_to_few_places(side: int, times: int) -> None:
    assert halvings(side, 3) == times
    assert max(grid(View("image", (side, 3, 3)))) <= 8
    assert grid(View("image", (48, 48, 3))) == (6, 6)


# -- files of pictures -------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, and lists of them."""
    pillow = pytest.importorskip("PIL.Image")
    for k, one in enumerate(inputs("image")):
        pillow.fromarray(one).save(tmp_path / f"{k}.png")
    rows = [(k, text) for k, own in enumerate(CAPTIONS) for text in ([own] if isinstance(own, str) else own)]
    (tmp_path / "list.tsv").write_text("image\tcaption\n" + "".join(f"{k}.png\t{text}\n" for k, text in rows))
    lines = [json.dumps({"image": f"{k}.png", "caption": own}) for k, own in enumerate(CAPTIONS)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_lists_of_pictures_are_the_same_as_arrays(folder: Path) -> None:
    expected = small("image")
    for name in ("list.tsv", "list.jsonl"):
        assert image_table(folder / name).columns["caption"] == [
            [own] if isinstance(own, str) and name == "list.tsv" else own for own in CAPTIONS
        ]
        model = Captioner(**SMALL).fit(folder / name)
        assert model.evaluate(folder / name) == expected.evaluate(inputs("image"), CAPTIONS)
    assert model.predict([folder / "3.png"]) == expected.predict(inputs("image")[3:4])
    expected.picture(folder / "list.tsv", folder / "out.png")
    assert read_image(folder / "out.png").shape[2] == 3
    small("clip").picture(inputs("clip"), folder / "clip.png", 2)
    with pytest.raises(OptionError, match=r"this model reads features \(vector\), of which there is no picture"):
        small("vector").picture(inputs("vector"), folder / "no.png")


def test_hostile_pictures_get_one_sentence(folder: Path) -> None:
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    (folder / "gif.png").write_bytes(b"GIF89a" + bytes(40))
    header = b"IHDR" + (100_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    bomb = whole[:12] + header + zlib.crc32(header).to_bytes(4) + whole[33:]
    (folder / "bomb.png").write_bytes(bomb)
    for name, said in (
        ("cut", "is it a whole PNG or JPEG"), ("text", "is it a whole PNG or JPEG"), ("gif", "is it a whole PNG"),
        ("bomb", "says it has 100,000 x 100,000 pixels|exceeds limit"), ("none", "there is no file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said) as caught:
            Captioner(**SMALL).fit([folder / "0.png", folder / f"{name}.png"], ["a", "b"])
        assert str(caught.value).startswith("the pictures, number 2: ")
        assert str(caught.value).isprintable()
    rng = np.random.default_rng(1)
    for _ in range(60):  # any damage is refused, or gives a picture of the size that is said
        damaged = bytearray(whole)
        for place in rng.integers(8, len(whole), 3):
            damaged[place] = rng.integers(256)
        (folder / "odd.png").write_bytes(damaged)
        with suppress(DataError):
            assert read_image(folder / "odd.png").ndim == 3


# -- what cannot be --------------------------------------------------------------------------------------------------
ONE = np.zeros((9, 7, 3), np.uint8)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([ONE, ONE[:8]], ["a", "b"], r"number 2: the shape is \(8, 7, 3\), but the model reads \(9, 7, 3\)"),
        ([ONE, ONE[..., :1]], ["a", "b"], r"number 2: the shape is \(9, 7, 1\), but the model reads"),
        ([ONE, ONE / 255], ["a", "b"], "number 2: pictures are bytes from 0 to 255 .uint8., not float32"),
        ([ONE[..., :2]], ["a"], "pictures have 1 or 3"),
        ([[1.0, np.nan]], ["a"], "number 1: the array holds NaN or infinite numbers"),
        ([[1.0, 2.0], [1e39, 0.0]], ["a", "b"], "number 2: the array holds NaN or infinite numbers"),
        ([[[1.0], [2.0, 3.0]]], ["a"], "number 1: expected an array of numbers or the path of a picture, not list"),
        ([3.0], ["a"], "number 1: expected an array of numbers or the path of a picture, not float"),
        ([[]], ["a"], "number 1: the array is empty"),
        ([np.zeros((2, 2, 2, 2))], ["a"], "which is none of vector"),
        ([ONE], [None], "number 1: a caption is a text, or a list of texts"),
        ([ONE], [[]], "number 1: a caption is a text, or a list of texts"),
        ([ONE], [" "], "number 1: a caption is empty; write one or leave the record out"),
        ([ONE], [["a", ""]], "number 1: a caption is empty"),
        ([ONE], None, "captions are missing: give y beside X"),
        ([ONE, ONE], ["a"], "there are 2 pictures and 1 captions; each picture needs one"),
        ([], [], "there are no pairs of a picture and a caption"),
        (Table("t.npz", {"x": [ONE], "caption": ["a"]}, [1]), None, "t.npz has no column 'image'"),
    ],
)
def test_bad_data_gets_one_sentence(X: Any, y: Any, message: str) -> None:
    options = {**SMALL, "reads": "image"} if "1 or 3" in message else SMALL
    with pytest.raises(DataError, match=message):
        Captioner(**options).fit(X, y)


def test_other_sizes_are_refused_when_it_is_used() -> None:
    model = small("clip")
    with pytest.raises(DataError, match=r"number 1: the shape is \(2, 9, 8, 3\), but the model reads \(T, 9, 7, 3\)"):
        model.predict([np.zeros((2, 9, 8, 3), np.uint8)])
    with pytest.raises(DataError, match=r"number 1: the shape is \(9, 7, 3\)"):
        model.predict([ONE])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reads": "picture"}, "--reads 'picture' is not known"),
        ({"channels": 0}, "--channels must be a whole number, 1 or more"),
        ({"attention": "luong"}, "--attention 'luong' is not known"),
        ({"monitor": "exact"}, "--monitor 'exact' is not known"),
        ({"beam_size": 0}, "--beam-size must be a whole number, 1 or more, not 0"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small("vector", **options)


def test_the_kind_can_be_said() -> None:
    with pytest.raises(DataError, match=r"first input has the shape \(7,\), but --reads frames takes \(T, I\)"):
        small("vector", reads="frames")
    assert Captioner(**SMALL, reads="frames").fit(inputs("places"), CAPTIONS).view_ == View("frames", (4,))
    assert small("image", reads="auto").view_ == View("image", (9, 7, 3))


@pytest.mark.parametrize("shape", [(2, 3), (5,)])
def test_a_caption_without_words_can_be_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.zeros((8, 8, 3) if len(shape) == 2 else (5, 8, 8, 3), np.uint8)
    empty = Shown(image, "", ["</s>"], np.full((1, *shape), 0.1))
    one = Shown(image, "red", ["red", "</s>"], np.full((2, *shape), 0.1))
    draw_captions([empty, one], tmp_path / "captions.png")
    assert (tmp_path / "captions.png").read_bytes().startswith(b"\x89PNG")
