"""`transduce` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.cli import options
from elman.cli.options import RUN, TOKENS, Option
from elman.cli.sources import Reading, check_made
from elman.cli.tasks.task import PICTURE, Chosen, Data, Task
from elman.data import Table, is_made
from elman.errors import DataError, OptionError

SEARCH = (
    Option("beam_size", "int | None", None, RUN, "Sequences kept in the search, 1: greedy; default: the model's own"),
    Option("length_penalty", "float | None", None, RUN, "The search ranks by log-probability / length to this power"),
)
"""How outputs are searched for."""
N_BEST = Option("n_best", "int | None", None, RUN, "Tell so many outputs of each record, best first")


class TransduceTask(Task):
    """Parallel text in, a text for each source out."""

    name = "transduce"
    title = "encoder-decoder"
    about = "Learn to write a text for a text: translation, spelling to sound, answers to questions."
    sources = (
        ("FILES...", "A table (.tsv .csv .jsonl, also .gz), two files of lines: sources, targets; or made:stories"),
    )
    reading = (*options.READING, *options.MADE)
    judging = SEARCH
    using = (*SEARCH, N_BEST, PICTURE)

    def data(self, sources: Sequence[str], chosen: Chosen, estimator: Any) -> Data:
        """Two files come as one name, as they stand in --valid and --test, too."""
        if not 1 <= len(sources) <= 2:
            raise OptionError("transduce learns from one table, or from two files of lines: sources, targets")
        return super().data([",".join(sources)], chosen, estimator)

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Table:
        """A table; or two files named as SOURCES,TARGETS."""
        (name,) = sources
        if is_made(name):
            check_made(name, self.name)
            return (reading.validation() if part == "valid" else reading).table(name, part)
        first, comma, second = name.partition(",")
        if not comma or Path(name).exists():
            from elman.data.readers import is_known, read_lines, read_text

            if is_known(name) or not Path(name).exists():
                return reading.table(name, part)
            if part == "test":  # the sources alone, as in the files that it learnt from
                return read_lines(read_text(name, encoding=reading.encoding, errors=reading.errors), name)
            raise DataError(f"{name} is one file of lines; name the other, too: the sources first, then the targets")
        if reading.columns is not None:
            raise OptionError(f"--columns is for CSV and TSV files, but {name} is two files of lines; leave it out")
        names = (model.input, model.target)
        from elman.data.parallel import read_parallel

        return read_parallel(first, second, names=names, encoding=reading.encoding, errors=reading.errors)

    def size(self, train: Table) -> str:
        """How many pairs."""
        return f"{len(train):,} pairs"

    def reads(self, estimator: Any) -> str:
        """Its tokens."""
        kinds = [f"{TOKENS[s.level]} ({len(s.vocabulary):,} known)" for s in (estimator.source_, estimator.target_)]
        return f"{kinds[0]}, writes {kinds[1]}"

    def evaluate(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Mapping[str, float]:
        """The figures, by the search that was chosen."""
        return super().evaluate(searching(model, chosen), source, reading, chosen)

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The source and what is written for it; with --n-best, several; with --picture, a picture."""
        reading.require_made([source])
        table = self.read([source], reading, "test", model)
        sources = table.column("text" if table.names == ["text"] else model.input)
        n_best = chosen.get("n_best", 1)
        every = searching(model, chosen).outputs(sources, n_best)
        if chosen.get("picture") is not None:
            from elman.training.pictures.attention import draw_attention

            seen = model.align(sources[0], every[0][0].text)
            draw_attention(seen.source, seen.target, seen.weights, Path(chosen["picture"]))
        for text, outputs in zip(sources, every):
            best = outputs[0]
            record: dict[str, Any] = {"source": text, "target": best.text, "log_probability": best.log_probability}
            if n_best > 1:
                record["outputs"] = [one._asdict() for one in outputs]
            yield record


def searching(model: Any, chosen: Chosen) -> Any:
    """The model, with the search that was chosen."""
    return model.set_params(**{one.name: chosen[one.name] for one in SEARCH if chosen.get(one.name) is not None})


TASK = TransduceTask()
