"""One line a result, in the form that README.md keeps: figure, target, seed, time, threads, command."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import torch

from elman.models.estimator import Estimator
from elman.training.allocator import keep_large_blocks

keep_large_blocks()  # as `elman train` does


def report(what: str, figure: float, target: str, model: Estimator) -> None:
    """Print a row of the results' table."""
    summary = model.summary_
    parameters = sum(p.numel() for p in model.module_.parameters())
    command = f"python benchmarks/quality/{Path(sys.argv[0]).name}"
    size = f"{parameters:,} parameters, {summary.epochs} epochs, best at step {summary.best_step} of {summary.steps}"
    time = f"{summary.seconds:.0f} s, {torch.get_num_threads()} threads"
    print(
        f"| {what} | {figure:.4f} | {target} | {model.seed} | {size} | {time} | {datetime.date.today()} | `{command}` |"
    )
