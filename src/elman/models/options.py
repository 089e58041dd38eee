"""The options of the estimators, each with its default and one line about it. Imports no torch.

The estimators inherit these dataclasses; the command line, its help and its TOML files read the same fields.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from elman.nn.recurrent import AnyCell

T = TypeVar("T")

MODEL, TRAINING, DATA = "Model", "Training", "Data"
REGULARISERS = ("input_dropout", "recurrent_dropout", "zoneout", "weight_dropout")
"""Options that recurrent layers take as they are."""
ADDED = (*REGULARISERS, "shape_size", "crf", "chrono", "top_db", "ngrams", "ngram_rows")
"""Options that older files do not have: such a model was made without what they stand for."""


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
    chrono: int | None = option(None, MODEL, "Gates start with memories of 1 to so many steps; none: as in the cell")
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
    diagnose: int | None = option(None, TRAINING, "Steps between two looks at the gradient through time; none: never")
    valid_fraction: float = option(0.1, DATA, "Share held out for validation where --valid is not given")
    device: str = option("cpu", TRAINING, "Where to compute: cpu, cuda, ...")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LanguageModelOptions(EstimatorOptions):
    """What a language model takes."""

    level: str = option(
        "char", DATA, "Tokens: char, word (words and signs), space (what white space separates) or subword (byte pairs)"
    )
    lines: bool | None = option(None, DATA, "Every line is a sentence of its own; default: no for characters, else yes")
    hidden_size: int = option(256, MODEL, "H, the units of a recurrent layer")
    embedding_size: int | None = option(
        None, MODEL, "Numbers a token enters as; default 64 for characters that are not tied, else H"
    )
    tied: bool = option(False, MODEL, "The output matrix is the embedding, and the last of several layers as wide")
    bptt: int = option(100, TRAINING, "k1, steps between two updates; the state is carried on")
    bptt_reach: int | None = option(None, TRAINING, "k2, how far back the gradient goes, a multiple of k1; default k1")
    min_count: int = option(1, DATA, "Tokens seen less often become <unk>; pairs of subwords are not joined")
    max_vocabulary: int | None = option(
        None, DATA, "Keep only so many tokens, the most frequent; default 8000 for subwords, else all"
    )
    lr: float = option(2e-3, TRAINING, "Learning rate")
    recipe: str | None = option(None, TRAINING, "A preset of options, awd; those that are given win")
    vector_dropout: float = option(
        0.0, TRAINING, "Share dropped from the tokens' vectors, the same units at every step"
    )
    embedding_dropout: float = option(0.0, TRAINING, "Share of the kinds of token that have no vector in a window")
    output_dropout: float = option(0.0, TRAINING, "Share dropped before the output, the same units at every step")
    activation_penalty: float = option(0.0, TRAINING, "α, pull of the last layer's outputs towards 0")
    temporal_penalty: float = option(0.0, TRAINING, "β, pull of the last layer's outputs towards those a step before")
    bptt_spread: float = option(0.0, TRAINING, "Draw the windows' lengths around k1 with this deviation; 0: all are k1")
    softmax_samples: int | None = option(
        None, TRAINING, "Learn to tell the next token from so many drawn ones; none: from all"
    )


RECIPES: dict[str, dict[str, Any]] = {
    # Merity, Keskar & Socher 2018, with the rates of their code for WikiText-2. Their first layer loses 0.65 of its
    # input and the others 0.2: 1 - (1 - 0.56)·(1 - 0.2) = 0.65.
    "awd": {
        "tied": True, "vector_dropout": 0.56, "input_dropout": 0.2, "output_dropout": 0.4, "embedding_dropout": 0.1,
        "weight_dropout": 0.5, "activation_penalty": 2.0, "temporal_penalty": 1.0, "bptt": 70, "bptt_spread": 5.0,
        "optimizer": "asgd", "lr": 30.0, "clip_norm": 0.25, "weight_decay": 1.2e-6,
    },
}  # fmt: skip
"""Presets of the language model by name."""


def preset(recipe: Any) -> dict[str, Any]:
    """The options of a recipe; none for None and for names that the estimator's check will refuse."""
    return RECIPES.get(recipe, {}) if isinstance(recipe, str) else {}


def with_recipes(estimator: type[T]) -> type[T]:
    """Decorator: the constructor takes what is not given from the recipe."""
    plain = estimator.__init__

    @functools.wraps(plain)
    def init(self: T, **given: Any) -> None:
        plain(self, **{**preset(given.get("recipe")), **given})

    estimator.__init__ = init  # type: ignore[method-assign, assignment]
    return estimator


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
    ngrams: int = option(0, MODEL, "The output also reads n-grams of up to so many tokens, beside the layers; 0: none")
    ngram_rows: int = option(1 << 16, MODEL, "Rows of weights that the n-grams share, by hashing")
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
    shape_size: int = option(0, MODEL, "Numbers a word's shape (Xxx, XX, 00) enters as; 0: do not read shapes")
    crf: bool | None = option(
        None, MODEL, "Choose the tags of a sentence together, by a CRF; default: where they mark spans (BIO)"
    )
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
class TranscriberOptions(EstimatorOptions):
    """What a transcriber of sounds takes."""

    level: str = option("char", DATA, "Tokens of a transcript: char, word (words and signs) or space")
    lower: bool = option(False, DATA, "Ignore case")
    rate: int | None = option(None, DATA, "Samples a second; others are resampled; default: that of most files")
    mels: int = option(40, MODEL, "Bands of the mel scale")
    window_ms: float = option(25.0, MODEL, "Milliseconds of sound in a frame")
    hop_ms: float = option(10.0, MODEL, "Milliseconds from one frame to the next")
    deltas: bool = option(False, MODEL, "Also read the slopes of the bands and the slopes of those")
    stack: int = option(3, MODEL, "Frames side by side in one step: fewer steps, but a token takes one at least")
    top_db: float | None = option(
        None, MODEL, "Energies so many decibels and more below a sound's loudest are raised to that; none: as they are"
    )
    normalise: str = option(
        "utterance", MODEL, "Mean and variance are those of each sound (utterance) or of the training data (global)"
    )
    bidirectional: bool = option(True, MODEL, "Read the sound in both directions")
    num_layers: int = option(2, MODEL, "Recurrent layers, one upon the other")
    dropout: float = option(0.3, MODEL, "Share dropped from inputs, between layers and before the output")
    tempo: float = option(0.1, TRAINING, "While learning, sounds are up to this share faster or slower")
    warp: float = option(0.1, TRAINING, "While learning, voices are up to this share higher or lower")
    noise: float = option(0.0, TRAINING, "Of how many sounds a share is covered with noise while learning")
    time_masks: int = option(2, TRAINING, "While learning, so many stretches of up to 0.1 s are silenced")
    mel_masks: int = option(2, TRAINING, "While learning, so many groups of up to a fifth of the bands are silenced")
    input: str = option("path", DATA, "The column of sound files")
    target: str = option("text", DATA, "The column of transcripts")
    lr: float = option(2e-3, TRAINING, "Learning rate")
    epochs: int = option(50, TRAINING, "Passes over the data")
    batch_size: int = option(16, TRAINING, "B, sequences in a step")
    patience: int | None = option(10, TRAINING, "Stop after so many validations in a row without gain; none: go on")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class WriterOptions(EstimatorOptions):
    """What every estimator takes that writes texts."""

    level: str = option("word", DATA, "Tokens: char, word, space, or subword (byte pairs, learnt)")
    lower: bool = option(False, DATA, "Ignore case, and write in lower case")
    min_count: int = option(1, DATA, "Tokens seen less often become <unk>; pairs of subwords are not joined")
    max_vocabulary: int | None = option(
        None, DATA, "Keep only so many tokens of a side, the most frequent; default 8000 for subwords, else all"
    )
    hidden_size: int = option(256, MODEL, "H, the units of a recurrent layer (of the encoder: in each direction)")
    embedding_size: int = option(128, MODEL, "E, numbers a token enters as, and units of the readout")
    bidirectional: bool = option(True, MODEL, "The encoder reads in both directions")
    attention: str = option("additive", MODEL, "none, additive (Bahdanau) or dot (Luong)")
    tied: bool = option(False, MODEL, "The output matrix is the target's embedding")
    dropout: float = option(0.2, MODEL, "Share dropped from inputs, between layers, from the memory and the readout")
    label_smoothing: float = option(0.0, TRAINING, "Share of each target that is spread over all tokens")
    batch_size: int = option(64, TRAINING, "B, pairs in a step")
    epochs: int = option(20, TRAINING, "Passes over the data")
    patience: int | None = option(5, TRAINING, "Stop after so many validations in a row without gain; none: go on")
    monitor: str = option(
        "loss", TRAINING, "What decides which weights are kept: loss, or accuracy, bleu or error_rate of greedy search"
    )
    beam_size: int = option(5, DATA, "Sequences kept in the search; 1: greedy")
    length_penalty: float = option(1.0, DATA, "Ranks by log-probability / length to this power; 0: as it is")
    target: str = option("target", DATA, "The column to write")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class TransducerOptions(WriterOptions):
    """What an encoder-decoder takes."""

    level: str = option("word", DATA, "Tokens of the source: char, word, space, or subword (byte pairs, learnt)")
    target_level: str | None = option(None, DATA, "Tokens of the target; default: as those of the source")
    shared: bool = option(False, MODEL, "One vocabulary and one embedding for both sides")
    input_feeding: bool = option(False, MODEL, "A step also gets what the one before read out; slower")
    initial_state: str = option("final", MODEL, "The decoder begins from the encoder's final states, or their mean")
    scheduled_sampling: float = option(
        0.0, TRAINING, "Share of given tokens replaced by the model's own in the last epoch, growing from 0; slower"
    )
    replace_unknown: bool = option(True, DATA, "Write for <unk> the source's word with the most attention")
    input: str = option("source", DATA, "The column to read")


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class LabelSetOptions(EstimatorOptions):
    """What a model of sets of labels takes."""

    head: str = option("nade", MODEL, "nade: each label given those before it in the step; independent: for itself")
    head_units: int = option(100, MODEL, "Hidden units of --head nade")
    labels: str | None = option(None, DATA, "All labels there are: 21-108, or a,b,c; none: those of the data")
    input: str = option("steps", DATA, "The column of sequences: lists of lists of labels, or arrays of 0 and 1")
    transpose: int = option(0, TRAINING, "Shift the labels of a sequence by up to so many places while learning")
    batch_size: int = option(16, TRAINING, "B, sequences in a step")
    epochs: int = option(50, TRAINING, "Passes over the data")
    patience: int | None = option(10, TRAINING, "Stop after so many validations in a row without gain; none: go on")


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
    lr: float = option(3e-3, TRAINING, "Learning rate")
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


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class CaptionerOptions(WriterOptions):
    """What a captioner of pictures, clips and features takes."""

    reads: str = option("auto", DATA, "vector, grid, frames, image or clip; auto looks at the shape of the first")
    channels: int = option(64, MODEL, "Channels of the convolution over pictures (of its first layer: half)")
    batch_size: int = option(32, TRAINING, "B, pictures in a step")
    input: str = option("image", DATA, "The column to read: arrays, or paths of picture files")
    target: str = option("caption", DATA, "The column of captions: a text, or a list of texts that are all right")


OPTIONS: dict[str, type[EstimatorOptions]] = {
    "language-model": LanguageModelOptions,
    "classify": ClassifierOptions,
    "regress": RegressorOptions,
    "tag": TaggerOptions,
    "transcribe": TranscriberOptions,
    "transduce": TransducerOptions,
    "label-sets": LabelSetOptions,
    "forecast": ForecasterOptions,
    "caption": CaptionerOptions,
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
