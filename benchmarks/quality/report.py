"""One line a result, in the form that README.md keeps: figure, target, seed, time, threads, command."""

from __future__ import annotations

import datetime
import os
import sys

import torch

from elman.models.estimator import Estimator


def report(what: str, figure: float, target: str, model: Estimator) -> None:
    """Print a row of the results' table."""
    summary = model.summary_
    parameters = sum(p.numel() for p in model.module_.parameters())
    command = "python " + " ".join(sys.argv).replace(os.path.expanduser("~"), "~")
    print(
        f"| {what} | {figure:.4f} | {target} | seed {model.seed} | {parameters:,} parameters, {summary.epochs} epochs, "
        f"best at step {summary.best_step} of {summary.steps} | {summary.seconds:.0f} s, {torch.get_num_threads()} threads | "
        f"{datetime.date.today()} | `{command}` |"
    )
