"""What a run is made of at a step boundary: position, generators, optimiser, carry, as JSON and named tensors, exactly.

Scalars go through Python's JSON, whose floats are written with `repr` and come back bit for bit; tensors go into
safetensors. Everything read back is checked against what this run would have written before it is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from elman.errors import ModelFileError, TrainingError
from elman.training.optimisers import make_optimizer
from elman.training.options import TrainingOptions

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
MAX_DEPTH = 32
NORMS_KEPT = 5  # of the last gradients, for the error of a run that goes wrong


class Position(msgspec.Struct, forbid_unknown_fields=True):
    """Where a run is, at a step boundary, and what it has counted so far."""

    step: Count = 0
    epoch: Count = 0
    batch: Count = 0  # index of the next batch in the epoch
    seconds: float = 0.0  # of training, across resumes
    loss_sum: float = 0.0  # since the last line of the log: loss times units, units, steps, gradient norms
    units: Count = 0
    steps: Count = 0
    norm_sum: float = 0.0
    norm_max: float = 0.0
    line_seconds: float = 0.0  # when the interval began
    epoch_loss: float = 0.0  # loss times units since the epoch began, units
    epoch_units: Count = 0
    train_loss: float | None = None  # mean of the epoch so far, as of the last line
    norms: list[float] = []
    best: dict[str, float] = {}
    best_step: Count = 0
    since_best: Count = 0  # validations without improvement
    since_cut: Count = 0  # the same, since 'plateau' last cut the rate
    reductions: Count = 0
    last: dict[str, float] = {}
    validated_step: int = -1
    clipped: Count = 0  # steps whose gradient was scaled down

    def count(self, loss: float, units: int, norm: float, clipped: bool) -> None:
        """A step was done: its mean loss per unit, its units, the norm of its gradient, whether that was scaled."""
        self.clipped += clipped
        self.step, self.batch, self.steps = self.step + 1, self.batch + 1, self.steps + 1
        self.loss_sum, self.epoch_loss = self.loss_sum + loss * units, self.epoch_loss + loss * units
        self.units, self.epoch_units = self.units + units, self.epoch_units + units
        self.norm_sum, self.norm_max = self.norm_sum + norm, max(self.norm_max, norm)
        self.norms = [*self.norms[1 - NORMS_KEPT :], norm]


class RandomState(msgspec.Struct, forbid_unknown_fields=True):
    """The states of the global generators of torch, Python and numpy."""

    torch: str
    python: tuple[int, list[int], float | None]
    numpy: tuple[list[int], int, int, float]
    cuda: str | None = None


def random_state(device: torch.device) -> RandomState:
    """The generators as they are now; the GPU's own where `device` is one."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    cuda = _hex(torch.cuda.get_rng_state(device)) if device.type == "cuda" else None
    return RandomState(
        torch=_hex(torch.get_rng_state()),
        python=(version, list(numbers), gauss),
        numpy=([int(k) for k in keys], int(position), int(has_gauss), float(cached)),
        cuda=cuda,
    )


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Put the generators back. Raises ModelFileError where the state is not one."""
    try:
        torch.set_rng_state(_unhex(state.torch))
        random.setstate((state.python[0], tuple(state.python[1]), state.python[2]))
        keys, position, has_gauss, cached = state.numpy
        if len(keys) != 624 or not 0 <= position <= 624 or has_gauss not in (0, 1):
            raise ValueError("numpy's generator has 624 words and a position in them")
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
        if state.cuda is not None and device.type == "cuda":
            torch.cuda.set_rng_state(_unhex(state.cuda), device)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ModelFileError(f"the checkpoint's random generators cannot be set: {error}") from None


@contextmanager
def preserved_random(device: torch.device) -> Iterator[None]:
    """Whatever happens inside, the global generators are afterwards as they were."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def module_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of the module's parameters and buffers by name."""
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise TrainingError(
                f"the model's state {name!r} is a {type(value).__name__}; a checkpoint can hold tensors only"
            )
        tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
    return tensors


def set_module_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load `tensors` into the module. Raises ModelFileError where names, shapes or kinds differ."""
    require_like(tensors, module.state_dict(), what)
    module.load_state_dict(dict(tensors), strict=True)


def pack_optimizer(optimizer: Optimizer, parameters: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's state by 'number of the parameter.name': tensors, and scalars as JSON.

    The learning rate and its kin are not saved: they follow from the options and the position.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for number, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{number}.{name}"] = value
    return tensors, scalars


def unpack_optimizer(
    optimizer: Optimizer,
    parameters: Sequence[Tensor],
    options: TrainingOptions,
    saved: tuple[Mapping[str, Tensor], Mapping[str, Any]],
) -> None:
    """Give the optimiser its state back. Raises ModelFileError where it is not what this optimiser keeps."""
    tensors, scalars = saved
    like, like_scalars = _optimizer_template(parameters, options)
    # A parameter that never had a gradient has no state: what is there must be right and whole for its parameter.
    present = {key.split(".", 1)[0] for key in (*tensors, *scalars)}
    expected = {key: value for key, value in like.items() if key.split(".", 1)[0] in present}
    require_like(tensors, expected, "optimizer.safetensors")
    expected_scalars = {key: value for key, value in like_scalars.items() if key.split(".", 1)[0] in present}
    if {k: type(v) for k, v in scalars.items()} != {k: type(v) for k, v in expected_scalars.items()}:
        raise ModelFileError(f"state.json holds another state than optimizer {options.optimizer!r} keeps")
    for number, parameter in enumerate(parameters):
        for name in [key.split(".", 1)[1] for key in (*like, *like_scalars) if key.startswith(f"{number}.")]:
            key = f"{number}.{name}"
            if key in tensors:
                optimizer.state[parameter][name] = tensors[key].to(like[key].device, copy=True)
            elif key in scalars:
                optimizer.state[parameter][name] = scalars[key]


def _optimizer_template(
    parameters: Sequence[Tensor], options: TrainingOptions
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state after one step over zeros: names, shapes and kinds of what this optimiser keeps."""
    zeros = [torch.zeros_like(p, requires_grad=True) for p in parameters]
    for zero in zeros:
        zero.grad = torch.zeros_like(zero)
    optimizer = make_optimizer(zeros, options)
    optimizer.step()
    return pack_optimizer(optimizer, zeros)


def pack_carry(carry: Any) -> tuple[dict[str, Tensor], Any]:
    """The carried state as named tensors and a JSON outline of how they nest (tuples, lists, dicts, None, numbers)."""
    tensors: dict[str, Tensor] = {}

    def outline(value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise TrainingError(f"the carried state nests more than {MAX_DEPTH} deep")
        if isinstance(value, Tensor):
            name = str(len(tensors))
            tensors[name] = value.detach()
            return {"tensor": name}
        if isinstance(value, tuple | list):
            return {type(value).__name__: [outline(v, depth + 1) for v in value]}
        if isinstance(value, dict):
            return {"dict": [[key, outline(v, depth + 1)] for key, v in value.items()]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TrainingError(f"the carried state holds a {type(value).__name__}; nested tuples of tensors are expected")

    return tensors, outline(carry, 0)


def unpack_carry(tensors: Mapping[str, Tensor], outline: Any, device: torch.device, depth: int = 0) -> Any:
    """The carried state from `pack_carry`'s two parts. Raises ModelFileError where they do not belong together."""
    if depth > MAX_DEPTH:
        raise ModelFileError(f"state.json: the carried state nests more than {MAX_DEPTH} deep")
    if outline is None or isinstance(outline, bool | int | float | str):
        return outline
    if isinstance(outline, dict) and len(outline) == 1:
        ((kind, value),) = outline.items()
        if kind == "tensor" and isinstance(value, str) and value in tensors:
            return tensors[value].to(device, copy=True)
        if kind in ("tuple", "list") and isinstance(value, list):
            items = [unpack_carry(tensors, v, device, depth + 1) for v in value]
            return tuple(items) if kind == "tuple" else items
        if kind == "dict" and isinstance(value, list) and all(_is_item(v) for v in value):
            return {key: unpack_carry(tensors, v, device, depth + 1) for key, v in value}
    raise ModelFileError("state.json describes a carried state that carry.safetensors does not hold")


def _is_item(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)


def require_like(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raises ModelFileError, naming `what`, unless `tensors` have the names, shapes and kinds of the `expected`."""
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        name, verb = (missing[0], "lacks") if missing else (extra[0], "has an unknown")
        raise ModelFileError(f"{what} {verb} tensor {name[:80]!r}: it belongs to another model or optimizer")
    for name, value in expected.items():
        given = tensors[name]
        if given.shape != value.shape or given.dtype != value.dtype:
            raise ModelFileError(
                f"{what}: tensor {name!r} is {given.dtype} {tuple(given.shape)}, "
                f"but this model has {value.dtype} {tuple(value.shape)}"
            )


def _hex(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _unhex(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
