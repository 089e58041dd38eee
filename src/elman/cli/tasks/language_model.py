"""`language-model` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from elman.cli import options
from elman.cli.options import TOKENS
from elman.cli.sources import Reading
from elman.cli.tasks.task import Chosen, Task
from elman.data import is_made
from elman.errors import DataError, OptionError


class LanguageModelTask(Task):
    """Texts in, scores out."""

    name = "language-model"
    title = "language model"
    about = "Learn to predict the next character or word of a text."
    sources = (("FILES...", "Texts to learn from, in this order; also .gz, and - for standard input"),)
    reading = options.READING[:2]
    held_part = "the last"

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> list[str]:
        """The texts of the sources."""
        if not sources:
            raise OptionError(
                "a text to learn from is missing; name one or more files: elman train language-model FILE..."
            )
        for source in sources:
            if is_made(source):
                raise DataError(
                    f"{source} is no text to learn a language from; made data is for "
                    "`elman train classify made:parity` and the like"
                )
        return [reading.text(source) for source in sources]

    def size(self, train: list[str]) -> str:
        """How many characters."""
        return f"{sum(map(len, train)):,} characters"

    def reads(self, estimator: Any) -> str:
        """Its tokens."""
        return f"{TOKENS[estimator.level]} ({len(estimator.vocabulary_):,} known)"

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Let it write, judge it."""
        return [f"elman generate {model} --prompt 'The ' --length 300", f"elman evaluate {model} FILE{words}"]

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The score of every line."""
        reading.require_made([source])
        table = reading.table(source, "test")
        texts = table.column("text")
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{table.place(place)}: expected a text, got {type(text).__name__}")
        for text, score in zip(texts, model.score(texts)):
            yield {"text": text, "log_probability": score["log_probability"], "perplexity": score["perplexity"]}


TASK = LanguageModelTask()
