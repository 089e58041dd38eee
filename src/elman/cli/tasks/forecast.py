"""`forecast` on the command line."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.cli import options
from elman.cli.options import RUN, Option
from elman.cli.sources import Reading
from elman.cli.tasks.task import PICTURE, Chosen, Data, Task
from elman.data import Table, is_made
from elman.errors import DataError

STEPS = Option("steps", "int | None", None, RUN, "A forecaster is judged on so many last steps of every series")
STRIDE = Option("stride", "int | None", None, RUN, "Steps between a forecaster's origins; default: its horizon")
OTHERS = ("naive", "drift", "seasonal_naive")


class ForecastTask(Task):
    """A table of series in, their next values out."""

    name = "forecast"
    title = "forecaster of series"
    about = "Learn to predict the next values of one or many series, with intervals."
    sources = (
        ("DATA", "A table of numbers over time: .csv .tsv .jsonl .parquet, also .gz; a column a series, or long"),
    )
    reading = options.READING
    judging = (STEPS, STRIDE, PICTURE)
    using = (PICTURE,)

    def read(self, sources: Sequence[str], reading: Reading, part: str, model: Any) -> Table:
        """The table of the one source."""
        if is_made(sources[0]):
            raise DataError(f"{sources[0]} is made for another task; give a table of numbers over time")
        return reading.table(sources[0], part)

    def data(self, sources: Sequence[str], chosen: Chosen, estimator: Any) -> Data:
        """With --holdout the last steps of the data are what the model is judged by."""
        found = super().data(sources, chosen, estimator)
        if not estimator.holdout or found.test is not None:
            return found
        return dataclasses.replace(found, test=found.train, test_name=sources[0])

    def size(self, train: Table) -> str:
        """How many rows."""
        return f"{len(train):,} rows"

    def held_out(self, valid_name: str | None, valid: Any, estimator: Any) -> str:
        """The last part of each series, and how many windows that is."""
        before = f", before the last {estimator.holdout:,} steps, which are to judge by" if estimator.holdout else ""
        if valid_name is not None or not estimator.valid_fraction:
            return super().held_out(valid_name, valid, estimator)
        return f"the last {100 * estimator.valid_fraction:g} % of every series, or two horizons{before}"

    def reads(self, estimator: Any) -> str:
        """Its windows, what enters beside the values, and what comes out."""
        recipe, step = estimator.recipe_, estimator.frequency_
        parts = [f"{recipe.lookback} steps" + (f" of {step}" if step is not None and step.unit != "step" else "")]
        parts += [f"seasons {', '.join(map(str, recipe.seasons))}"] if recipe.seasons else []
        for name, found in (("calendar", recipe.calendar), ("known", recipe.known), ("past", recipe.past)):
            parts += [f"{name}: {', '.join(found)}"] if found else []
        shares = " and ".join(f"{percent} %" for percent in estimator.intervals)
        return f"{'; '.join(parts)}; gives {recipe.horizon} steps, intervals of {shares}"

    def following(self, estimator: Any, model: str, source: str, words: str) -> list[str]:
        """Judge it again, and look at the forecast."""
        judge, predict = super().following(estimator, model, source, words)
        return [judge, f"{predict} --picture forecast.png"]

    def evaluate(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Mapping[str, float]:
        """Figures of a back-test, with those of naive forecasts after them."""
        table = self.read([source], reading, "test", model)
        found = model.backtest(table, steps=chosen.get("steps"), stride=chosen.get("stride"))
        if (picture := chosen.get("picture")) is not None:
            found.forecasts.picture(Path(picture))
        figures: Mapping[str, float] = found.figures()
        return figures

    def figures(self, values: Mapping[str, float]) -> str:
        """A table: a row for the model, and for each naive forecast."""
        from elman.models.forecast.data import figures_table

        rows: dict[str, dict[str, float]] = {"model": {}}
        for name, value in values.items():
            method = next((other for other in reversed(OTHERS) if name.startswith(f"{other}_")), "model")
            rows.setdefault(method, {})[name.removeprefix(f"{method}_")] = value
        return figures_table(rows)

    def brief(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """The model's figures, and the best naive forecast's scaled error."""
        own = {name: value for name, value in values.items() if not name.startswith(OTHERS)}
        return own | {"naive_mase": min(values[name] for name in values if name.endswith("_mase"))}

    def predict(self, model: Any, source: str, reading: Reading, chosen: Chosen) -> Iterator[dict[str, Any]]:
        """A record a step of each series: the forecast, and the ends of the intervals."""
        found = model.forecast(self.read([source], reading, "test", model))
        if (picture := chosen.get("picture")) is not None:
            found.picture(Path(picture))
        records: Iterator[dict[str, Any]] = found.records()
        return records

    def lines(self, records: Iterator[dict[str, Any]], out: str | None) -> Iterator[str]:
        """CSV where the file is named so, else JSON Lines."""
        if out is None or Path(out).suffix.lower() != ".csv":
            yield from super().lines(records, out)
            return
        for number, record in enumerate(records):
            text = io.StringIO()
            writer = csv.DictWriter(text, list(record), lineterminator="\n")
            if not number:
                writer.writeheader()
            writer.writerow(record)
            yield text.getvalue()


TASK = ForecastTask()
