"""Transcription of sounds: log-mel features, recurrent layers and connectionist temporal classification."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.audio import Sounds
from elman.data.batching import length_batches, pad, random, split
from elman.data.vocabulary import Vocabulary, check_level
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.estimator import Estimator, Lesson, as_tensor, initial_linear
from elman.models.inputs import fitting
from elman.models.language.language_model import LanguageModel
from elman.models.options import TranscriberOptions, documented
from elman.models.restoring import scaling_from, vocabulary_from
from elman.models.speech import ctc
from elman.models.speech.fusion import LanguageScorer
from elman.models.speech.log_mel import LogMel, stacked
from elman.models.speech.perturb import Perturbation
from elman.models.speech.sounds import Speech, read_sounds, read_speech, text_of
from elman.nn import Head, Recurrent
from elman.runtime.document import Document
from elman.runtime.features import NORMALISATIONS, Features, log_mel
from elman.training.metrics import error_rate
from elman.training.pictures.transcript import transcript_picture

MAX_FRAMES = 1 << 17
"""Of a batch, its sounds times the longest of them: 22 minutes at 100 frames a second. A longer one is taken alone."""
MEASURED = 2000
"""Sounds from which the bands' means and variances are taken: more change nothing that could be heard."""
BLANK = ""
"""What `classes_` calls the class that stands for no token."""


class TranscriberNetwork(nn.Module):
    """Sounds (B, N) of so many samples each -> logits (T, B, 1 + V), blank first, and the steps of each sound."""

    def __init__(self, spec: Features, normalise: str, recurrent: Recurrent, tokens: int, dropout: float) -> None:
        super().__init__()
        self.features = LogMel(spec, normalise)
        self.recurrent = recurrent
        self.head = Head(recurrent.output_size, 1 + tokens, dropout=dropout)
        for module in self.head:
            if isinstance(module, nn.Linear):
                initial_linear(module)

    def forward(self, samples: Tensor, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
        return self.read(*self.features(samples, lengths))

    def read(self, x: Tensor, frames: Sequence[int]) -> tuple[Tensor, list[int]]:
        """The same from features (T, B, channels)."""
        count = self.features.spec.stack
        steps = [-(-n // count) for n in frames]
        output, _ = self.recurrent(stacked(x, count), lengths=steps)
        return self.head(output), steps


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Transcriber(TranscriberOptions, Estimator):
    """What is said in a sound (Graves, Fernández, Gomez & Schmidhuber 2006; Graves & Jaitly 2014).

    Learns from whole sounds and their transcripts: which part of a sound is which letter it finds out by itself.

    fit: sounds X (paths, or arrays of samples) and transcripts y, a Table with both, or a Path: of a list (.tsv, .csv,
    .jsonl) or of a folder with a.txt beside a.wav.
    """

    task: ClassVar[str] = "transcribe"

    vocabulary_: Vocabulary = dataclasses.field(init=False, repr=False)
    rate_: int = dataclasses.field(init=False, repr=False)
    module_: TranscriberNetwork = dataclasses.field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        check_level(self.level)
        if self.normalise not in NORMALISATIONS:
            hint = did_you_mean(str(self.normalise), NORMALISATIONS)
            raise OptionError(f"--normalise is {self.normalise!r}, which is not known{hint}")
        self._check_share("tempo", "warp", "noise")
        self._check_whole("time_masks", "mel_masks", least=0)
        self._spec(16_000 if self.rate is None else self.rate)

    def _spec(self, rate: int) -> Features:
        return Features(rate, self.mels, self.window_ms, self.hop_ms, self.deltas, self.stack, self.top_db)

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        learn, held = read_speech(self, X, y, self.rate), None
        self.rate_ = learn.sounds.rate
        self.vocabulary_ = Vocabulary.build(learn.tokens, unknown=None)
        spec = self._spec(self.rate_)
        learn.numbered(self.vocabulary_, spec)
        if valid is not None:
            held = self.to_judge(*(valid if isinstance(valid, tuple) else (valid,)))
        elif self.valid_fraction:
            kept, out = split(len(learn.tokens), self.valid_fraction, self.seed)
            learn, held = learn.part(kept), learn.part(out)
        with self._seeded():
            self._build(self._recurrent(spec.channels * spec.stack, bidirectional=self.bidirectional))
        self._scale(learn.sounds)
        self.module_.to(self.device)
        data = [part for one in (learn, held) if one for part in (*one.sounds.identity(), *one.numbers)]
        return _Trainee(self, learn, held), data

    def to_judge(self, X: Any, y: Any = None) -> Speech:
        """Sounds and transcripts for the model that there is."""
        return read_speech(self, X, y, self.rate_).numbered(self.vocabulary_, self._spec(self.rate_))

    def _build(self, recurrent: Recurrent) -> None:
        spec = self._spec(self.rate_)
        self.module_ = TranscriberNetwork(spec, self.normalise, recurrent, len(self.vocabulary_), self.dropout)

    @torch.no_grad()
    def _scale(self, sounds: Sounds) -> None:
        """The mean and the deviation of every band over the training data, kept in the model."""
        chosen = random(self.seed).permutation(len(sounds))[:MEASURED]
        count, total, square = 0, *np.zeros((2, self.module_.features.spec.channels))
        for _, samples, lengths in self._batches(sounds.part(chosen.tolist())):
            x, frames = self.module_.features(samples, lengths)
            rows = x.double().flatten(0, 1).numpy()  # beyond a sound's end they are 0
            count, total, square = count + sum(frames), total + rows.sum(0), square + np.square(rows).sum(0)
        mean = total / count
        deviation = np.sqrt(np.maximum(square / count - np.square(mean), 0))
        self._set_scaling(mean, np.where(deviation > 1e-3, deviation, 1.0))  # a band without sound stays as it is

    def _set_scaling(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.module_.features.mean.copy_(torch.from_numpy(mean))
        self.module_.features.scale.copy_(torch.from_numpy(scale))

    # -- use -----------------------------------------------------------------------------------------------------------
    @property
    def classes_(self) -> list[str]:
        """The tokens in the order of `predict_proba`'s columns: first the blank, as an empty text."""
        return [BLANK, *self.vocabulary_.tokens]

    @torch.no_grad()
    def _log_probabilities(self, sounds: Sounds) -> Iterator[tuple[int, np.ndarray]]:
        """The place of each sound and its (T, 1 + V), float64: a batch of similar length after the other, so that only
        what is made of them must fit into memory."""
        for batch, samples, lengths in self._batches(sounds):
            logits, steps = self.module_(samples, lengths)
            found = logits.double().log_softmax(-1).cpu().numpy()
            for column, i in enumerate(batch.tolist()):
                yield i, found[: steps[column], column]

    def _batches(self, sounds: Sounds) -> Iterator[tuple[np.ndarray, Tensor, list[int]]]:
        """Sounds of similar length together: their numbers, their samples (B, N), how many each has."""
        frames = [self.module_.features.spec.frames(int(n)) for n in sounds.lengths]
        for batch in fitting(length_batches(frames, 32, seed=0, epoch=0, shuffle=False), frames, MAX_FRAMES):
            samples, lengths = pad([sounds[i] for i in batch])
            yield batch, as_tensor(samples.T, self._weight), lengths.tolist()

    @property
    def _weight(self) -> Tensor:
        return next(self.module_.parameters())

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """For each sound (T, 1 + V): at every step the probabilities of `classes_`."""
        self._need_fit()
        sounds = read_sounds(self, X, self.rate_)
        result = [np.zeros((0, 0))] * len(sounds)
        for i, one in self._log_probabilities(sounds):
            result[i] = np.exp(one)
        return result

    def predict(self, X: Any, **decoding: Any) -> list[str]:
        """The transcript of each sound.

        decoding: beam=1, the width of the search (1: only the likeliest path), language=None, a LanguageModel of the
        same tokens, weight=0.5 and bonus=0.0. A search finds the transcript with the highest
        log P(transcript | sound) + weight · log P(transcript | language) + bonus · tokens.
        """
        self._need_fit()
        decode, sounds = self._decoder(**decoding), read_sounds(self, X, self.rate_)
        result = [""] * len(sounds)
        for i, one in self._log_probabilities(sounds):
            result[i] = self._text(decode(one))
        return result

    def _text(self, numbers: Sequence[int]) -> str:
        return text_of(self, self.vocabulary_.decode(numbers))

    def _decoder(
        self, *, beam: int = 1, language: LanguageModel | None = None, weight: float = 0.5, bonus: float = 0.0
    ) -> Callable[[np.ndarray], Sequence[int]]:
        """From log probabilities (T, 1 + V) to tokens."""
        if type(beam) is not int or beam < 1:
            raise OptionError(f"--beam must be a whole number, 1 or more, not {beam!r}")
        for name, number in (("lm-weight", weight), ("length-bonus", bonus)):
            if not isinstance(number, int | float) or not math.isfinite(number):
                raise OptionError(f"--{name} must be a finite number, not {number!r}")
        if language is None and beam == 1:
            return ctc.greedy
        scorer = None if language is None else LanguageScorer(language, self.vocabulary_.tokens, self.level)
        return lambda one: ctc.beam_search(one, beam, language=scorer, weight=weight, bonus=bonus)[0].tokens

    def score(self, X: Any, y: Any = None) -> float:
        """1 - the character error rate; below 0 where much is heard that nobody said."""
        return 1 - self.evaluate(X, y)["character_error_rate"]

    def evaluate(self, X: Any, y: Any = None, **decoding: Any) -> dict[str, float]:
        """loss (nats per token), character_error_rate, word_error_rate; decoding: as `predict` takes it."""
        self._need_fit()
        return self._figures(self.to_judge(X, y), **decoding)

    def _figures(self, speech: Speech, **decoding: Any) -> dict[str, float]:
        decode, nats = self._decoder(**decoding), 0.0
        true = [text_of(self, tokens) for tokens in speech.tokens]
        found = [""] * len(true)
        for i, one in self._log_probabilities(speech.sounds):
            nats += float(ctc_loss(torch.from_numpy(one)[:, None], [len(one)], [speech.numbers[i]]))
            found[i] = self._text(decode(one))
        return {
            "loss": nats / sum(len(own) for own in speech.numbers),
            "character_error_rate": error_rate(true, found),
            "word_error_rate": error_rate([text.split() for text in true], [text.split() for text in found]),
        }

    def picture(self, sound: Any, path: str | os.PathLike[str]) -> None:
        """Draw a sound (a path or samples), and what is heard when, into a PNG file."""
        self._need_fit()
        sounds, spec = read_sounds(self, [sound], self.rate_), self._spec(self.rate_)
        ((_, heard),) = self._log_probabilities(sounds)
        transcript_picture(
            log_mel(sounds[0], spec), np.exp(heard), self.classes_, spec.hop / spec.rate, spec.centres(),
            self._text(ctc.greedy(heard)), Path(path),
        )  # fmt: skip

    def _sample(self, X: Any, y: Any, sequences: int, steps: int) -> tuple[Callable[[], Tensor], list[Sequence[str]]]:
        speech = self.to_judge(X, y)
        speech = speech.part(np.arange(min(sequences, len(speech.numbers))))
        samples, lengths = pad([speech.sounds[i] for i in range(len(speech.numbers))])

        def loss() -> Tensor:
            logits, ends = self.module_(as_tensor(samples.T, self._weight), lengths.tolist())
            return ctc_loss(logits.log_softmax(-1), ends, speech.numbers) / sum(map(len, speech.numbers))

        return loss, []

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return {"tokens": self.vocabulary_.to_json_data(), "sound": {"rate": self.rate_}}

    def _scaling(self) -> dict[str, list[float]]:
        return {name: getattr(self.module_.features, name).tolist() for name in ("mean", "scale")}

    def _restore(self, doc: Document) -> None:
        self.vocabulary_ = vocabulary_from(doc, "tokens")
        rate = doc.vocabularies.get("sound", {}).get("rate")
        if type(rate) is not int or self.rate not in (None, rate):
            raise DataError("the rate of the sounds is not known, or not the one of the options")
        self.rate_ = rate
        spec = self._spec(rate)
        self._build(self._recurrent_from(doc, spec.channels * spec.stack))
        self._set_scaling(*scaling_from(doc, spec.channels))


def ctc_loss(log_probabilities: Tensor, steps: Sequence[int], numbers: Sequence[np.ndarray]) -> Tensor:
    """Nats over a batch, summed: log probabilities (T, B, 1 + V), the tokens' numbers of each sound."""
    targets = torch.from_numpy(np.concatenate(numbers) + 1).to(log_probabilities.device)
    counts = torch.tensor([len(own) for own in numbers])
    return nn.functional.ctc_loss(log_probabilities, targets, torch.tensor(steps), counts, reduction="sum")


class _Trainee:
    """What the loop trains: shuffled batches of sounds of similar length, which are different every time."""

    monitor = "character_error_rate"
    maximize = False

    def __init__(self, model: Transcriber, learn: Speech, held: Speech | None) -> None:
        self.model, self.module, self.learn, self.held = model, model.module_, learn, held
        self.unit = "characters" if model.level == "char" else "words"
        self.spec = model.module_.features.spec
        self.frames = np.array([self.spec.frames(int(n)) for n in learn.sounds.lengths], np.int64)
        self.perturbation = Perturbation(model.tempo, model.warp, model.noise, model.time_masks, model.mel_masks)

    def epoch(self, number: int) -> list[tuple[int, int, np.ndarray]]:
        """The epoch and the place of a batch go with it: they decide how its sounds are changed."""
        batches = length_batches(self.frames, self.model.batch_size, seed=self.model.seed, epoch=number)
        return [(number, at, batch) for at, batch in enumerate(fitting(batches, self.frames, MAX_FRAMES))]

    def loss(self, batch: tuple[int, int, np.ndarray], carry: Any) -> tuple[Tensor, int, None]:
        epoch, at, indices = batch
        numbers = [self.learn.numbers[i] for i in indices]
        generator = random(self.model.seed, epoch, at)
        logits, steps = self.module.read(*self._heard(indices, numbers, generator))
        count = sum(len(own) for own in numbers)
        return ctc_loss(logits.log_softmax(-1), steps, numbers) / count, count, None

    def _heard(
        self, indices: np.ndarray, numbers: list[np.ndarray], generator: np.random.Generator
    ) -> tuple[Tensor, list[int]]:
        """The features of some sounds as they are heard this time."""
        change, like, mels = self.perturbation, self.model._weight, self.spec.mels
        samples, lengths = pad([change.noisy(generator, self.learn.sounds[i]) for i in indices])
        tempo, warp = change.rates(generator, len(indices))
        for b, own in enumerate(numbers):  # not so fast that the steps no longer suffice
            if self.spec.steps(int(lengths[b]), tempo[b]) < ctc.steps_needed(own):
                tempo[b] = 1.0
        x, frames = self.module.features(
            as_tensor(samples.T, like), lengths.tolist(), tempo, warp if change.warp else None
        )
        times, bands = change.masks(generator, frames, mels, self.spec.hop / self.spec.rate)
        masked = as_tensor(times, like)[:, :, None] | as_tensor(np.tile(bands, self.spec.channels // mels), like)
        return x.masked_fill(masked, 0), frames

    def validate(self) -> dict[str, float]:
        return self.model._figures(self.held) if self.held else {}
