"""The options of the estimators, each with its default and one line about it. Imports no torch.

The estimators inherit these dataclasses; the command line, its help and its TOML files read the same fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from elman.nn.recurrent import AnyCell

T = TypeVar("T")

MODEL, TRAINING, DATA = "Model", "Training", "Data"
REGULARISERS = ("input_dropout", "recurrent_dropout", "zoneout", "weight_dropout")
"""Options that recurrent layers take as they are; files of models that were trained without them need not say so."""


def option(default: T, group: str, about: str) -> T:
    """A dataclass field with its default, the group of options that it stands in and one line about it."""
    return dataclasses.field(default=default, metadata={"group": group, "about": about})


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class EstimatorOptions:
    """What every estimator takes. `elman.training.TrainingOptions` checks the options of training."""

    cell: AnyCell | Sequence[AnyCell] = option(  # noqa: RUF009 (as immutable as the others)
        "lstm", MODEL, "The cell, by name (see `elman cells`), or one a layer: gru,lstm"
    )
    hidden_size: int = option(128, MODEL, "H, the units of a recurrent layer (in each direction)")
    num_layers: int = option(1, MODEL, "Recurrent layers, one upon the other")
    dropout: float = option(0.0, MODEL, "Share dropped from inputs, between layers and before the output")
    input_dropout: float = option(0.0, MODEL, "Share dropped from a layer's input, the same units at every step")
    recurrent_dropout: float = option(0.0, MODEL, "Share of states dropped before matrices, the same at every step")
    zoneout: float | Mapping[str, float] = option(
        0.0, MODEL, "How often a unit stays as it was: a share, or one a state such as h=0.05,c=0.5"
    )
    weight_dropout: float = option(0.0, MODEL, "Share dropped from the recurrent weights, anew for every batch")
    residual: bool = option(False, MODEL, "Add a layer's input to its output where the sizes agree")
    batch_size: int = option(32, TRAINING, "B, sequences (or parallel streams of a text) in a step")
    epochs: int = option(10, TRAINING, "Passes over the data")
    max_seconds: float | None = option(None, TRAINING, "Stop after this much training time")
    lr: float = option(1e-3, TRAINING, "Learning rate")
    optimizer: str = option("adam", TRAINING, "sgd, momentum, rmsprop, adam, adamw or asgd")
    momentum: float = option(0.9, TRAINING, "Momentum, for --optimizer momentum")
    weight_decay: float = option(0.0, TRAINING, "Pull of every weight towards 0")
    schedule: str = option("constant", TRAINING, "Of the rate: constant, linear, cosine, step or plateau")
    warmup_steps: int = option(0, TRAINING, "Steps over which the rate rises first")
    decay: float = option(0.5, TRAINING, "The rate's factor, for --schedule step and plateau")
    decay_every: int = option(1, TRAINING, "Epochs (step) or validations without gain (plateau) between two decays")
    clip_norm: float | None = option(1.0, TRAINING, "Scale the gradient down to this norm; none: leave it")
    clip_value: float | None = option(None, TRAINING, "Cut every entry of the gradient to ± this")
    patience: int | None = option(None, TRAINING, "Stop after so many validations in a row without gain; none: go on")
    seed: int = option(0, TRAINING, "Decides the weights, the order and the held-out part")
    checkpoint_seconds: float = option(60.0, TRAINING, "Save a checkpoint at least this often")
    checkpoint_steps: int | None = option(None, TRAINING, "Save a checkpoint every so many steps as well")
    validate_every: int | None = option(None, TRAINING, "Steps between validations; none: after every epoch")
    valid_fraction: float = option(0.1, DATA, "Share held out for validation where --valid is not given")
    device: str = option("cpu", TRAINING, "Where to compute: cpu, cuda, ...")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageModelOptions(EstimatorOptions):
    """What a language model takes."""

    level: str = option("char", DATA, "Tokens: char, word (words and signs) or space (what white space separates)")
    lines: bool | None = option(
        None, DATA, "Every line is a sentence of its own; default: for words, not for characters"
    )
    hidden_size: int = option(256, MODEL, "H, the units of a recurrent layer")
    embedding_size: int | None = option(
        None, MODEL, "Numbers a token enters as; default 64 for characters, H if words or tied"
    )
    tied: bool = option(False, MODEL, "The output matrix is the embedding")
    bptt: int = option(100, TRAINING, "k1, steps between two updates; the state is carried on")
    bptt_reach: int | None = option(None, TRAINING, "k2, how far back the gradient goes, a multiple of k1; default k1")
    min_count: int = option(1, DATA, "Tokens seen less often become <unk>")
    max_vocabulary: int | None = option(None, DATA, "Keep only so many tokens, the most frequent")
    lr: float = option(2e-3, TRAINING, "Learning rate")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceOptions(EstimatorOptions):
    """What every estimator of whole sequences takes."""

    level: str = option("auto", DATA, "Tokens: char, word, space, or series (numbers); auto looks at the data")
    bidirectional: bool = option(True, MODEL, "Read the sequence in both directions")
    pooling: str = option("auto", MODEL, "last, mean, sum, max or attention; auto: max for words, else last")
    embedding_size: int | None = option(
        None, MODEL, "Numbers a token enters as; default 100 for words, 32 for characters"
    )
    head_sizes: Sequence[int] = option((), MODEL, "Units of layers before the output, such as 64,32")
    noise: float = option(0.0, TRAINING, "Deviation of noise added to scaled series while learning")
    lower: bool = option(False, DATA, "Ignore case")
    min_count: int | None = option(None, DATA, "Tokens seen less often become <unk>; default 2 for words, else 1")
    max_vocabulary: int | None = option(None, DATA, "Keep only so many tokens, the most frequent")
    embeddings: str | None = option(None, DATA, "A GloVe-format file of word vectors to start from")
    input: str = option(
        "text", DATA, "The column to read; a,b,c or * (all but the target): numbers, the steps of a series"
    )
    target: str = option("target", DATA, "The column of what is to be learnt")
    epochs: int = option(20, TRAINING, "Passes over the data")
    patience: int | None = option(5, TRAINING, "Stop after so many validations in a row without gain; none: go on")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class ClassifierOptions(SequenceOptions):
    """What a classifier of sequences takes."""

    class_weight: str | Mapping[str, float] | None = option(
        None, TRAINING, "How much a class counts: balanced, or label=weight,label=weight"
    )
    target: str = option("label", DATA, "The column of labels")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class RegressorOptions(SequenceOptions):
    """What a regressor of sequences takes."""

    input: str = option(
        "series", DATA, "The column to read; a,b,c or * (all but the target): numbers, the steps of a series"
    )
    target: str = option("target", DATA, "The column of numbers")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class TaggerOptions(EstimatorOptions):
    """What a tagger of words takes."""

    bidirectional: bool = option(True, MODEL, "Read the sentence in both directions")
    dropout: float = option(0.3, MODEL, "Share dropped from inputs, between layers and before the output")
    word_size: int = option(100, MODEL, "Numbers a word enters as")
    letter_size: int = option(32, MODEL, "Numbers a letter enters as")
    letter_hidden_size: int = option(50, MODEL, "Units a direction over the letters of a word; 0: do not read letters")
    word_dropout: float = option(0.05, TRAINING, "Share of words taken as unknown while learning")
    lower: bool = option(True, DATA, "Word embeddings ignore case (letters keep it)")
    min_count: int = option(1, DATA, "Words seen less often become <unk>")
    max_vocabulary: int | None = option(None, DATA, "Keep only so many words, the most frequent")
    embeddings: str | None = option(None, DATA, "A GloVe-format file of word vectors to start from")
    head_sizes: Sequence[int] = option((), MODEL, "Units of layers before the output, such as 64,32")
    input: str = option("tokens", DATA, "The column of words")
    target: str | None = option(None, DATA, "The column of tags; default upos where there is one, else tags")
    patience: int | None = option(5, TRAINING, "Stop after so many validations in a row without gain; none: go on")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class ForecasterOptions(EstimatorOptions):
    """What a forecaster takes."""

    horizon: int | None = option(None, MODEL, "Steps to forecast; default: one season, or 12")
    lookback: int | None = option(None, MODEL, "Steps to read before; default: two horizons or seasons, the longer")
    strategy: str = option("direct", MODEL, "direct (all steps at once), or recursive (each step reads the one before)")
    loss: str = option(
        "quantile", MODEL, "squared, absolute, quantile, gaussian, student-t or negative-binomial (counts)"
    )
    intervals: Sequence[int] = option((80, 95), MODEL, "Percent of the values that each interval is to hold")
    season: Sequence[int] | None = option(
        None, MODEL, "Steps of a season, the main one first: 24,168; 1: none; default: what the times suggest"
    )
    relative: str = option("auto", MODEL, "Forecast what is added to: last (value), season (one ago), none; auto")
    scaling: str = option("auto", MODEL, "standard (mean 0, deviation 1), mean (absolute value 1) or none; auto")
    scaling_over: str = option("lookback", MODEL, "Scale by each lookback, or by the whole series learnt from: series")
    calendar: str = option("auto", MODEL, "What of the time enters: minute,hour,weekday,day,month; none; auto")
    series_size: int = option(0, MODEL, "Numbers that stand for each series learnt from; 0: series are not told apart")
    head_sizes: Sequence[int] = option((), MODEL, "Units of layers before the output, such as 64,32")
    hidden_size: int = option(64, MODEL, "H, the units of a recurrent layer")
    samples: int = option(200, MODEL, "Futures that a recursive forecast draws")
    calibrate: bool = option(True, MODEL, "Widen or narrow the intervals to what the held-out part shows")
    epoch_batches: int = option(100, TRAINING, "Batches of random windows that make an epoch")
    epochs: int = option(30, TRAINING, "Epochs, see --epoch-batches")
    patience: int | None = option(8, TRAINING, "Stop after so many validations in a row without gain; none: go on")
    holdout: int = option(0, DATA, "Last steps of every series that are not learnt from, to judge by")
    layout: str = option("auto", DATA, "long (a column tells the series), wide (a column a series), rows (a row each)")
    time: str | None = option(None, DATA, "The column of times; default: one named time, date, ...")
    series: str | None = option(None, DATA, "The column that tells series apart; default: one named series, id, ...")
    target: str | None = option(None, DATA, "Columns of values: a or a,b or *; default: value, or all that are left")
    known: str = option("", DATA, "Columns that are known ahead, such as price,holiday")
    past: str = option("", DATA, "Columns that are known only up to now, beside the values")
    time_format: str | None = option(None, DATA, "The form of times that are not ISO 8601, such as %d.%m.%Y")


OPTIONS: dict[str, type[EstimatorOptions]] = {
    "language-model": LanguageModelOptions,
    "classify": ClassifierOptions,
    "regress": RegressorOptions,
    "tag": TaggerOptions,
    "forecast": ForecasterOptions,
}
"""The options of each task, by its name."""


def fields(kind: type[EstimatorOptions]) -> list[dataclasses.Field[Any]]:
    """The options of one task, in order."""
    return [field for field in dataclasses.fields(kind) if "about" in field.metadata]


def documented(estimator: type[T]) -> type[T]:
    """Decorator: adds to the docstring of an estimator a line for every option, so that each is described once."""
    lines = [f"    {f.name}: {f.metadata['about']} ({f.default!r})" for f in fields(estimator)]  # type: ignore[arg-type]
    estimator.__doc__ = f"{estimator.__doc__ or ''}\n    Options, with their defaults:\n" + "\n".join(lines) + "\n"
    return estimator
