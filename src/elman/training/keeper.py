"""Keeps a run on disk: its checkpoints, its log and its fingerprint; brings it back when it is resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from elman.errors import DataError, ModelFileError, TrainingError
from elman.training.checkpoint import FORMAT, RunFolder, State
from elman.training.log import Log
from elman.training.options import UNBOUND, TrainingOptions
from elman.training.pictures.learning_curve import learning_curve
from elman.training.progress import Progress
from elman.training.state import (
    Position,
    module_tensors,
    pack_carry,
    pack_optimizer,
    random_state,
    require_like,
    set_module_tensors,
    set_random_state,
    unpack_carry,
    unpack_optimizer,
)


@dataclass
class Learner:
    """What changes while training: all of this, and the position, is what a checkpoint holds."""

    module: torch.nn.Module
    parameters: list[torch.nn.Parameter]
    optimizer: Optimizer
    device: torch.device
    carry: Any = None
    best: dict[str, Tensor] | None = None


class Keeper:
    """The run's folder, or nothing at all where `path` is None. Raises what RunFolder raises."""

    def __init__(self, path: Path | None, *, resume: bool, fingerprint: Mapping[str, Any], progress: Progress) -> None:
        self.folder = None if path is None else RunFolder(path, resume=resume)
        self.log = Log(None)
        self._fingerprint: dict[str, Any] = json.loads(json.dumps(dict(fingerprint)))
        self._progress, self._resume = progress, resume

    def close(self) -> None:
        """Close the log and let go of the folder."""
        self.log.close()
        if self.folder is not None:
            self.folder.close()

    def begin(self, learner: Learner, options: TrainingOptions) -> Position:
        """Where to start: the beginning, or the last checkpoint, with the learner as it was then."""
        if self.folder is None:
            return Position()
        path, state = self.folder.path / "log.jsonl", self.folder.load()
        if state is None:
            self.log = Log(path)
            if self._resume:
                self._progress.note(f"{self.folder.path} holds no checkpoint: training starts from the beginning")
            return Position()
        require_same(state.fingerprint, self._fingerprint, self.folder.path)
        self._restore(self.folder, state, learner, options)
        self.log = Log(path, state.log_bytes)
        at = state.position
        name = str(self.folder.pointer.checkpoint)
        self._progress.note(f"resumed from {self.folder.path / name}: {at.step:,} steps are done")
        if self.log.short:
            self._progress.note(f"the log {path} is shorter than when the checkpoint was written: it has a gap")
        return at

    def _restore(self, folder: RunFolder, state: State, learner: Learner, options: TrainingOptions) -> None:
        at = state.position
        if not all(map(math.isfinite, (at.seconds, at.line_seconds, at.loss_sum, at.epoch_loss, at.norm_sum))):
            raise ModelFileError(f"{folder.path}: the checkpoint's state.json counts with numbers that are not finite")
        if state.best is not None:
            learner.best = folder.tensors(state, state.best)
            require_like(learner.best, learner.module.state_dict(), state.best)
        carried = folder.tensors(state, "carry.safetensors")
        learner.carry = unpack_carry(carried, state.carry, learner.device)
        tensors = folder.tensors(state, "optimizer.safetensors")
        unpack_optimizer(learner.optimizer, learner.parameters, options, (tensors, state.optimizer))
        set_module_tensors(learner.module, folder.tensors(state, "model.safetensors"), "model.safetensors")
        set_random_state(state.random, learner.device)

    def save(self, learner: Learner, at: Position) -> None:
        """Write a checkpoint of the learner at this position."""
        if self.folder is None:
            return
        tensors, scalars = pack_optimizer(learner.optimizer, learner.parameters)
        carried, outline = pack_carry(learner.carry)
        state = State(
            format=FORMAT,
            fingerprint=self._fingerprint,
            position=at,
            random=random_state(learner.device),
            optimizer=scalars,
            carry=outline,
            log_bytes=self.log.sync(),
        )
        model = module_tensors(learner.module)
        parts = {"model.safetensors": model, "optimizer.safetensors": tensors, "carry.safetensors": carried}
        self.folder.save(state, parts, learner.best)

    def failure(self, learner: Learner, at: Position) -> str:
        """For a run that has gone wrong: keeps the best weights, and says in half a sentence what there is on disk."""
        text = ""
        if self.folder is not None and self.folder.pointer.checkpoint is not None:
            text += f"; the last good checkpoint is {self.folder.path / self.folder.pointer.checkpoint}"
        if self.folder is not None and learner.best is not None:
            text += f"; the best weights so far are {self.folder.keep_best(learner.best, at.best_step)}"
        return text

    def draw(self) -> None:
        """Draw the learning curve; a picture that cannot be drawn is a note, not an error."""
        if self.folder is None:
            return
        try:
            if not self.log.sync():
                return
            learning_curve(
                self.folder.path / "log.jsonl", self.folder.path / "learning-curve.png", note=self._progress.note
            )
        except (OSError, DataError) as error:
            self._progress.note(f"no learning curve was drawn: {error}")


def identity(options: TrainingOptions) -> dict[str, Any]:
    """The options that must be the same when a run is resumed."""
    return {name: value for name, value in vars(options).items() if name not in UNBOUND}


def require_same(saved: Mapping[str, Any], mine: Mapping[str, Any], folder: Path, prefix: str = "") -> None:
    """Raises TrainingError naming the first option that differs, with both values."""
    for name in sorted({*saved, *mine}):
        before, now = saved.get(name), mine.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            require_same(before, now, folder, f"{prefix}{name}.")
        elif before != now or (type(before) is not type(now) and not _numbers(before, now)):
            raise TrainingError(
                f"{folder} cannot be resumed: {prefix}{name} was {_short(before)} and is now {_short(now)}; "
                f"give it the value it had, or choose another --out"
            )


def _numbers(before: Any, now: Any) -> bool:
    return isinstance(before, int | float) and isinstance(now, int | float) and bool not in (type(before), type(now))


def _short(value: Any) -> str:
    text = "not set" if value is None else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
