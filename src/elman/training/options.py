"""The options of a training run, what each may be, and the summary that a run gives back. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from elman.errors import OptionError, did_you_mean

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw", "asgd")
SCHEDULES = ("constant", "linear", "cosine", "step", "plateau")
UNBOUND = ("epochs", "max_seconds", "checkpoint_seconds", "checkpoint_steps", "diagnose")
"""Options that may differ when a run is resumed: how long it goes on, how often it is saved and looked at."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. Raises OptionError for a value that cannot work.

    epochs: passes over the data; max_seconds: stop after this much training time, counted across resumes.
    lr, optimizer (sgd, momentum, rmsprop, adam, adamw, asgd), momentum (for 'momentum' only), weight_decay.
    schedule: constant; linear or cosine (to 0 at the last epoch's end); step (times `decay` after every
    `decay_every` epochs); plateau (times `decay` after `decay_every` validations in a row without improvement).
    warmup_steps: the rate rises linearly over this many steps, under any schedule.
    clip_norm: the gradient is scaled down to this norm; clip_value: then each entry is cut to ±this; None: not at all.
    patience: stop after this many validations in a row without improvement.
    checkpoint_seconds, checkpoint_steps: save at least this often; neither changes the numbers.
    validate_every: steps between validations (None: at the end of each epoch).
    diagnose: steps between two looks at the gradient through time, on a fixed batch (None: never); it waits where they
    would take more than a twentieth of the time, and does not change the numbers.
    """

    epochs: int = 10
    max_seconds: float | None = None
    lr: float = 1e-3
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    decay: float = 0.5
    decay_every: int = 1
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    patience: int | None = None
    seed: int = 0
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    validate_every: int | None = None
    diagnose: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(f"{_flag(name)} is {value!r}, which is not known{did_you_mean(str(value), known)}")
        for name, (kinds, optional, holds, what) in _RULES.items():
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not _is_number(value, kinds) or not holds(value):
                raise OptionError(f"{_flag(name)} must be {what}, not {value!r}")


@dataclass
class Summary:
    """What a run came to. `best`: the validation figures of the weights kept, {} where nothing was validated;
    `last`: the last figures, with 'train_loss'; `stopped`: why, one of 'epochs', 'patience', 'time'."""

    steps: int
    epochs: int
    seconds: float
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    last: dict[str, float] = field(default_factory=dict)
    stopped: str = "epochs"
    clipped: float = 0.0
    """The share of the steps whose gradient was scaled down to clip_norm."""


def _is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    return type(value) in kinds and math.isfinite(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


_Rule = tuple[tuple[type, ...], bool, Callable[[Any], bool], str]
_REAL: tuple[type, ...] = (int, float)
_RULES: dict[str, _Rule] = {
    # name: kinds, may be None, what must hold, in words
    "epochs": ((int,), False, lambda v: v >= 1, "a whole number, 1 or more"),
    "max_seconds": (_REAL, True, lambda v: v > 0, "a number of seconds above 0"),
    "lr": (_REAL, False, lambda v: v > 0, "a number above 0"),
    "momentum": (_REAL, False, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "weight_decay": (_REAL, False, lambda v: v >= 0, "a number, 0 or more"),
    "warmup_steps": ((int,), False, lambda v: v >= 0, "a whole number, 0 or more"),
    "decay": (_REAL, False, lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
    "decay_every": ((int,), False, lambda v: v >= 1, "a whole number, 1 or more"),
    "clip_norm": (_REAL, True, lambda v: v > 0, "a number above 0, or none"),
    "clip_value": (_REAL, True, lambda v: v > 0, "a number above 0, or none"),
    "patience": ((int,), True, lambda v: v >= 1, "a whole number, 1 or more, or none"),
    "seed": ((int,), False, lambda v: 0 <= v < 2**63, "a whole number from 0 to 2**63 - 1"),
    "checkpoint_seconds": (_REAL, False, lambda v: v >= 0, "a number of seconds, 0 or more"),
    "checkpoint_steps": ((int,), True, lambda v: v >= 1, "a whole number, 1 or more, or none"),
    "validate_every": ((int,), True, lambda v: v >= 1, "a whole number, 1 or more, or none"),
    "diagnose": ((int,), True, lambda v: v >= 1, "a whole number of steps, 1 or more, or none"),
}
