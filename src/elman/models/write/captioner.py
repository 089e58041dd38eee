"""Captions of pictures, clips and features: one input, a text of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elman.data.batching import pad, random, split
from elman.data.images import image_table
from elman.data.table import Table
from elman.errors import DataError, OptionError
from elman.models.estimator import Lesson, as_tensor, initial_embedding
from elman.models.inputs import MAX_STEPS, as_table, check_steps, listed, place
from elman.models.large import scaling
from elman.models.options import CaptionerOptions, documented
from elman.models.restoring import layers_of, recurrent_from, scaling_from
from elman.models.tokenizer import SPECIALS, Tokenizer
from elman.models.write.captioner_network import CaptionerNetwork, grid
from elman.models.write.decoder import Carried
from elman.models.write.views import AXES, RAGGED, View, arrays, find_view, fitted
from elman.models.write.writer import MONITORS, Numbers, Output, Writer
from elman.nn import Recurrent
from elman.nn.attention import Memory
from elman.runtime.document import Document
from elman.training.pictures.captions import Shown, draw_captions

MEASURED = 2000
"""Inputs from which the channels' means and deviations are taken: more change nothing that could be seen."""
Captions = list[list[str]]


class Look(NamedTuple):
    """Where the decoder looked: weights (T, *places), or (T, frames), for each token; each sums to 1."""

    tokens: list[str]
    weights: np.ndarray


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Captioner(CaptionerOptions, Writer):
    """Writes what it sees (Vinyals et al. 2015; with attention Xu et al. 2015; of clips Yao et al. 2015).

    Reads vectors of features (I,), from which the decoder begins; grids (P, I) or (h, w, I), which attention looks at;
    sequences (T, I), which recurrent layers read first; or pictures (h, w, 3) and clips (T, h, w, 3) of bytes, through
    a convolution that learns with the rest. A clip's frames become vectors, read as such.

    fit: inputs X (arrays, or paths of PNG and JPEG files) and captions y (texts; y may hold lists of right ones, of
    which each epoch draws one), a Table with both, or a Path: an .npz, or a list of paths and captions.
    """

    task: ClassVar[str] = "caption"
    networks: ClassVar[tuple[str, ...]] = ("decoder",)
    words: ClassVar[tuple[str, str]] = ("picture", "caption")

    view_: View = dataclasses.field(init=False, repr=False)
    longest_: int = dataclasses.field(init=False, repr=False)
    """Tokens of the longest caption of the training data; none is written that is twice as long."""
    module_: CaptionerNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        self._check_whole("channels")
        self._check_known("reads", ("auto", *AXES))

    # -- data ----------------------------------------------------------------------------------------------------------
    def _table(self, data: Any) -> tuple[Any, Table | str]:
        data = image_table(data, self.input, self.target) if isinstance(data, Path) else as_table(data)
        return data, data if isinstance(data, Table) else "the pictures"

    def _arrays(self, data: Any) -> tuple[Numbers, Table | str]:
        data, where = self._table(data)
        entries = data.column(self.input) if isinstance(data, Table) else listed(data, "the pictures")
        return arrays(entries, where), where

    def _pairs(self, data: Any, targets: Any) -> tuple[Numbers, Captions, Table | str]:
        """Inputs, the captions of each (one, or several in a list), and where they come from."""
        data, _ = self._table(data)
        found, where = self._arrays(data)
        captions = self._targets(data, targets, len(found), where)
        for i, own in enumerate(captions):
            for j, text in enumerate(own):
                if not text.strip():
                    raise DataError(f"{place(where, i, j)}: a caption is empty; write one or leave the record out")
        return found, captions, where

    def to_judge(self, X: Any, y: Any = None) -> tuple[Numbers, Captions, list[Numbers]]:
        """The same for the model that there is, with the captions in numbers."""
        found, captions, where = self._pairs(X, y)
        return fitted(found, self.view_, where), captions, self._numbered(captions, where)

    def _numbered(self, captions: Captions, where: Table | str) -> list[Numbers]:
        written = [[self.target_.ended(self.target_.tokenize(text)) for text in own] for own in captions]
        check_steps([max(map(len, own)) for own in written], where)
        return written

    def _parts(self, one: np.ndarray) -> int:
        return len(one) if self.view_.kind in RAGGED else int(np.prod(grid(self.view_)))

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        found, captions, where = self._pairs(X, y)
        self.view_ = find_view(found, self.reads)
        read, held = fitted(found, self.view_, where), None
        kept, out = np.arange(len(read)), np.arange(0)
        if valid is None and self.valid_fraction:
            kept, out = split(len(read), self.valid_fraction, self.seed)
        self.target_ = self._learn_target([text for i in kept for text in captions[i]])
        written = self._numbered(captions, where)
        self.longest_ = max(len(one) for i in kept for one in written[i])
        if valid is not None:
            held = self.to_judge(*(valid if isinstance(valid, tuple) else (valid,)))
        elif len(out):
            held = tuple([part[i] for i in out] for part in (read, captions, written))  # type: ignore[assignment]
        read, written = [read[i] for i in kept], [written[i] for i in kept]
        with self._seeded():
            size = self.hidden_size if self.view_.drawn else self.view_.shape[-1]
            encoder = None if self.view_.kind not in RAGGED else self._recurrent(size, bidirectional=self.bidirectional)
            self._build(encoder, self._recurrent(self.embedding_size))
        some = random(self.seed).permutation(len(read))[:MEASURED]
        self._set_scaling(*scaling([read[i].reshape(-1, self.view_.shape[-1]) for i in some]))
        self.module_.to(self.device)
        data = [*read, *(one for own in written for one in own)]
        data += [] if held is None else [*held[0], *(one for own in held[2] for one in own)]
        return _Trainee(self, read, written, held), data

    def _build(self, encoder: Recurrent | None, decoder: Recurrent) -> None:
        looks = None  # at one vector there is nowhere to look
        if self.view_.kind != "vector":
            looks = self._looks(decoder.output_size, self.hidden_size if encoder is None else encoder.output_size)
        target = initial_embedding(len(self.target_.vocabulary), self.embedding_size)
        self.module_ = CaptionerNetwork(
            self.view_, self.channels, self.hidden_size, target, encoder, decoder, looks,
            dropout=self.dropout, tied=self.tied,
        )  # fmt: skip

    def _set_scaling(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.module_.mean.copy_(torch.from_numpy(mean))
        self.module_.scale.copy_(torch.from_numpy(scale))

    def _encoded(self, read: Numbers) -> tuple[Memory | None, Carried]:
        like = self.module_.output.weight
        if self.view_.kind in RAGGED:
            x, lengths = pad(read)
            return self.module_.encode(as_tensor(x, like), lengths.tolist())
        return self.module_.encode(as_tensor(np.stack(read), like), None)

    # -- use -----------------------------------------------------------------------------------------------------------
    def predict(self, X: Any) -> list[str]:
        """The caption of each input."""
        return [own[0].text for own in self.outputs(X)]

    def outputs(self, X: Any, n_best: int = 1) -> list[list[Output]]:
        """For each input the `n_best` captions (at most `beam_size`), best first."""
        self._need_fit()
        found, where = self._arrays(X)
        return self._outputs(fitted(found, self.view_, where), self.beam_size, n_best)

    def _outputs(self, read: Numbers, beam_size: int, n_best: int) -> list[list[Output]]:
        decode = self.target_.vocabulary.decode
        return [
            [Output(self.target_.text(decode(h.tokens)), h.log_probability, h.score) for h in own]
            for own in self._search(read, [2 * self.longest_] * len(read), beam_size, n_best)
        ]

    def look(self, picture: Any, caption: str | None = None) -> Look:
        """Where the decoder looks while it writes `caption` (default: what it would write itself) of one input."""
        self._need_fit()
        if self.module_.attention is None:
            raise OptionError("this model has no attention: train it on places or frames, with --attention additive")
        (one,) = fitted(arrays([picture], "the pictures"), self.view_, "the pictures")
        caption = self._outputs([one], self.beam_size, 1)[0][0].text if caption is None else caption
        tokens = self.target_.tokenize(caption)
        weights = self._weights(one, self.target_.ended(tokens))
        places = weights.shape[1:] if self.view_.kind in RAGGED else grid(self.view_)
        return Look([*tokens, SPECIALS["end"]], weights.reshape(len(weights), *places))

    def picture(self, X: Any, path: str | os.PathLike[str], count: int = 4) -> None:
        """Draw the first pictures (or clips), what the model writes of them and where it looked, into a PNG file."""
        self._need_fit()
        if not self.view_.drawn:
            raise OptionError(f"this model reads features ({self.view_.kind}), of which there is no picture to draw")
        found, where = self._arrays(X)
        read = fitted(found[:count], self.view_, where)
        texts = [own[0].text for own in self._outputs(read, self.beam_size, 1)]
        looks = [None if self.module_.attention is None else self.look(one, text) for one, text in zip(read, texts)]
        draw_captions(
            [Shown(one, text, *(look or (None, None))) for one, text, look in zip(read, texts, looks)], Path(path)
        )

    # -- judging -------------------------------------------------------------------------------------------------------
    def score(self, X: Any, y: Any = None) -> float:
        """The share of inputs whose caption is one of the right ones, word for word."""
        return self.evaluate(X, y)["accuracy"]

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """loss (nats per token, the end among them), perplexity; of what is written: accuracy (one of the right
        captions, word for word), error_rate of words against the nearest of them, and bleu against all of them."""
        self._need_fit()
        read, captions, written = self.to_judge(X, y)
        return self._loss(*_each(read, written)) | self._judged(read, captions, self.beam_size)

    def _judged(self, read: Numbers, captions: Captions, beam_size: int) -> dict[str, float]:
        return self._figures([own[0].text for own in self._outputs(read, beam_size, 1)], captions)

    def _sample(
        self, X: Any, y: Any, sequences: int, steps: int
    ) -> tuple[Callable[[], Tensor], dict[str, list[list[str]]]]:
        read, _, written = self.to_judge(X, y)
        first = [own[0] for own in written[:sequences]]
        return lambda: self.loss(read[:sequences], first)[0], self._given(first)

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        view = {"reads": self.view_.kind, "shape": list(self.view_.shape), "longest": self.longest_}
        return {**self.target_.to_json_data("target"), "input": view}

    def _scaling(self) -> dict[str, list[float]]:
        return {name: getattr(self.module_, name).tolist() for name in ("mean", "scale")}

    def _restore(self, doc: Document) -> None:
        self.target_ = Tokenizer.of(doc, "target", self.level, self.lower)
        claims = doc.vocabularies.get("input", {})
        kind, shape, self.longest_ = claims.get("reads"), claims.get("shape"), claims.get("longest", 0)
        if not isinstance(kind, str) or not isinstance(shape, list) or self.reads not in ("auto", kind):
            raise DataError("the kind or the shape of the inputs is not known, or not the one of the options")
        self.view_ = View(kind, tuple(shape))
        self.view_.check()
        if type(self.longest_) is not int or not 0 < self.longest_ <= MAX_STEPS:
            raise DataError("the length of the longest caption is not known")
        if set(doc.vocabularies) != set(self._vocabularies()):
            raise DataError("there is a vocabulary that is not part of the model")
        common: Any = {"hidden_size": self.hidden_size, "num_layers": self.num_layers, **self._layer_options()}
        encoder = None
        if kind in RAGGED:
            size = self.hidden_size if self.view_.drawn else self.view_.shape[-1]
            encoder = recurrent_from(doc, "encoder", input_size=size, bidirectional=self.bidirectional, **common)
        decoder = recurrent_from(doc, "decoder", input_size=self.embedding_size, bidirectional=False, **common)
        if encoder and [one.program for one in layers_of(encoder)] != [one.program for one in layers_of(decoder)]:
            raise DataError("the networks encoder and decoder have different cells")
        self._build(encoder, decoder)
        self._set_scaling(*scaling_from(doc, self.view_.shape[-1]))


def _each(read: Numbers, written: list[Numbers]) -> tuple[Numbers, Numbers]:
    """Every caption with its input: an input with several stands once for each."""
    return [one for one, own in zip(read, written) for _ in own], [n for own in written for n in own]


class _Trainee:
    """What the loop trains: shuffled batches, each input with one of its captions, drawn anew for every epoch."""

    unit = "tokens"

    def __init__(self, model: Captioner, read: Numbers, written: list[Numbers], held: Any) -> None:
        self.model, self.module, self.read, self.written, self.held = model, model.module_, read, written, held
        self.monitor, self.maximize = model.monitor, MONITORS[model.monitor]

    def epoch(self, number: int) -> list[tuple[Numbers, Numbers]]:
        generator = random(self.model.seed, number, len(self.read))
        drawn = [own[int(generator.integers(len(own)))] for own in self.written]
        return [
            ([self.read[i] for i in batch], [drawn[i] for i in batch])
            for batch in self.model.batches(self.read, drawn, epoch=number)
        ]

    def loss(self, batch: tuple[Numbers, Numbers], carry: Any) -> tuple[Tensor, int, None]:
        return *self.model.loss(*batch, smoothing=self.model.label_smoothing), None

    def validate(self) -> dict[str, float]:
        if self.held is None:
            return {}
        read, captions, written = self.held
        figures = self.model._loss(*_each(read, written))
        return figures if self.monitor == "loss" else figures | self.model._judged(read, captions, 1)
