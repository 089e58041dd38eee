"""The verbs, and how every failure becomes one sentence. Loads no torch and no sympy: each verb loads what it needs."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

import elman
from elman.cli import EXIT_BROKEN_PIPE, EXIT_ERROR, EXIT_INTERRUPTED, options, typed
from elman.cli.options import verb
from elman.cli.runs import Resumable
from elman.cli.tasks import TASKS, Task
from elman.cli.tasks.task import TO_USE
from elman.errors import ElmanError

ABOUT = "elman: the toolkit for recurrent neural networks. Train on your own file, judge, use; one file is the model."
MODEL = ("MODEL", "A model file that `elman train` wrote")


def _lazy(module: str, name: str) -> Callable[..., None]:
    def act(*arguments: Any) -> None:
        getattr(importlib.import_module(f"elman.cli.{module}"), name)(*arguments)

    return act


def _train(task: Task, *arguments: Any) -> None:
    *sources, chosen = arguments
    _lazy("train", "train")(task, sources, chosen)


def build() -> App:
    """The whole command line."""
    # Plain text for help: Markdown would load a parser. The version is known without asking the package's metadata.
    app = App(
        name="elman", help=ABOUT, version=elman.__version__, help_format="plaintext", suppress_keyboard_interrupt=False
    )  # fmt: skip
    train = App(name="train", help="Train a model on your own file: elman train TASK DATA.")
    app.command(train)
    for task in TASKS.values():
        train.command(verb(task.about, task.sources, task.options().values(), partial(_train, task)), name=task.name)
    making = (
        *options.GENERATE[:-1],
        *(option for task in TASKS.values() for option in task.generating),
        options.THREADS,
    )
    evaluate = (*options.EVALUATE, *(option for task in TASKS.values() for option in task.judging))
    predict = (*options.PREDICT, *(option for task in TASKS.values() for option in task.using))
    for name, about, data, own, module in (
        ("evaluate", "Judge a model by labelled data.", [MODEL, TO_USE], evaluate, "use"),
        (
            "predict",
            "Label, tag or score records; one JSON object a line.",
            [MODEL, TO_USE],
            predict,
            "use",
        ),
        ("diagnose", "See what happens to the gradient inside a model.", [MODEL, TO_USE], options.DIAGNOSE, "diagnose"),
        (
            "compare",
            "See what happens to the gradient in several models, side by side.",
            [("MODELS...", "Two model files or more, and last the DATA; or the folders of training runs alone")],
            options.COMPARE,
            "compare",
        ),
        (
            "generate",
            "Let a model make of its own: a language model text, one of label sets a piece.",
            [MODEL],
            making,
            "use",
        ),
        ("info", "Tell what a model file holds, with its equations.", [MODEL], (options.JSON,), "use"),
        (
            "cells",
            "List the built-in cells, or show one.",
            [("[NAME]", "A cell, such as lstm")],
            options.CELLS,
            "cells",
        ),
        ("bench", "Measure how fast layers are here, beside torch, onnxruntime and jax.", [], options.BENCH, "bench"),
        ("demo", "Train a small language model on Python's own manual, about a minute.", [], options.DEMO, "demo"),
    ):
        app.command(verb(about, data, own, _lazy(module, name)), name=name)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    # Before torch is loaded. Threads that spin while they wait for each other starve on a machine with other work, and
    # those that sleep wake late. A character LSTM (H 256, B 32) on 2 cores, alone and beside a busy process, thousands
    # of characters/s: as torch is (300,000 rounds) 71 and 22, asleep at once 55 and 36, and after 10,000 rounds 80, 37.
    if arguments[:1] != ["bench"] and "OMP_WAIT_POLICY" not in os.environ:  # bench compares with torch as it is
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's OpenMP; others know the next alone
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            words = [options.STANDARD_INPUT if word == "-" else word for word in arguments]
            build()(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return 0
    except ElmanError as error:
        return _fail(str(error))
    except CycloptsError as error:
        return _fail(sentence(error))
    except Resumable:
        kept = [word for word in arguments if word not in ("--overwrite", "--resume")]
        print(f"\nstopped; go on with: {typed(shlex.join(['elman', *kept, '--resume']))}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # what is left in the buffer has no reader either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except MemoryError:
        return _fail("the memory is full; choose a smaller --batch-size or --hidden-size, or less data at once")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{(error.strerror or str(error)).lower()}{where}; free the space or choose another place")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "rich"):
            raise
        return _fail(f"this needs {error.name}, which is not installed; install it with: pip install 'elman[train]'")
    except RuntimeError as error:
        if "alloc" not in str(error) and "out of memory" not in str(error):
            raise
        return _fail("the memory is full: torch could not allocate it; choose a smaller --batch-size or --hidden-size")


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning without the line of code that it came from."""
    print(f"elman: note: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: str) -> int:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    print(f"elman: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_ERROR


def sentence(error: CycloptsError) -> str:
    """One sentence for a command line that cannot be understood."""
    words = " ".join(error.command_chain or ())
    helps = " ".join(filter(None, ("elman", words, "--help")))
    if isinstance(error, UnknownCommandError):
        wrong = (error.unused_tokens or [""])[0]
        known = [name for name in (error.app or ()) if not name.startswith("-")]
        what = f"{words} has no task" if words else "there is no verb"
        return f"{what} {wrong!r}{_near(wrong, known)}; known: {', '.join(known)}"
    if isinstance(error, UnknownOptionError):
        wrong = error.token.keyword or error.token.value
        known = [name for argument in error.argument_collection for name in argument.names if name.startswith("--")]
        return f"there is no option {wrong}{_near(wrong.split('=')[0], known)}; `{helps}` lists the options"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), None)
        if name is not None:
            return f"{name} needs a value after it; `{helps}` tells which"
        return f"{error.argument.name.lstrip('-').upper()} is missing; `{helps}` tells what to give"
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given more than once; give it once"
    if isinstance(error, UnusedCliTokensError):
        return f"one argument too many: {(error.unused_tokens or [''])[0]!r}; `{helps}` tells what is taken"
    if isinstance(error, CoercionError) and error.token is not None:
        return f"{error.token.keyword} must be true or false, not {error.token.value!r}"
    error.verbose = False
    return f"{str(error).strip().rstrip('.')}; see `{helps}`"


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
