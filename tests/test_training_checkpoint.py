"""Damaged and hostile checkpoints give one clear sentence; what is saved comes back exactly."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from elman.errors import ElmanError, ModelFileError, TrainingError
from elman.training import TrainingOptions, fit
from elman.training.optimisers import make_optimizer
from elman.training.options import OPTIMIZERS
from elman.training.state import pack_carry, pack_optimizer, unpack_carry, unpack_optimizer
from training_small import Small

OPTIONS = TrainingOptions(epochs=2, checkpoint_steps=2)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, broken off after 4 of 6 steps."""
    folder = tmp_path_factory.mktemp("good") / "run"
    trainee = Small(figures=[1.0])
    original = trainee.loss

    def loss(batch: float, carry: Any) -> Any:
        if len(trainee.seen) == 5:
            raise KeyboardInterrupt
        return original(batch, carry)

    trainee.loss = loss  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        fit(trainee, OPTIONS, folder=folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere, and slow."""
    monkeypatch.setattr("elman.training.keeper.learning_curve", lambda *_, **__: True)


def resume(folder: Path, options: TrainingOptions = OPTIONS, trainee: Small | None = None) -> Small:
    trainee = trainee or Small(figures=[1.0])
    fit(trainee, options, folder=folder, resume=True)
    return trainee


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change state.json, and its digest in last.json with it: not damage, but malice."""
    pointer = json.loads((folder / "last.json").read_text())
    path = folder / pointer["checkpoint"] / "state.json"
    state = json.loads(path.read_text())
    change(state)
    text = json.dumps(state).encode()
    path.write_bytes(text)
    pointer["state_sha256"] = hashlib.sha256(text).hexdigest()
    (folder / "last.json").write_text(json.dumps(pointer))


def test_a_good_one_is_resumed(folder: Path) -> None:
    whole = Small(figures=[1.0])
    fit(whole, OPTIONS)
    assert len(resume(folder).seen) == 2
    left = {path.name for path in folder.iterdir()} - {"learning-curve.png"}
    assert left == {"best-3.safetensors", "checkpoint-6", "last.json", "log.jsonl"}


FILES = ["last.json", "best-3.safetensors", *(f"checkpoint-4/{part}" for part in ("state.json", "model.safetensors"))]
FILES += ["checkpoint-4/optimizer.safetensors", "checkpoint-4/carry.safetensors"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "folder", "noise"])
def test_damage_is_named(name: str, damage: str, folder: Path) -> None:
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
        noise = random.Random(1).randbytes(len(data))
        path.write_bytes({"empty": b"", "cut": data[:middle], "flipped": flipped, "noise": noise}[damage])
    if name == "last.json" and damage == "gone":
        resume(folder)  # no pointer: no checkpoint, so it begins at the beginning
        return
    with pytest.raises(ModelFileError, match=str(path.name)):
        resume(folder)


def nest(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown version": lambda s: s.update(format=99),
    "no version": lambda s: s.pop("format"),
    "negative step": lambda s: s["position"].update(step=-1),
    "huge step": lambda s: s["position"].update(step=10**30),
    "text for a number": lambda s: s["position"].update(seconds="soon"),
    "time not finite": lambda s: s["position"].update(seconds=math.inf),
    "batch beyond": lambda s: s["position"].update(batch=10**9),
    "unknown field": lambda s: s.update(run="rm -rf"),
    "fingerprint a list": lambda s: s.update(fingerprint=[1]),
    "path in best": lambda s: s.update(best="../../best-1.safetensors"),
    "other best": lambda s: s.update(best="best-7.safetensors"),
    "no digests": lambda s: s.update(sha256={}),
    "torch's generator short": lambda s: s["random"].update(torch="00ff"),
    "torch's generator no hex": lambda s: s["random"].update(torch="zz"),
    "torch's generator noise": lambda s: s["random"].update(torch="ff" * 5056),
    "python's generator": lambda s: s["random"].update(python=[3, [1, 2], None]),
    "python's generator huge": lambda s: s["random"].update(python=[3, [2**70] * 625, None]),
    "numpy's generator": lambda s: s["random"].update(numpy=[[1, 2], 0, 0, 0.0]),
    "numpy's generator huge": lambda s: s["random"].update(numpy=[[2**40] * 624, 0, 0, 0.0]),
    "carry unknown": lambda s: s.update(carry={"tensor": "99"}),
    "carry odd": lambda s: s.update(carry={"exec": "1"}),
    "carry deep": lambda s: s.update(carry=nest(300)),
    "optimizer's scalars": lambda s: s.update(optimizer={"0.step": 3}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_malice_is_refused(name: str, folder: Path) -> None:
    rewrite(folder, HOSTILE[name])
    with pytest.raises(ModelFileError) as error:
        resume(folder)
    assert "\n" not in str(error.value)


def test_deep_json_and_other_versions(folder: Path) -> None:
    (folder / "last.json").write_text("[" * 100_000)
    with pytest.raises(ModelFileError, match=r"last\.json is damaged"):
        resume(folder)
    (folder / "last.json").write_text('{"format": 2, "news": 1}')
    with pytest.raises(ModelFileError, match="has format 2; this elman reads format 1"):
        resume(folder)


def test_random_changes_of_the_state_give_a_named_error_or_the_right_end(folder: Path, tmp_path: Path) -> None:
    whole = Small(figures=[1.0])
    fit(whole, OPTIONS)
    generator = random.Random(3)
    for number in range(60):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(folder, copy)
        path = copy / generator.choice(FILES)
        data = bytearray(path.read_bytes())
        for _ in range(generator.randint(1, 3)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data)
        try:
            trainee = resume(copy)
        except ElmanError:
            continue
        assert torch.equal(trainee.module["w"], whole.module["w"])


def test_another_model_is_refused(folder: Path) -> None:
    trainee = Small(figures=[1.0])
    trainee.module = nn.ParameterDict({"w": nn.Parameter(torch.zeros(4))})
    with pytest.raises(ModelFileError, match=r"'w' is torch.float32 \(3,\), but this model has torch.float32 \(4,\)"):
        resume(folder, trainee=trainee)
    trainee.module = nn.ParameterDict({"w": nn.Parameter(torch.zeros(3)), "v": nn.Parameter(torch.zeros(3))})
    with pytest.raises(ModelFileError, match="lacks tensor 'v'"):
        resume(folder, trainee=trainee)


def test_a_short_log_is_a_gap_not_an_end(folder: Path) -> None:
    (folder / "log.jsonl").write_text("")
    resume(folder)
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()] == [5, 6]


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="cannot be used"):
        fit(Small(), OPTIONS, folder=tmp_path / "file")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizers_state_comes_back(name: str) -> None:
    options = replace(OPTIONS, optimizer=name)
    runs = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(2))]
        optimizer = make_optimizer(parameters, options)
        for step in range(6):
            for parameter in parameters[:2]:  # the third never has a gradient, so no state
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
            if interrupted and step == 2:
                tensors, scalars = pack_optimizer(optimizer, parameters)
                saved = ({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(scalars)))
                optimizer = make_optimizer(parameters, options)
                unpack_optimizer(optimizer, parameters, options, saved)
        runs.append(parameters)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_the_carry_comes_back_as_it_nests() -> None:
    carry = ((torch.ones(2, 3), None), [torch.zeros(()), 2, 0.1, "x", True], {"h": (torch.arange(3),), 4: None})
    tensors, outline = pack_carry(carry)
    back = unpack_carry(tensors, json.loads(json.dumps(outline)), torch.device("cpu"))
    assert str(back) == str(carry)
    with pytest.raises(TrainingError, match="holds a object"):
        pack_carry((object(),))


def test_tied_weights_and_views_are_saved(tmp_path: Path) -> None:
    def make() -> Small:
        trainee = Small(figures=[1.0])
        shared = nn.Parameter(torch.arange(6.0).view(2, 3).t())  # not contiguous
        trainee.module = nn.ParameterDict({"w": shared, "also": shared})
        return trainee

    whole, options = make(), replace(OPTIONS, epochs=4)
    fit(whole, options)
    fit(make(), OPTIONS, folder=tmp_path / "run")
    rest = resume(tmp_path / "run", options, make())
    assert torch.equal(whole.module["w"], rest.module["w"])
    assert rest.module["w"] is rest.module["also"]
