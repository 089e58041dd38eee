"""The options of the verbs, derived from the estimators' own: as Cyclopts takes them, as values, in TOML files."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Group, Parameter

from elman.errors import DataError, OptionError, did_you_mean
from elman.models.options import DATA, MODEL, OPTIONS, TRAINING, EstimatorOptions, fields

RUN = "Run"
GROUPS = {name: Group(name, sort_key=place) for place, name in enumerate((MODEL, TRAINING, DATA, RUN), 1)}
STANDARD_INPUT = "(standard input)"
"""Stands for a lone - while Cyclopts reads the command line: it would take it for an option without a name."""
TOKENS = {
    "char": "characters",
    "word": "words and signs",
    "space": "words between spaces",
    "subword": "subwords",
    "series": "series of numbers",
}
"""The levels of tokens, in words."""
METAVARS = {"int": "N", "float": "X", "float | Mapping[str, float]": "X", "Sequence[int]": "N,N"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a verb: its type as the estimators write it, its default, its group, a line about it."""

    name: str
    kind: str
    default: Any
    group: str
    about: str

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """As Cyclopts takes it: text or a flag, absent (None) unless given; the real default is only shown."""
        quiet = self.default is None or self.default is False or self.default in ((), "")
        shown: Any = False if quiet else (lambda _: _show(self.default))
        bare = self.kind.removesuffix(" | None")
        negative = None if bare == "bool" and (self.group != RUN or self.default is True) else ()  # None: a --no- too
        settings = Parameter(
            help=self.about, group=GROUPS[self.group], show_default=shown, negative=negative,
            allow_leading_hyphen=True, metavar=METAVARS.get(bare, "TEXT"),
        )  # fmt: skip
        kind: Any = {"bool": bool | None, "list[str]": list[str] | None}.get(bare, str | None)
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, settings]
        )


def _show(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


READING = (
    Option("encoding", "str", "utf-8", DATA, "The encoding of text files"),
    Option(
        "errors", "str", "strict", DATA, "Bytes that are not of the encoding: strict, replace, ignore, backslashreplace"
    ),
    Option(
        "columns", "str | None", None, DATA, "Names for the columns of a CSV or TSV without a header row: name,label"
    ),
)
MADE = (
    Option(
        "length",
        "str | None",
        None,
        DATA,
        "Length of made: sequences: N-M, or N (1 to N to learn from, N to judge by); default 20",
    ),
    Option(
        "count",
        "int | None",
        None,
        DATA,
        "How many sequences to make for made: data; default 10000 to train, 1000 to test",
    ),
)
TRAIN = (
    Option("valid", "str | None", None, DATA, "A file that decides which weights are kept"),
    Option("test", "str | None", None, DATA, "A file to judge the finished model by"),
    Option(
        "out",
        "str | None",
        None,
        RUN,
        "The model file to write; default TASK.elman. The run's folder is beside it: OUT.run",
    ),
    Option("threads", "int | None", None, RUN, "Processor threads; default: torch's own choice"),
    Option("quiet", "bool", False, RUN, "No progress"),
    Option("config", "str | None", None, RUN, "A TOML file of options; the command line wins"),
    Option("resume", "bool", False, RUN, "Go on with the run in OUT.run, after Ctrl-C or a crash"),
    Option("overwrite", "bool", False, RUN, "Replace the model and the run that are there"),
)
NOT_IN_FILES = ("config", "resume", "overwrite")


SEED = Option("seed", "int", 0, DATA, "Decides made: data")
COLUMNS = (
    Option("input", "str | None", None, DATA, "The column to read; default: the one that the model was trained on"),
    Option("target", "str | None", None, DATA, "The column of labels; default: the one that the model was trained on"),
)
THREADS = TRAIN[3]
JSON = Option("json", "bool", False, RUN, "Print one JSON object")
PROBE = Option("probe", "str | None", None, RUN, "Judge its grammar: agreement (verbs), or blimp (minimal pairs)")
EVALUATE = (*COLUMNS, *READING, *MADE, SEED, THREADS, PROBE, JSON)
COMPARE = (
    *COLUMNS, *READING, *MADE,
    Option("sequences", "int", 16, RUN, "Look at so many sequences of the data"),
    Option("steps", "int", 256, RUN, "Of a text: so many steps of each"),
    Option("out", "str | None", None, RUN, "Write the report to this file: one HTML page with charts"),
    Option("json", "str | None", None, RUN, "Write all the numbers to this file, as JSON"),
    Option("pictures", "str | None", None, RUN, "Write every chart into this folder, as PNG files"),
    SEED, THREADS,
)  # fmt: skip
DIAGNOSE = (
    *COMPARE,
    Option("units", "Sequence[int]", (), RUN, "Units of the top layer that --pictures draws over the data: 3,17"),
    Option(
        "run", "str | None", None, RUN, "The folder of its training run, for what --diagnose logged; default MODEL.run"
    ),
)
PREDICT = (
    COLUMNS[0], *READING, *MADE, SEED,
    Option("out", "str | None", None, RUN, "Write to this file, whole or not at all, instead of standard output"),
    THREADS,
)  # fmt: skip
GENERATE = (
    Option("prompt", "str", "", RUN, "The text to go on from"),
    Option("length", "int", 200, RUN, "Characters, words or steps to draw, at most"),
    Option("temperature", "float", 1.0, RUN, "Below 1: likelier choices; 0: always the likeliest"),
    Option("top_k", "int | None", None, RUN, "Draw from the K likeliest only"),
    Option("top_p", "float | None", None, RUN, "Draw from the likeliest that together reach this probability"),
    Option("seed", "int | None", None, RUN, "The same seed gives the same text"),
    THREADS,
)
CELLS = (
    Option("latex", "bool", False, RUN, "Equations as LaTeX"),
    Option("input_size", "int", 128, RUN, "I, for the numbers of parameters"),
    Option("hidden_size", "int", 128, RUN, "H, for the numbers of parameters"),
)
DEMO = (
    Option("seconds", "float", 60.0, RUN, "How long to train"),
    Option("out", "str", "demo", RUN, "The folder for the model and its run"),
    THREADS,
)
BENCH = (
    Option("cell", "AnyCell | Sequence[AnyCell]", "lstm,gru,rnn", MODEL, "Cells by name (see `elman cells`)"),
    Option(
        "shape",
        "list[str]",
        "100,1,64,64 128,32,64,128 128,32,256,256",
        MODEL,
        "T,B,I,H: steps, sequences, input units, hidden units; may be given more than once",
    ),
    Option("backend", "str", "auto", MODEL, "elman's back end (see `elman.explain`)"),
    Option("threads", "Sequence[int]", "all,1", RUN, "Processor threads, one number or several: 2,1"),
    Option("train", "bool", True, RUN, "Measure training: a forward and a backward pass"),
    Option("infer", "bool", True, RUN, "Measure inference: a forward pass without gradients"),
    Option("repeats", "int", 11, RUN, "Turns that are timed"),
    Option("json", "str | None", None, RUN, "Write all that was measured to this file"),
)


def values(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, on the command line or in the --config file, as values. Raises OptionError."""
    given = {name: value for name, value in given.items() if value is not None}
    if "config" in given:
        given = {**read_config(given["config"], options), **given}
    return {name: value(options[name], text) for name, text in given.items()}


def estimator_values(task: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Of the chosen options those that the estimator itself takes."""
    kind: type[EstimatorOptions] = OPTIONS[task]
    own = {f.name: chosen[f.name] for f in fields(kind) if f.name in chosen}
    if isinstance(own.get("cell"), list):  # a cell for each layer says how many layers there are
        own.setdefault("num_layers", len(own["cell"]))
    return own


def read_config(path: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """The options in a TOML file, by name (- and _ are the same). Raises OptionError for an unknown one."""
    from elman.data.files import read_text

    try:
        raw = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"--config {path} is not TOML: {error}") from None
    except DataError as error:
        raise OptionError(f"--config: {error}") from None
    known = {name.replace("_", "-"): name for name in options if name not in NOT_IN_FILES}
    found: dict[str, Any] = {}
    for key, given in raw.items():
        name = known.get(key.replace("_", "-"))
        if name is None:
            raise OptionError(
                f"--config {path} sets {key!r}, which is no option{did_you_mean(key.replace('_', '-'), known)}"
            )
        if name in found:
            raise OptionError(f"--config {path} sets {key!r} twice, once with - and once with _; remove one")
        found[name] = given
    return found


# -- from text or TOML to values ---------------------------------------------------------------------------------------
def value(option: Option, given: Any) -> Any:
    """The value of an option given as text (command line) or as TOML has it. Raises OptionError."""
    kind = option.kind.removesuffix(" | None")
    optional = kind != option.kind
    if optional and given == "none":
        return None
    read, what = KINDS[kind]
    try:
        return read(given)
    except (ValueError, TypeError):
        none = ", or none" if optional else ""
        raise OptionError(f"{option.flag} must be {what}{none}, not {_brief(given)}") from None


def _brief(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _integer(given: Any) -> int:
    if type(given) is int:
        return given
    if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9][0-9_]{0,30}", given, re.ASCII):
        return int(given)
    raise ValueError


def _real(given: Any) -> float:
    if type(given) in (int, float) or isinstance(given, str):
        return float(given)
    raise ValueError


def _truth(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    raise ValueError


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    raise ValueError


def _integers(given: Any) -> tuple[int, ...]:
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
    return () if parts in ([""], ["none"]) else tuple(_integer(p.strip() if isinstance(p, str) else p) for p in parts)


def _names(given: Any) -> str | list[str]:
    parts = [_text(part).strip() for part in (given.split(",") if isinstance(given, str) else list(given))]
    return parts[0] if len(parts) == 1 else parts


def _class_weight(given: Any) -> str | dict[str, float]:
    if isinstance(given, Mapping):
        return {str(label): _real(weight) for label, weight in given.items()}
    if "=" not in _text(given):
        return str(given)
    pairs = [pair.rpartition("=") for pair in given.split(",")]
    return {label: float(weight) for label, _, weight in pairs}


def _rates(given: Any) -> float | dict[str, float]:
    if isinstance(given, Mapping):
        return {str(state): _real(rate) for state, rate in given.items()}
    if not isinstance(given, str) or "=" not in given:
        return _real(given)
    pairs = [pair.partition("=") for pair in given.split(",")]
    return {state.strip(): float(rate) for state, _, rate in pairs}


KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (_integer, "a whole number"),
    "float": (_real, "a number"),
    "bool": (_truth, "true or false"),
    "str": (_text, "a text"),
    "Sequence[int]": (_integers, "whole numbers such as 64,32"),
    "list[str]": (list, "texts"),
    "float | Mapping[str, float]": (_rates, "a number, or one a state such as h=0.05,c=0.5"),
    "str | Mapping[str, float]": (_class_weight, "balanced, or weights such as spam=3,ham=1"),
    "AnyCell | Sequence[AnyCell]": (_names, "a cell, or several as lstm,gru"),
}
"""How each type of the estimators' options is read, and what it must be, in words."""


def verb(
    about: str, data: Sequence[tuple[str, str]], options: Iterable[Option], act: Callable[..., None]
) -> Callable[..., None]:
    """A function with the signature that Cyclopts makes a verb of; it calls `act(*data, {option: value given})`.

    data: what is named without an option, and a line about each; a name that ends in "..." takes the rest.
    """
    by_name = {option.name: option for option in options}
    parameters = [_positional(name, line) for name, line in data]
    parameters += [option.parameter() for option in by_name.values()]

    def call(*sources: str, **given: Any) -> None:
        plain = {name: "-" if text == STANDARD_INPUT else text for name, text in given.items()}
        act(*("-" if source == STANDARD_INPUT else source for source in sources), values(by_name, plain))

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    call.__doc__ = about
    return call


def _positional(name: str, about: str) -> inspect.Parameter:
    many = name.endswith("...")
    kind = inspect.Parameter.VAR_POSITIONAL if many else inspect.Parameter.POSITIONAL_ONLY
    # An optional one is in brackets, as the usage line shows it.
    default = None if name.startswith("[") else inspect.Parameter.empty
    text: Any = str if default is inspect.Parameter.empty else str | None
    annotation = Annotated[text, Parameter(help=about, show_default=False)]
    return inspect.Parameter(
        name.strip("[].").lower(), kind, default=inspect.Parameter.empty if many else default, annotation=annotation
    )
