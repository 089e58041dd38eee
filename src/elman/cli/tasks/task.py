"""What the command line knows of a task beyond its estimator: the base that every task fills in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from elman.cli import options
from elman.cli.options import RUN, Option
from elman.cli.sources import Reading
from elman.data import is_made
from elman.models.options import OPTIONS, fields

Chosen = Mapping[str, Any]
PICTURE = Option(
    "picture", "str | None", None, RUN, "Draw the first records, and what the model makes of them, into this PNG file"
)
DATA = ("DATA", "A file (.csv .tsv .jsonl .conllu .conll .txt .npz, also .gz), a folder, made:parity and its kin, or -")
TO_USE = (
    "DATA", "What the model reads: a file (.csv .tsv .jsonl .conllu .conll .txt .npz .parquet, also .gz; a sound, a "
    "picture; two files of lines: a,b), a folder of such, made:parity and its kin, or -",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The data of a training command: what to learn from, to validate by (None: a held-out part) and to judge by."""

    train: Any
    valid: Any
    test: Any
    names: Sequence[str]
    valid_name: str | None
    test_name: str | None
    size: str
    """How much there is to learn from, in words."""
    held_out: str
    """What decides which weights are kept, in words."""
    words: str = ""
    """The options that other commands need to read such files."""


class Task:
    """One task. A file of the task subclasses this and names its one instance TASK."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What a model of this task is called."""
    about: ClassVar[str]
    sources: ClassVar[Sequence[tuple[str, str]]] = (DATA,)
    """What is named without an option in `elman train`, and a line about each; "..." takes the rest."""
    reading: ClassVar[Sequence[Option]] = (*options.READING, *options.MADE)
    """How files are read."""
    judging: ClassVar[Sequence[Option]] = ()
    """Options of `elman evaluate` that not every task has."""
    using: ClassVar[Sequence[Option]] = ()
    """Options of `elman predict` that not every task has."""
    makes_with: ClassVar[Sequence[str]] = ()
    """The names of the options of `elman generate` that it takes; empty for a task that generates nothing."""
    generating: ClassVar[Sequence[Option]] = ()
    """Options of `elman generate` that no other task has."""
    held_part: ClassVar[str] = "a random"
    """Which part of the data is held out where no --valid is given."""

    def options(self) -> dict[str, Option]:
        """Every option of `elman train TASK` by name."""
        kind = OPTIONS[self.name]
        own = [Option(f.name, str(f.type), f.default, f.metadata["group"], f.metadata["about"]) for f in fields(kind)]
        return {one.name: one for one in (*options.TRAIN[:2], *own, *self.reading, *options.TRAIN[2:])}

    # -- reading -------------------------------------------------------------------------------------------------------
    def data(self, sources: Sequence[str], chosen: Chosen, estimator: Any) -> Data:
        """Everything that a training command reads. Raises DataError, OptionError."""
        reading, test_name = Reading.of(chosen), chosen.get("test")
        train = self.read(sources, reading, "train", estimator)
        valid_name = self.valid_name(sources, chosen, estimator)
        valid = None if valid_name is None else self.read([valid_name], reading, "valid", estimator)
        test = None if test_name is None else self.read([test_name], reading, "test", estimator)
        reading.require_made([sources[0], valid_name, test_name])
        held_out = self.held_out(valid_name, valid, estimator)
        if hasattr(train, "most_held") and valid_name is None and estimator.valid_fraction:
            held_out += f", at most {train.most_held}"
        names = ("columns", "encoding", "errors", *["length"] * is_made(test_name or valid_name or sources[0]))
        given = {name: chosen.get(name) for name in names}
        return Data(
            train, valid, test, list(sources), valid_name, test_name, self.size(train), held_out,
            "".join(f" --{name} {shlex.quote(text)}" for name, text in given.items() if text),
        )  # fmt: skip

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Any:
        """What `model`, an estimator, takes. part: train, valid or test."""
        raise NotImplementedError

    def valid_name(self, sources: Sequence[str], chosen: Chosen, estimator: Any) -> str | None:
        """The source to validate by; None: a part of the data, or nothing. Made data is validated by data made of its
        own."""
        own = sources[0] if is_made(sources[0]) and estimator.valid_fraction else None
        name: str | None = chosen.get("valid", own)
        return name

    def size(self, train: Any) -> str:
        """How much there is to learn from, in words."""
        raise NotImplementedError

    def held_out(self, valid_name: str | None, valid: Any, estimator: Any) -> str:
        """What decides which weights are kept, in words."""
        if valid_name is not None:
            return f"{valid_name}{f'; {len(valid):,} made of their own' if is_made(valid_name) else ''}"
        if not estimator.valid_fraction:
            return "nothing (--valid-fraction 0): the last weights are kept"
        return f"{self.held_part} {100 * estimator.valid_fraction:g} % of the data, held out"

    # -- what is said --------------------------------------------------------------------------------------------------
    def reads(self, estimator: Any) -> str:
        """What the model reads and gives, in words."""
        raise NotImplementedError

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Commands to type next: `model` and `source` as they are typed, `words` the options to read such files."""
        return [f"elman evaluate {model} {source}{words}", f"elman predict {model} {source}{words}"]

    # -- use -----------------------------------------------------------------------------------------------------------
    def evaluate(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Mapping[str, float]:
        """The figures of a model on labelled data."""
        figures: Mapping[str, float] = model.evaluate(self.read([source], reading, "test", model))
        return figures

    def figures(self, values: Mapping[str, float]) -> str:
        """The figures of `evaluate` for people, a line each."""
        width = max(len(name) for name in values)
        return "\n".join(f"{name.replace('_', ' '):<{width}}  {value:.4f}" for name, value in values.items())

    def brief(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Those figures of `evaluate` that stand in one line after training."""
        return values

    def lines(self, records: Iterator[dict[str, Any]], out: str | None) -> Iterator[str]:
        """The text that `elman predict` writes, to the file `out` or to standard output: JSON Lines."""
        return (json.dumps(record, ensure_ascii=False) + "\n" for record in records)

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """One record, plain data, for each that is read."""
        raise NotImplementedError

    def generate(self, model: Any, chosen: Chosen) -> None:
        """Print what the model makes of its own. Only asked of tasks that say what they make it with."""
        raise NotImplementedError
