"""`transcribe` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elman.cli import options
from elman.cli.options import RUN, TOKENS, Option
from elman.cli.sources import Reading
from elman.cli.tasks.task import PICTURE, Chosen, Task
from elman.data import Table
from elman.errors import OptionError

SOUNDS = "A list (.tsv .csv .jsonl) of sound files with transcripts, or a folder with a.txt beside a.wav"


class TranscribeTask(Task):
    """Sounds in, texts out."""

    name = "transcribe"
    title = "transcriber of sounds"
    about = "Learn to write down what is said, or played, in sounds."
    sources = (("DATA", SOUNDS),)
    reading = options.READING
    judging = using = (
        Option("beam", "int", 1, RUN, "Width of a transcriber's search; 1: the likeliest path only"),
        Option("language_model", "str | None", None, RUN, "A model of `elman train language-model` that helps it"),
        Option("lm_weight", "float", 0.5, RUN, "How much that model counts"),
        Option("length_bonus", "float", 0.0, RUN, "What a token adds to a transcript's score"),
        PICTURE,
    )

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Table:
        """The table of sounds, whose headers are looked at later."""
        columns = None if reading.columns is None else [name.strip() for name in reading.columns.split(",")]
        from elman.data.audio import sound_table

        return sound_table(
            sources[0], model.input, model.target,
            columns=columns, encoding=reading.encoding, errors=reading.errors,
        )  # fmt: skip

    def size(self, train: Table) -> str:
        """How many sounds."""
        return f"{len(train):,} sounds"

    def reads(self, estimator: Any) -> str:
        """Its sounds and tokens."""
        tokens = f"{TOKENS[estimator.level]} ({len(estimator.vocabulary_):,} known)"
        return f"sounds of {estimator.rate_:,} Hz in {estimator.mels} bands, gives {tokens}"

    def evaluate(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Mapping[str, float]:
        """Loss and error rates."""
        table = self.read([source], reading, "test", model)
        figures: Mapping[str, float] = model.evaluate(table, **decoding(chosen))
        self.draw(model, table, chosen)
        return figures

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The transcript of every sound."""
        table = self.read([source], reading, "test", model)
        texts = model.predict(table, **decoding(chosen))
        self.draw(model, table, chosen)
        for path, text in zip(table.column(model.input), texts):
            yield {model.input: str(path), model.target: text}

    def draw(self, model: Any, table: Table, chosen: Chosen) -> None:
        """The picture that was asked for."""
        if chosen.get("picture"):
            model.picture(table.column(model.input)[0], chosen["picture"])


def decoding(chosen: Chosen) -> dict[str, Any]:
    """The chosen options of the search, as `Transcriber.predict` takes them."""
    given = {"beam": "beam", "lm_weight": "weight", "length_bonus": "bonus"}
    found = {name: chosen[option] for option, name in given.items() if chosen.get(option) is not None}
    if "lm_weight" in chosen and not chosen.get("language_model"):
        raise OptionError("--lm-weight says how much a --language-model counts; give both")
    if "length_bonus" in chosen and not chosen.get("language_model") and chosen.get("beam", 1) == 1:
        raise OptionError("--length-bonus is for a search; give --beam 8, or a --language-model, too")
    if chosen.get("language_model"):
        from elman.models import LanguageModel

        found["language"] = LanguageModel.load(chosen["language_model"])
        found.setdefault("beam", 16)  # a language model without a search would change nothing
    return found


TASK = TranscribeTask()
