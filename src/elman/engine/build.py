"""From C++ text to a loaded library: compiled once by the machine's C++ compiler, kept in a cache.

The instruction set is the best of x86-64-v4, v3 and v2 that the processor has; ELMAN_ISA=v3 asks for another.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path

from elman.compiler.cpp import ABI
from elman.errors import OptionError, did_you_mean

# No -ffast-math: it breaks exp and turns denormals off for the whole process.
FLAGS = ("-O3", "-ffp-contract=fast", "-fno-trapping-math", "-fno-math-errno", "-std=c++17", "-shared", "-fPIC",
         "-pthread", "-w")  # fmt: skip
FOLDER = Path(__file__).parent
ISAS = {
    "v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "v3": {"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe"},
    "v2": {"sse4_2", "ssse3", "popcnt", "cx16"},
}
SECONDS = 300


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
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")  # of x86, of ARM


@functools.cache
def _version(path: str) -> str:
    version = subprocess.run([path, "--version"], capture_output=True, timeout=SECONDS, check=True).stdout
    return f"{version!r}"


def family() -> list[str]:
    """The instruction sets that a package for this kind of processor serves, best first."""
    if platform.machine() in ("x86_64", "AMD64"):
        return list(ISAS)
    return ["v8"] if platform.machine() in ("aarch64", "arm64") else ["native"]


@functools.cache
def isas() -> list[str]:
    """Those that this processor has, best first; "native" where none of ours is known to fit."""
    has = set(_processor().split())
    found = [isa for isa in family() if ISAS.get(isa, set()) <= has]
    return found or ["native"]


def chosen_isa() -> str:
    """$ELMAN_ISA, else the best; OptionError for one that the processor lacks."""
    return _chosen(os.environ.get("ELMAN_ISA"))


@functools.cache
def _chosen(asked: str | None) -> str:
    able = isas()
    if not asked:
        return able[0]
    if asked not in able:
        raise OptionError(f"ELMAN_ISA={asked}: this processor runs {', '.join(able)}{did_you_mean(asked, able)}")
    return asked


def _safe(path: Path) -> bool:
    """True for what only this user, or the machine's administrator, can have written."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: the user's folders are the user's
    status = path.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def flags(isa: str, real: str) -> list[str]:
    """The compiler's flags for an instruction set and a number type ("float", "double"), and ELMAN_CXXFLAGS."""
    march = {"native": "native", "v8": "armv8-a"}.get(isa, f"x86-64-{isa}")
    return [*FLAGS, f"-march={march}", f"-DREAL={real}", f"-I{FOLDER}", *_asked_flags()]


def _asked_flags() -> list[str]:
    return os.environ.get("ELMAN_CXXFLAGS", "").split()


@functools.cache
def headers() -> str:
    """The texts of the engine's headers: all that a cell includes."""
    return "\0".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.h")))


def load(name: str, text: str, isa: str, real: str) -> ctypes.CDLL | None:
    """The library made of the C++ `text` for one instruction set and number type ("float", "double").

    None, after one warning that names the remedy, where there is no compiler or it fails.
    """
    made = FOLDER / "built" / file_name(name, text, isa, real)
    if made.exists() and not _asked_flags():
        return ctypes.CDLL(str(made))
    path = compiler()
    if path is None:
        _warn("no C++ compiler was found: cells run without kernels, slower; install g++ or clang++")
        return None
    try:
        options = flags(isa, real)
        machine = _processor() if isa == "native" else platform.machine()
        parts = (str(ABI), path, _version(path), machine, *options, headers(), text)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _safe(folder):
            raise PermissionError(
                f"others may write into {folder}, and what lies there would be run; "
                "set ELMAN_CACHE to a folder of your own, or chmod go-w this one"
            )
        target = folder / f"{name[:40]}-{key}.so"
        if not (target.exists() and _safe(target)):
            compile_to(path, options, text, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        reason = " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())[:300]
        _warn(f"the kernels of {name!r} could not be compiled; it runs without them, slower: {reason}")
        return None


def file_name(name: str, text: str, isa: str, real: str) -> str:
    """The name of a library that was built with the package."""
    key = hashlib.sha256("\0".join((str(ABI), real, headers(), text)).encode()).hexdigest()[:16]
    return f"{name[:40]}-{isa}-{real}-{key}.so"


def _warn(why: str) -> None:
    """One warning; None, for who asked for a library."""
    warnings.warn(why, RuntimeWarning, stacklevel=5)


def compile_to(path: str, options: list[str], text: str, target: Path) -> None:
    """Under a temporary name, then renamed: two processes may compile the same cell, and none sees half a library."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, made = Path(folder) / "cell.cpp", Path(folder) / "cell.so"
        source.write_text(text, encoding="utf-8")
        subprocess.run([path, *options, str(source), "-o", str(made)], capture_output=True, timeout=SECONDS, check=True)
        made.chmod(0o700)
        made.replace(target)
