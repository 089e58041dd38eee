"""The tasks of the command line, a file each: what is read, said of a model, written. Loads no torch."""

from __future__ import annotations

from elman.cli.tasks import (
    caption,
    classify,
    forecast,
    label_sets,
    language_model,
    regress,
    tag,
    transcribe,
    transduce,
)
from elman.cli.tasks.task import Data, Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        language_model.TASK,
        classify.TASK,
        regress.TASK,
        tag.TASK,
        transcribe.TASK,
        transduce.TASK,
        forecast.TASK,
        label_sets.TASK,
        caption.TASK,
    )
}
"""By the names that the command line and the model files use."""

__all__ = ["TASKS", "Data", "Task"]
