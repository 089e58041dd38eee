"""Where a training run leaves its files: the model, the run's folder beside it; what may be replaced, and when."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from elman.errors import OptionError

OWN = ("log.jsonl", "last.json", "learning-curve.png", "checkpoint-*", "best-*.safetensors", "tmp-*")
"""What a run's folder may hold: a folder with anything else in it is not ours to replace."""


class Resumable(KeyboardInterrupt):
    """Ctrl-C while training, with a checkpoint to go on from."""


class Place:
    """The model file `out` and the folder of its run, `out`.run. Raises OptionError where they cannot be used."""

    def __init__(self, out: str) -> None:
        if "\0" in out:
            raise OptionError("--out has a NUL byte in it, which no name of a file can hold")
        self.model, self.run = Path(out), Path(out.rstrip("/") + ".run")
        if self.model.is_dir() or not self.model.name:
            raise OptionError(
                f"--out {out} is a folder; name the file to write, for example --out {self.model / 'model.elman'}"
            )
        if self.model.exists() and not self.model.is_file():
            raise OptionError(f"--out {out} is no regular file; name the file to write")
        if not self.model.parent.is_dir():
            raise OptionError(f"--out {out}: there is no folder {self.model.parent}; create it first")
        if not os.access(self.model.parent, os.W_OK | os.X_OK):
            raise OptionError(f"--out {out}: the folder {self.model.parent} cannot be written to; choose another --out")
        self._aside: Path | None = None

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse to touch a model or a run that nobody spoke of; put an old run aside until the new one starts."""
        if resume and overwrite:
            raise OptionError("--resume goes on with a run and --overwrite throws it away; give one of them")
        begun = self.run.exists() and any(self.run.iterdir()) if not self.run.is_file() else True
        if resume:
            if not begun:
                raise OptionError(f"there is no run to resume in {self.run}; leave out --resume, or name its --out")
            return
        if not overwrite:
            there = self.model if self.model.exists() else self.run if begun else None
            if there is not None:
                goes_on = "pass --resume to go on with its run, " if begun and self.run.is_dir() else "pass "
                raise OptionError(
                    f"{there} is already there; {goes_on}--overwrite to replace it, or choose another --out"
                )
        elif begun:
            self._put_aside()

    def _put_aside(self) -> None:
        strange = (
            [p.name for p in self.run.iterdir() if not any(p.match(own) for own in OWN)] if self.run.is_dir() else [""]
        )
        if strange:
            what = f"holds {strange[0]!r}, which no run wrote" if strange[0] else "is not the folder of a run"
            raise OptionError(f"{self.run} {what}; move it away, or choose another --out")
        from elman.training.checkpoint import RunFolder

        RunFolder(self.run, resume=True).close()  # raises where another process is training there
        self._aside = self.run.with_name(f".{self.run.name}.{secrets.token_hex(4)}.old")
        self.run.replace(self._aside)

    def started(self) -> None:
        """The new run is under way: the old one may go."""
        if self._aside is not None:
            shutil.rmtree(self._aside)
            self._aside = None

    def failed(self) -> None:
        """The new run never started: the old one comes back, and an empty folder of a new one goes."""
        if self.run.is_dir() and not (self.run / "last.json").exists() and not _any_lines(self.run / "log.jsonl"):
            shutil.rmtree(self.run)
        if self._aside is not None and not self.run.exists():
            self._aside.replace(self.run)
            self._aside = None

    @property
    def resumable(self) -> bool:
        """True when there is a checkpoint to go on from."""
        return (self.run / "last.json").exists()


def _any_lines(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0
