"""From a program to machine code: printed, compiled once by the machine's C++ compiler, kept in a cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elman.compiler.cpp import ABI, as_cpp, printable, scratch_slots, weight_layout
from elman.compiler.interpret import column_ranges
from elman.compiler.ir import Node, Program, resolve
from elman.compiler.verify import verify_cell
from elman.errors import DataError

Floats = npt.NDArray[np.float32]
L = 16  # floats in a vector, as in vector.h
PANEL = 8  # vectors in a panel of packed weights
# No -ffast-math: it breaks exp and turns denormals off for the whole process.
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-trapping-math", "-std=c++17", "-shared", "-fPIC", "-w")
HEADER = Path(__file__).with_name("vector.h")
SECONDS = 60


def cache_folder() -> Path:
    """Where compiled cells are kept: $ELMAN_CACHE, else the user's cache folder."""
    if given := os.environ.get("ELMAN_CACHE"):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elman"
    except RuntimeError:  # a user whom the system does not know
        raise FileNotFoundError("there is no home folder to keep it in; set ELMAN_CACHE to a folder") from None


def compiler() -> str | None:
    """The machine's C++ compiler ($CXX first), or None."""
    return next(
        (found for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (found := shutil.which(name))),
        None,
    )


@functools.cache
def _machine(path: str) -> str:
    """What else decides the machine code: the compiler's version and the processor."""
    version = subprocess.run([path, "--version"], capture_output=True, timeout=SECONDS, check=True).stdout
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")  # of x86, of ARM
    return f"{version!r}\n{platform.machine()}\n{platform.processor()}\n{flags}"


@functools.cache
def library(program: Program) -> ctypes.CDLL | None:
    """The compiled step of `program`; None, after one warning that names the remedy, where it cannot be compiled.

    Raises ProgramError for what is no cell: only what the verifier knows becomes C++ and the name of a file.
    """
    verify_cell(program)
    path = compiler()
    if path is None:
        _warn("no C++ compiler was found: cells run in numpy, slower; install g++ or clang++")
        return None
    if not printable(program):
        _warn(f"the cell {program.name!r} is too long to be compiled and runs in numpy, slower")
        return None
    text = as_cpp(program, HEADER.read_text(encoding="utf-8"))
    try:
        key = hashlib.sha256("\0".join((str(ABI), path, _machine(path), *FLAGS, text)).encode()).hexdigest()[:32]
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _safe(folder):
            raise PermissionError(
                f"others may write into {folder}, and what lies there would be run; "
                "set ELMAN_CACHE to a folder of your own, or chmod go-w this one"
            )
        target = folder / f"{program.name[:40]}-{key}.so"
        if not (target.exists() and _safe(target)):
            _compile(path, text, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        reason = " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())[:300]
        _warn(f"the cell {program.name!r} could not be compiled and runs in numpy, slower: {reason}")
        return None


def _warn(why: str) -> None:
    warnings.warn(why, RuntimeWarning, stacklevel=4)


def _safe(path: Path) -> bool:
    """True for what only this user, or the machine's administrator, can have written."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: the user's folders are the user's
    status = path.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _compile(path: str, text: str, target: Path) -> None:
    """Under a temporary name, then renamed: two processes may compile the same cell, and none sees half a library."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, made = Path(folder) / "cell.cpp", Path(folder) / "cell.so"
        source.write_text(text, encoding="utf-8")
        command = [path, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
        made.chmod(0o700)
        made.replace(target)


def _wide(units: int) -> int:
    return -(-units // L) * L


def _aligned(count: int) -> Floats:
    """`count` zeros at a multiple of 64 bytes; many of them on huge pages, whose addresses the processor need not look
    up one by one."""
    page = 2 << 20
    if 4 * count >= page and hasattr(mmap, "MADV_HUGEPAGE"):
        memory = mmap.mmap(-1, 4 * count + page)
        memory.madvise(mmap.MADV_HUGEPAGE)
        raw, unit = np.frombuffer(memory, np.float32), page // 4
    else:
        raw, unit = np.zeros(count + L, np.float32), L
    first = (-raw.ctypes.data // 4) % unit
    return raw[first : first + count]


def pack(program: Program, weights: Mapping[str, npt.NDArray[np.floating]], sizes: Mapping[str, int]) -> Floats:
    """The weights as the compiled step reads them: `weight_layout` in order, each vector padded with zeros to whole
    ones of 16, each matrix in panels [argument][panel][row][8 vectors]."""
    parts: list[Floats] = []
    for kind, node in weight_layout(program):
        wide = _wide(sizes[node.size])
        if kind == "matrix":
            parts += _packed_matrix(program, node, np.asarray(weights[f"weight_{node.name}"], np.float32), sizes, wide)
        else:
            vector = np.zeros(wide, np.float32)
            name = node.name if kind == "parameter" else f"bias_{node.name}"
            if kind == "parameter" or node.bias:
                vector[: sizes[node.size]] = weights[name]
            parts.append(vector)
    packed = _aligned(sum(part.size for part in parts))
    packed[:] = np.concatenate(parts) if parts else packed
    return packed


def _packed_matrix(program: Program, node: Node, weight: Floats, sizes: Mapping[str, int], wide: int) -> list[Floats]:
    panels: list[Floats] = []
    for first, last in column_ranges(program, node, sizes):
        block = np.zeros((last - first, wide), np.float32)
        block[:, : weight.shape[0]] = weight[:, first:last].T
        panels += [np.ascontiguousarray(block[:, a : a + PANEL * L]).ravel() for a in range(0, wide, PANEL * L)]
    return panels


class Step:
    """A compiled cell with its weights and the state of one sequence; for one thread at a time. Bind it to arrays once,
    then `call` takes their steps without allocating anything."""

    def __init__(
        self,
        code: ctypes.CDLL,
        program: Program,
        weights: Mapping[str, npt.NDArray[np.floating]],
        sizes: tuple[int, int, int],
    ) -> None:
        by_name = resolve(*sizes)
        self._sizes = (ctypes.c_long * 3)(*sizes)
        self._weights = pack(program, weights, by_name)
        self.state_sizes = [by_name[size] for size in program.state_sizes().values()]
        self._states = _aligned(sum(map(_wide, self.state_sizes)))
        starts = np.cumsum([0, *map(_wide, self.state_sizes)])
        self.states: list[Floats] = [self._states[a : a + n] for a, n in zip(starts, self.state_sizes)]
        self._scratch = _aligned(max(1, scratch_slots(program)) * _wide(max(sizes)))
        self._function = code.run
        self._function.restype = None

    def bind(self, x: Floats, out: Floats) -> Sequence[object]:
        """The arguments of `call` for these arrays, which they keep alive: x (T, I), out (T, units)."""
        if (
            any(a.dtype != np.float32 or not a.flags.c_contiguous for a in (x, out))
            or x.shape != (len(out), self._sizes[0])
            or out.shape != (len(x), self.state_sizes[0])
        ):
            raise DataError(
                f"a compiled step takes float32 arrays (T, {self._sizes[0]}) and (T, {self.state_sizes[0]}), "
                f"not {x.dtype} {x.shape} and {out.dtype} {out.shape}"
            )
        weights, x_at, states, scratch, out_at = (
            a.ctypes.data_as(ctypes.c_void_p) for a in (self._weights, x, self._states, self._scratch, out)
        )
        return self._sizes, weights, x_at, ctypes.c_long(len(x)), states, scratch, out_at

    def call(self, arguments: Sequence[object]) -> None:
        """The steps, from the state at hand."""
        self._function(*arguments)
