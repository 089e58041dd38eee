"""`language-model` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from elman.cli import options
from elman.cli.options import TOKENS
from elman.cli.sources import Reading
from elman.cli.tasks.task import Chosen, Task
from elman.data import is_made
from elman.errors import DataError, OptionError

if TYPE_CHECKING:
    from elman.data.long_text import LongText


class LanguageModelTask(Task):
    """Texts in, scores out."""

    name = "language-model"
    title = "language model"
    about = "Learn to predict the next character, word or subword of a text."
    sources = (("FILES...", "Texts to learn from, in this order; also .gz, and - for standard input"),)
    reading = options.READING[:2]
    held_part = "the last"
    makes_with = ("prompt", "length", "temperature", "top_k", "top_p", "seed")

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> list[str] | LongText:
        """The texts of the sources; those to learn from, where they are large, in pieces."""
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
        if part == "train":
            return reading.texts(sources)
        (source,) = sources
        if not (text := reading.text(source)).strip():
            raise DataError(f"{source} holds no text, only spaces and line ends")
        return [text]

    def size(self, train: list[str] | LongText) -> str:
        """How many characters, or bytes."""
        if not isinstance(train, list):
            return f"{train.size:,} bytes, read in pieces"
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

    def generate(self, model: Any, chosen: Chosen) -> None:
        """Print the prompt and what the model makes of it, token by token as they are drawn."""
        prompt, length = chosen.get("prompt", ""), chosen.get("length", 200)
        how = {name: chosen[name] for name in ("temperature", "top_k", "top_p", "seed") if name in chosen}
        tokenizer = model.tokenizer_
        if unknown := tokenizer.unknown(prompt):
            names = ", ".join(map(repr, unknown[:5]))
            print(f"elman: note: the model never saw {names} of the prompt; it reads them as unknown", file=sys.stderr)
        tokens = tokenizer.tokenize(prompt)
        drawn = model.stream(prompt, length, **how)  # refuses wrong options before anything is written
        sys.stdout.write(tokenizer.text(tokens))
        before = tokens[-1] if tokens else None
        for token in drawn:
            sys.stdout.write(tokenizer.more(token, before))
            before = token
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()


TASK = LanguageModelTask()
