"""Log-mel features: numpy against torch and against the definition, on real and made sounds, whole and in batches."""

from __future__ import annotations

import io
import tarfile
import wave
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.errors import OptionError
from elman.models.speech import log_mel as twin
from elman.models.speech.log_mel import LogMel
from elman.runtime import features as module
from elman.runtime.features import Features, features, log_mel, stacked, with_deltas

RATE = 8000


def sounds() -> list[np.ndarray]:
    """Noise, a loud tone on silence, silence, a click, sounds shorter than a window, one that is a window."""
    random = np.random.default_rng(0)
    click = np.zeros(1000)
    click[500] = 1
    time = np.arange(2000) / RATE
    made = [
        random.normal(0, 0.1, 1601), np.sin(2 * np.pi * 440 * time) * (time > 0.1), np.zeros(800), click,
        random.normal(0, 0.1, 1), random.normal(0, 0.1, 199), random.normal(0, 0.1, 200),
    ]  # fmt: skip
    return [sound.astype(np.float32) for sound in made]


def both(spec: Features, every: list[np.ndarray], normalise: str = "global", **rates: Any) -> tuple[LogMel, Any, Any]:
    layer = LogMel(spec, normalise)
    random = np.random.default_rng(1)
    layer.mean.copy_(torch.from_numpy(random.normal(-5, 2, spec.channels)))
    layer.scale.copy_(torch.from_numpy(random.uniform(1, 3, spec.channels)))
    batch = torch.zeros(len(every), max(map(len, every)))
    for row, sound in zip(batch, every):
        row[: len(sound)] = torch.from_numpy(sound)
    x, frames = layer(batch, [len(sound) for sound in every], **rates)
    return layer, x, frames


@pytest.mark.parametrize("normalise", ["global", "utterance"])
@pytest.mark.parametrize(
    ("deltas", "stack", "top_db"), [(False, 1, None), (True, 1, 30), (False, 3, 12.5), (True, 2, None)]
)
def test_torch_gives_the_same_numbers(normalise: str, deltas: bool, stack: int, top_db: float | None) -> None:
    spec = Features(RATE, mels=23, deltas=deltas, stack=stack, top_db=top_db)
    layer, x, frames = both(spec, sounds(), normalise)
    steps = twin.stacked(x, stack)
    for b, sound in enumerate(sounds()):
        expected = features(sound, spec, layer.mean.numpy(), layer.scale.numpy(), normalise)
        assert (frames[b], len(expected)) == (spec.frames(len(sound)), spec.steps(len(sound)))
        # Both work in float64 and round once or twice: some units in the last place of numbers up to 10.
        assert np.abs(steps[: len(expected), b].numpy() - expected).max() < 1e-5
        assert not x[frames[b] :, b].any()


def test_torch_gives_the_same_numbers_on_real_sounds(shared_data: Path) -> None:
    with tarfile.open(shared_data / "fsdd" / "test.tar.gz") as archive:
        members = [member for member in archive if member.name.endswith(".wav")][:12]
        every = []
        for member in members:
            content = archive.extractfile(member)
            assert content is not None
            with wave.open(io.BytesIO(content.read())) as file:
                every.append(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768)
    spec = Features(RATE)
    layer, x, frames = both(spec, every)
    for b, sound in enumerate(every):
        expected = features(sound, spec, layer.mean.numpy(), layer.scale.numpy())
        assert np.abs(x[: frames[b], b].numpy() - expected).max() < 1e-5


def test_tempo_and_warp_are_the_same_in_torch() -> None:
    spec = Features(RATE, mels=20)
    tempo, warp = [0.8, 1.0, 1.25, 1.1, 1.2, 0.9, 1.3], [1.2, 0.8, 1.0, 1.1, 0.9, 1.0, 1.05]
    layer, x, frames = both(spec, sounds(), tempo=tempo, warp=warp)
    for b, sound in enumerate(sounds()):
        plain = log_mel(sound, spec, tempo=tempo[b], warp=warp[b])
        assert len(plain) == frames[b] == spec.frames(len(sound), tempo[b])
        assert np.abs(x[: frames[b], b].numpy() - (plain - layer.mean.numpy()) / layer.scale.numpy()).max() < 1e-5
    assert frames[0] > spec.frames(1601) > spec.frames(1601, 1.25)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, every = Features(RATE), sounds()[:2]
    whole, (_, together, _) = [log_mel(sound, spec) for sound in every], both(spec, every)
    for where in (module, twin):
        monkeypatch.setattr(where, "BLOCK", 3 * spec.size)
    assert all(np.array_equal(log_mel(sound, spec), one) for sound, one in zip(every, whole))
    assert torch.equal(both(spec, every)[1], together)


def test_the_definition() -> None:
    """A frame by hand: window, discrete Fourier transform as a sum, filters, logarithm."""
    spec = Features(RATE, mels=12, window_ms=8, hop_ms=3)
    assert (spec.size, spec.hop, spec.fft) == (64, 24, 64)
    sound = sounds()[0]
    assert spec.frames(len(sound)) == 1 + (len(sound) - 64) // 24
    t = 7
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * (n + 0.5) / 64) for n in range(64)])
    framed = sound[t * 24 : t * 24 + 64].astype(np.float64) * window / np.sqrt((window**2).sum())
    energies = np.zeros(12)
    mel = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 4000 / 700), 14)
    edges = 700 * (np.exp(mel / 1127) - 1)
    for k in range(33):
        energy = abs(sum(framed[n] * np.exp(-2j * np.pi * k * n / 64) for n in range(64))) ** 2
        hz = k * RATE / 64
        for m in range(12):
            left, middle, right = edges[m : m + 3]
            weight = (hz - left) / (middle - left) if hz <= middle else (right - hz) / (right - middle)
            energies[m] += max(0.0, weight) * energy
    assert np.allclose(log_mel(sound, spec)[t], np.log(energies + 1e-9), atol=1e-6)


def test_a_tone_is_loudest_in_its_band_and_louder_where_it_is_louder() -> None:
    spec = Features(RATE, mels=30)
    for band in (3, 12, 25):
        tone = 0.1 * np.sin(2 * np.pi * spec.centres()[band] * np.arange(1000) / RATE)
        x = log_mel(tone, spec)
        assert (x.argmax(1) == band).all()
        assert np.allclose(log_mel(2 * tone, spec)[:, band] - x[:, band], np.log(4), atol=1e-5)
    assert np.allclose(log_mel(np.zeros(500), spec), np.log(1e-9))
    higher = log_mel(tone, spec, warp=0.8).argmax(1)  # filters that moved down: the tone lies in a higher one
    assert (higher > 25).all()


def test_deltas_and_stacks_by_hand() -> None:
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)

    def slope(y: np.ndarray, t: int) -> np.ndarray:
        at = lambda k: y[min(max(t + k, 0), len(y) - 1)]  # noqa: E731
        return np.asarray((at(1) - at(-1) + 2 * (at(2) - at(-2))) / 10)

    first = np.array([slope(x, t) for t in range(7)])
    second = np.array([slope(first, t) for t in range(7)])
    assert np.allclose(with_deltas(x), np.concatenate([x, first, second], 1), atol=1e-6)
    assert np.allclose(with_deltas(x[:1])[:, 2:], 0)
    assert stacked(x, 3).shape == (3, 6)
    assert np.array_equal(stacked(x, 3)[2], [*x[6], 0, 0, 0, 0])
    assert np.array_equal(twin.stacked(torch.from_numpy(x)[:, None], 3)[:, 0].numpy(), stacked(x, 3))


def test_loudness_and_colour_are_taken_out_of_a_sound() -> None:
    spec, sound = Features(RATE, mels=20), sounds()[0]
    zeros, ones = np.zeros(20), np.ones(20)
    x = features(sound, spec, zeros, ones, "utterance")
    assert np.abs(x.mean(0)).max() < 1e-5
    assert abs(np.square(x).mean() - 1) < 0.05  # but for LEAST_VARIANCE
    coloured = 3 * (sound[1:] - 0.5 * sound[:-1])  # louder, and with less of the low bands
    assert np.abs(features(coloured, spec, zeros, ones, "utterance") - x).mean() < 0.25
    assert np.abs(features(coloured, spec, zeros, ones) - features(sound, spec, zeros, ones)).mean() > 1
    assert not features(np.zeros(900), spec, zeros, ones, "utterance").any()


def test_what_is_far_below_the_loudest_is_not_told_apart() -> None:
    spec = Features(RATE, mels=20, top_db=40)
    sound = np.concatenate([sounds()[0], np.zeros(800)])  # a word and a pause
    plain, x = log_mel(sound, replace(spec, top_db=None)), log_mel(sound, spec)
    assert np.allclose(x, np.maximum(plain, plain.max() - 4 * np.log(10)), atol=1e-5)  # 40 dB are 10⁴
    noisy = sound + np.random.default_rng(2).normal(0, 1e-4, len(sound))
    assert np.abs(log_mel(noisy, replace(spec, top_db=None)) - plain).max() > 1
    assert np.abs(log_mel(noisy, spec) - x).max() < 0.1


def test_bands_share_every_frequency_between_them() -> None:
    for rate, mels in product((8000, 16000, 44100), (10, 40)):
        spec = Features(rate, mels=mels)
        hz = np.arange(spec.fft // 2 + 1) * rate / spec.fft
        between = (hz >= spec.centres()[0]) & (hz <= spec.centres()[-1])
        for warp in (1.0, 0.7, 1.3):
            assert (spec.bank(warp) >= 0).all()
        assert np.allclose(spec.bank().sum(1)[between], 1)  # each triangle falls as the next one rises
        assert (spec.bank() > 0).any(0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0}, "--rate must be a whole number from 100 to 768,000, not 0"),
        ({"rate": 10**12}, "--rate must be"),
        ({"mels": 1 << 30}, "--mels must be a whole number from 1 to 512"),
        ({"mels": 200}, "--mels 200 are too many for a window of 25 ms at 8,000 Hz"),
        ({"window_ms": 1e9}, "--window-ms must be a number from 1 to 1,000"),
        ({"window_ms": float("nan")}, "--window-ms must be"),
        ({"window_ms": 1000, "rate": 44100}, "--window-ms 1000 at 44,100 Hz is too long for 40 bands"),
        ({"hop_ms": 0.0}, "--hop-ms must be a number from 0.5"),
        ({"stack": True}, "--stack must be a whole number"),
        ({"top_db": 0}, "--top-db must be a number from 1 to 1,000, or none, not 0"),
        ({"top_db": float("nan")}, "--top-db must be"),
        ({"window_ms": 1.0, "rate": 100, "mels": 1}, "too many"),
    ],
)
def test_options_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(Features(RATE), **change)
