"""The command line, `elman VERB ...`: progress on stderr, results on stdout, an error is one sentence, exit code 2."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code: 0, 2 for an error, 130 for Ctrl-C."""
    try:
        from elman.cli.app import run
    except ModuleNotFoundError as error:  # the bare installation, which holds only the runtime
        if (error.name or "").split(".")[0] != "cyclopts":
            raise
        print(
            "elman: the command line needs the training extra; install it with: pip install 'elman[train]'",
            file=sys.stderr,
        )
        return EXIT_ERROR
    return run(list(sys.argv[1:] if arguments is None else arguments))


def typed(line: str) -> str:
    """A command as it is typed here: where `elman` is not on the PATH, by the path of the program that runs."""
    program = Path(sys.argv[0])
    if shutil.which("elman") is not None or program.name != "elman":
        return line
    near = os.path.relpath(program)
    return re.sub(r"(?<![\w./-])elman(?= [a-z])", lambda _: shlex.quote(min(near, str(program), key=len)), line)
