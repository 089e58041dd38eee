"""The errors of elman: one base and a few named children, each a single clear sentence.

A message says where, what was expected, what came, and what to do. The command line prints it and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ElmanError(Exception):
    """Base of every error that elman raises on purpose."""


class CellError(ElmanError):
    """A cell's equations do not make a step: the message names the cell, the line and the remedy."""


class ProgramError(ElmanError):
    """A program (a traced cell) is not well formed: refused by the verifier, never run."""


class DataError(ElmanError):
    """A file or an array of the user's cannot be read as what it should be."""


class OptionError(ElmanError):
    """An option has a value that cannot work."""


class ModelFileError(ElmanError):
    """A model file or a checkpoint is damaged, of another kind, or of an unknown version."""


class TrainingError(ElmanError):
    """Training cannot go on: the loss is NaN or infinite, or a run cannot be resumed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'lstm'?)"` when a known name is close to `name`, else the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else ""
