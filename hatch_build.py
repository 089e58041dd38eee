"""Compiles the engine and the cells of the catalogue into a wheel, for every instruction set of the processor's family.

An editable install needs none of it: there cells are compiled on first use. Without a compiler the wheel holds Python
alone, and says so.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent


class CompiledCells(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and tells hatchling what it found."""
        if version == "editable" or self.target_name != "wheel":
            return
        sys.path.insert(0, str(ROOT / "src"))
        from elman.cells import CATALOGUE
        from elman.engine import build
        from elman.engine.prebuilt import libraries

        if build.compiler() is None:
            self.app.display_warning("no C++ compiler was found: this wheel has no kernels")
            return
        folder = ROOT / "build" / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            wanted = libraries(cell.program for cell in CATALOGUE.values())
            made = list(pool.map(lambda one: one.compile_into(folder), wanted))
        build_data["force_include"] |= {str(path): f"elman/engine/built/{path.name}" for path in made}
        build_data["pure_python"], build_data["infer_tag"] = False, False
        build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    """The wheel's platform: no code of Python is linked in, so one wheel serves every version."""
    from packaging.tags import platform_tags

    return next(iter(platform_tags()))
