"""A run's folder: checkpoints of safetensors and JSON that are either whole or not there, and the pointer to the last.

    last.json               which checkpoint counts, which best weights, the digest of its state.json
    checkpoint-120/         model.safetensors, optimizer.safetensors, carry.safetensors, state.json
    best-100.safetensors    the best weights so far
    log.jsonl, learning-curve.png

A checkpoint is written under a temporary name, synced, renamed; then the pointer is replaced; only then does the old
one go. A kill at any moment leaves the pointer at a whole checkpoint. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from elman.errors import ModelFileError, TrainingError
from elman.training.state import Position, RandomState

FORMAT = 1
MAX_JSON = 64 << 20
PARTS = ("model.safetensors", "optimizer.safetensors", "carry.safetensors")
_OURS = re.compile(r"(tmp-)?(checkpoint-[0-9]+b?|best-[0-9]+\.safetensors)|tmp-(last\.json|learning-curve\.png)")

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
BestName = Annotated[str, msgspec.Meta(pattern=r"^best-[0-9]{1,20}\.safetensors$")]
CheckpointName = Annotated[str, msgspec.Meta(pattern="^checkpoint-[0-9]{1,20}b?$")]


class Pointer(msgspec.Struct, forbid_unknown_fields=True):
    """last.json."""

    format: int
    checkpoint: CheckpointName | None
    state_sha256: Digest | None
    best: BestName | None


class State(msgspec.Struct, forbid_unknown_fields=True):
    """state.json. `sha256` holds the digest of each tensor file, the best weights' too."""

    format: int
    fingerprint: dict[str, Any]
    position: Position
    random: RandomState
    optimizer: dict[str, Any]
    carry: Any
    log_bytes: Annotated[int, msgspec.Meta(ge=0)]
    best: BestName | None = None
    sha256: dict[str, Digest] = {}


class RunFolder:
    """The folder of one run. Raises TrainingError where it cannot be used, ModelFileError where a file is damaged."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            started = (path / "last.json").exists() or (
                (path / "log.jsonl").exists() and (path / "log.jsonl").stat().st_size > 0
            )
        except OSError as error:
            raise TrainingError(f"the run's folder {path} cannot be used: {error.strerror}") from None
        if started and not resume:
            raise TrainingError(f"{path} already holds a run: pass --resume to go on with it, or choose another --out")
        self._lock = _lock(path)
        self.pointer = Pointer(FORMAT, None, None, None)
        self._best: tuple[str, str] | None = None  # name and digest of the best weights that this run wrote or read

    def close(self) -> None:
        """Let another run use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> State | None:
        """The state of the last checkpoint, verified against its digest; None where there is none."""
        if (self.path / "last.json").exists():
            self.pointer = _decode(_read(self.path / "last.json"), Pointer, self.path / "last.json")
        if self.pointer.checkpoint is None:
            return None
        path = self.path / self.pointer.checkpoint / "state.json"
        text = _read(path)
        if hashlib.sha256(text).hexdigest() != self.pointer.state_sha256:
            raise ModelFileError(
                f"{path} is damaged: it is not the file that was written; start again in another --out"
            )
        state: State = _decode(text, State, path)
        if state.best is not None:
            self._best = (state.best, state.sha256.get(state.best, ""))
        self._clean()
        return state

    def tensors(self, state: State, name: str) -> dict[str, Tensor]:
        """The tensors of one part of the last checkpoint, or of the best weights, verified against their digest."""
        assert self.pointer.checkpoint is not None
        path = self.path / name if name == state.best else self.path / self.pointer.checkpoint / name
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != state.sha256.get(name):
                raise ModelFileError(
                    f"{path} is damaged: it is not the file that was written; start again in another --out"
                )
            return {key: value.clone() for key, value in safetensors.torch.load_file(path).items()}
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
        except safetensors.SafetensorError as error:
            raise ModelFileError(f"{path} is not a safetensors file: {error}") from None

    def save(self, state: State, parts: Mapping[str, Mapping[str, Tensor]], best: Mapping[str, Tensor] | None) -> None:
        """Write a checkpoint, and the best weights unless they are there already; then remove what no longer counts."""
        name = f"checkpoint-{state.position.step}"
        if name == self.pointer.checkpoint:
            name += "b"  # a second one at the same step: the first stays until the pointer has moved
        with self._writing():
            if best is not None:
                state.best, state.sha256[state.best] = self._save_best(best, state.position.best_step)
            digest = self._save_checkpoint(name, state, parts)
            self._point(Pointer(FORMAT, name, digest, state.best))
            self._clean()

    def keep_best(self, best: Mapping[str, Tensor], step: int) -> Path:
        """Write the best weights and point to them without a checkpoint: for a run that cannot go on."""
        before = self.pointer
        with self._writing():
            name, _ = self._save_best(best, step)
            self._point(Pointer(FORMAT, before.checkpoint, before.state_sha256, name))
        return self.path / name

    def _save_checkpoint(self, name: str, state: State, parts: Mapping[str, Mapping[str, Tensor]]) -> str:
        temporary, final = self.path / f"tmp-{name}", self.path / name
        _remove(temporary)
        _remove(final)
        temporary.mkdir()
        for part in PARTS:
            _save_tensors(parts[part], temporary / part)
            _sync(temporary / part)
            state.sha256[part] = _digest(temporary / part)
        text = json.dumps(msgspec.to_builtins(state)).encode()
        (temporary / "state.json").write_bytes(text)
        _sync(temporary / "state.json")
        _sync(temporary)
        temporary.replace(final)
        _sync(self.path)
        return hashlib.sha256(text).hexdigest()

    def _save_best(self, best: Mapping[str, Tensor], step: int) -> tuple[str, str]:
        name = f"best-{step}.safetensors"
        if self._best is None or self._best[0] != name:
            write_whole(self.path / name, lambda path: _save_tensors(best, path))
            self._best = (name, _digest(self.path / name))
        return self._best

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, safetensors.SafetensorError) as error:
            raise TrainingError(
                f"a checkpoint cannot be written to {self.path}: {error}; the one before still counts"
            ) from None

    def _point(self, pointer: Pointer) -> None:
        write_whole(self.path / "last.json", lambda path: path.write_bytes(msgspec.json.encode(pointer)))
        self.pointer = pointer

    def _clean(self) -> None:
        keep = {self.pointer.checkpoint, self.pointer.best, self._best[0] if self._best else None}
        for path in self.path.iterdir():
            if path.name not in keep and _OURS.fullmatch(path.name):
                _remove(path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, sync it and put it in the place of `path`: old or new, never half."""
    temporary = path.with_name(f"tmp-{path.name}")
    write(temporary)
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    # Copies, since safetensors refuses tensors that share memory (tied weights, views into one buffer).
    whole = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    safetensors.torch.save_file(whole, path)


def _decode(text: bytes, kind: type[Any], path: Path) -> Any:
    try:
        raw = json.loads(text)
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] != FORMAT:
            raise ModelFileError(
                f"{path} has format {raw['format']}; this elman reads format {FORMAT}: use the one that wrote it"
            )
        return msgspec.convert(raw, kind)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{path} is damaged or no checkpoint's JSON: {error}") from None


def _read(path: Path) -> bytes:
    try:
        if not path.is_file() or path.stat().st_size > MAX_JSON:
            raise ModelFileError(f"{path} is missing, no plain file, or larger than {MAX_JSON >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _lock(path: Path) -> int | None:
    """Hold the folder until the process ends, however it ends: two runs in one folder would overwrite each other."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise TrainingError(f"the run's folder {path} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TrainingError(f"another process is training in {path}: wait for it, or choose another --out") from None
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor
