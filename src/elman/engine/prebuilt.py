"""What is compiled into the package: the engine and cells, in float32, for each instruction set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elman.compiler.cpp import as_cpp
from elman.compiler.ir import Program
from elman.engine import build


@dataclass(frozen=True)
class Library:
    """One library to be compiled."""

    name: str
    text: str
    isa: str
    real: str = "float"

    def compile_into(self, folder: Path) -> Path:
        """The file; made again only if it is not there."""
        target = folder / build.file_name(self.name, self.text, self.isa, self.real)
        path = build.compiler()
        assert path is not None
        if not target.exists():
            build.compile_to(path, build.flags(self.isa, self.real), self.text, target)
        target.chmod(0o755)
        return target


def libraries(programs: Iterable[Program]) -> Iterator[Library]:
    """The engine and these cells, for every instruction set of the processor's family."""
    texts = [("engine", (build.FOLDER / "engine.cpp").read_text(encoding="utf-8"))]
    texts += [(program.name, as_cpp(program)) for program in programs]
    for isa in build.family():
        yield from (Library(name, text, isa) for name, text in texts)
