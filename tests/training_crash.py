"""Run by test_training_resume.py in a process of its own: forks training children, kills them, resumes them.

Imports torch once and forks, so that a killed run costs milliseconds instead of seconds. Prints one JSON document.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch._dynamo  # torch's optimisers load it on first use, for seconds: here once instead of in each child
from torch import Tensor, nn

from elman.training import keeper
from elman.training.loop import TrainingOptions, fit


class Letters:
    """A small language model: LSTM, dropout, state carried from window to window."""

    unit, monitor, maximize = "characters", "loss", False
    options = TrainingOptions(epochs=12, lr=0.01, optimizer="adam", checkpoint_steps=1, checkpoint_seconds=0.02, seed=5)

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.module = nn.ModuleDict(
            {"embed": nn.Embedding(12, 8), "rnn": nn.LSTM(8, 12, 2, dropout=0.4), "out": nn.Linear(12, 12)}
        )
        self.data = torch.randint(0, 12, (41, 4), generator=torch.Generator().manual_seed(2)).cumsum(0) % 12

    def epoch(self, number: int) -> list[tuple[Tensor, Tensor]]:
        return [(self.data[t : t + 5], self.data[t + 1 : t + 6]) for t in range(0, 30, 5)]

    def loss(self, batch: tuple[Tensor, Tensor], carry: Any) -> tuple[Tensor, int, Any]:
        h, states = self.module["rnn"](self.module["embed"](batch[0]), carry)
        loss = nn.functional.cross_entropy(self.module["out"](h).flatten(0, 1), batch[1].flatten())
        return loss, batch[1].numel(), tuple(s.detach() for s in states)

    def validate(self) -> dict[str, float]:
        torch.rand(3)  # must not disturb the training
        loss, _, _ = self.loss((self.data[30:40], self.data[31:41]), None)
        return {"loss": float(loss)}


class Points:
    """A classifier of shuffled points, with noise from numpy's and Python's generators; momentum, cosine, warm-up."""

    unit, monitor, maximize = "sequences", "accuracy", True
    options = TrainingOptions(
        epochs=9, lr=0.05, optimizer="momentum", schedule="cosine", warmup_steps=7, weight_decay=0.01,
        clip_norm=0.5, checkpoint_steps=2, checkpoint_seconds=0.03, validate_every=5, seed=7,
    )  # fmt: skip

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.module = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3))
        self.x = torch.randn(80, 6, generator=torch.Generator().manual_seed(4))
        self.y = (self.x[:, 0] > 0).long() + (self.x[:, 1] > 0.5).long()

    def epoch(self, number: int) -> list[Tensor]:
        return list(torch.randperm(80, generator=torch.Generator().manual_seed(number)).view(8, 10))

    def loss(self, batch: Tensor, carry: Any) -> tuple[Tensor, int, Any]:
        noise = torch.from_numpy(np.random.standard_normal((len(batch), 6)).astype(np.float32)) * random.random()
        return nn.functional.cross_entropy(self.module(self.x[batch] + 0.1 * noise), self.y[batch]), len(batch), None

    def validate(self) -> dict[str, float]:
        np.random.random()
        random.random()
        logits = self.module(self.x)
        return {
            "loss": float(nn.functional.cross_entropy(logits, self.y)),
            "accuracy": float((logits.argmax(1) == self.y).double().mean()),
        }


KINDS: dict[str, Callable[[], Any]] = {"letters": Letters, "points": Points}


def child(
    kind: str, folder: Path, before: Callable[[], None] | None = None, ready: int | None = None, **changes: Any
) -> int:
    """Fork a process that trains in `folder`, resuming what is there, and leaves its final weights; its id.

    before: called first; ready: a pipe that gets a byte when the first step begins; changes: options.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if before is not None:
            before()
        trainee = KINDS[kind]()
        if ready is not None:
            trainee.loss = announced(trainee.loss, ready)
        fit(trainee, replace(trainee.options, **changes), folder=folder, resume=True)
        safetensors.torch.save_file(trainee.module.state_dict(), folder / "final.safetensors")
        code = 0
    finally:
        os._exit(code)


def announced(loss: Callable[..., Any], ready: int) -> Callable[..., Any]:
    """The same function, which writes a byte to the pipe each time."""

    def wrapped(batch: Any, carry: Any) -> Any:
        os.write(ready, b".")
        return loss(batch, carry)

    return wrapped


def ending(pid: int) -> int:
    """How the child ended: 0, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at_random(kind: str, root: Path, kills: int, seed: int) -> dict[str, Any]:
    """Train once undisturbed, then with `kills` SIGKILLs, each a random number of steps and a random part of one after
    a start; the checkpoints found in the folder after each."""
    began = time.perf_counter()
    codes = [ending(child(kind, root / "whole"))]
    step = (time.perf_counter() - began) / 72
    generator, found = random.Random(seed), []
    for _ in range(kills):
        reader, writer = os.pipe()
        pid = child(kind, root / "killed", ready=writer)
        os.close(writer)
        for _ in range(generator.randint(1, 5)):
            os.read(reader, 1)
        time.sleep(generator.uniform(0, step))
        os.kill(pid, signal.SIGKILL)
        codes.append(ending(pid))
        os.close(reader)
        pointer = root / "killed" / "last.json"
        found.append(json.loads(pointer.read_text())["checkpoint"] if pointer.exists() else None)
    codes.append(ending(child(kind, root / "killed")))
    return {"codes": codes, "found": found}


def die_at_call(number: int, count_file: Path | None) -> Callable[[], None]:
    """Die right before the `number`-th call that touches the disk; count the calls in a file where one is given."""

    def patch() -> None:
        seen = [0]

        def wrap(name: str) -> None:
            original = getattr(os, name)

            def counted(*args: Any, **kwargs: Any) -> Any:
                seen[0] += 1
                if count_file is not None:
                    with count_file.open("a") as file:
                        file.write(f"{name} {Path(str(args[0])).name}\n")
                if seen[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            setattr(os, name, counted)

        for name in ("fsync", "replace", "mkdir", "unlink", "rmdir"):
            wrap(name)

    return patch


def kill_at_every_call(kind: str, root: Path) -> dict[str, Any]:
    """From a run of one epoch, die at each call that touches the disk in the second, then resume."""
    seldom: dict[str, Any] = {"checkpoint_steps": 3, "checkpoint_seconds": 1e6}  # two checkpoints an epoch
    codes = [ending(child(kind, root / "start", epochs=1)), ending(child(kind, root / "whole", epochs=2, **seldom))]
    (root / "start" / "final.safetensors").unlink()
    calls_file = root / "calls"
    shutil.copytree(root / "start", root / "counted")
    codes.append(ending(child(kind, root / "counted", die_at_call(0, calls_file), epochs=2, **seldom)))
    calls = calls_file.read_text().splitlines()
    for number in range(1, len(calls) + 1):
        folder = root / f"call-{number}"
        shutil.copytree(root / "start", folder)
        codes.append(ending(child(kind, folder, die_at_call(number, None), epochs=2, **seldom)))
        codes.append(ending(child(kind, folder, epochs=2, **seldom)))
    return {"codes": codes, "calls": calls}


def main(what: str, kind: str, root: Path) -> None:
    """`what`: 'random' or 'every'."""
    torch.set_num_threads(1)
    vars(keeper)["learning_curve"] = lambda *_, **__: True  # drawing is not what is tested, and slow
    if what == "random":
        result = kill_at_random(kind, root, kills=20, seed=11)
    else:
        result = kill_at_every_call(kind, root)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
