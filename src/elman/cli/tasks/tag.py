"""`tag` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elman.cli.options import RUN, Option
from elman.cli.sources import Reading
from elman.cli.tasks.tables import TableTask
from elman.cli.tasks.task import Chosen


class TagTask(TableTask):
    """A table of sentences in, a tag for every word out."""

    name = "tag"
    title = "tagger of words"
    about = "Learn one label for every word: parts of speech, named entities."
    unit = "sentences"
    words = True
    using = (Option("n_best", "int | None", None, RUN, "A tagger tells the N likeliest sequences of tags"),)

    def reads(self, estimator: Any) -> str:
        """Its words, letters and tags."""
        words, letters, tags = (f"{len(v):,}" for v in (estimator.words_, estimator.letters_, estimator.tags_))
        crf = {"bio": ", chosen together (CRF, BIO)", "free": ", chosen together (CRF)", None: ""}[estimator.crf_]
        return f"{words} words and {letters} letters, gives {tags} tags{crf}"

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """The words of a sentence and their tags; with --n-best the likeliest sequences with their probabilities."""
        table, n = self.inputs(source, reading, model), chosen.get("n_best")
        sentences = table.column(model.input)
        if n is None:
            yield from ({"tokens": tokens, "tags": tags} for tokens, tags in zip(sentences, model.predict(table)))
            return
        for tokens, best in zip(sentences, model.predict_nbest(table, n)):
            found = [{"tags": tags, "probability": round(p, 6)} for tags, p in best]
            yield {"tokens": tokens, "tags": best[0][0], "n_best": found}


TASK = TagTask()
