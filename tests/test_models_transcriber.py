"""Transcribers: tones that are letters are learnt, batches and resuming change nothing, what cannot be read is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
import warnings
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.data import Table, audio
from elman.errors import DataError, ModelFileError, OptionError
from elman.models import LanguageModel, Transcriber, load
from elman.models.speech import transcriber as module
from elman.models.speech.perturb import Perturbation
from elman.training.metrics import edit_distance, error_rate

Run = Callable[..., tuple[str, str]]
RATE = 4000
LETTERS = "abcd"
SMALL: dict[str, Any] = {
    "rate": RATE, "cell": "gru", "hidden_size": 12, "num_layers": 1, "mels": 12, "stack": 2, "lr": 0.02, "dropout": 0.0,
    "epochs": 1, "valid_fraction": 0.0, "patience": None, "warp": 0.0, "mel_masks": 0,
}  # fmt: skip


def spoken(text: str, random: np.random.Generator) -> np.ndarray:
    """A tone a letter, of some length and some pitch, with silence between, in noise."""
    parts = [np.zeros(random.integers(40, 160))]
    for letter in text:
        time = np.arange(random.integers(160, 400)) / RATE
        hertz = (300, 560, 950, 1500)[LETTERS.index(letter)] * random.uniform(0.97, 1.03)
        parts += [0.3 * np.sin(2 * np.pi * hertz * time), np.zeros(random.integers(40, 160))]
    sound = np.concatenate(parts)
    return np.asarray(sound + random.normal(0, 0.02, len(sound)), np.float32)


def made(count: int, seed: int) -> tuple[list[np.ndarray], list[str]]:
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list(LETTERS), random.integers(1, 6))) for _ in range(count)]
    return [spoken(text, random) for text in texts], texts


def write(path: Path, sound: np.ndarray, rate: int = RATE) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path.name


@pytest.fixture(scope="module")
def model() -> Transcriber:
    return Transcriber(**{**SMALL, "epochs": 12, "valid_fraction": 0.1, "bidirectional": True}).fit(*made(120, 0))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sounds with a list of them."""
    folder = tmp_path_factory.mktemp("sounds")
    lines = ["path\ttext"]
    for place, (sound, text) in enumerate(zip(*made(12, 1))):
        lines.append(f"{write(folder / f'{place:02}.wav', sound)}\t{text}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    return folder


# -- learning ----------------------------------------------------------------------------------------------------------
def test_letters_are_heard_in_sounds_never_met(model: Transcriber, tmp_path: Path) -> None:
    sounds, texts = made(60, 2)
    figures = model.evaluate(sounds, texts)
    constants = [text for text, _ in Counter(made(120, 0)[1]).most_common(40)]
    baseline = min(error_rate(texts, [text] * len(texts)) for text in constants)  # the best answer without listening
    assert baseline > 0.6
    assert figures["character_error_rate"] < 0.03
    assert figures["word_error_rate"] < 0.1
    assert model.score(sounds, texts) == 1 - figures["character_error_rate"]
    assert model.summary_.best["character_error_rate"] < 0.1
    searched = model.evaluate(sounds, texts, beam=8)
    assert searched["character_error_rate"] <= figures["character_error_rate"]
    assert searched["loss"] == figures["loss"]

    model.save(tmp_path / "tones.elman")
    np.savez(tmp_path / "sounds.npz", *sounds)
    code = (
        "import sys, json, numpy; from elman.models import load; m = load(sys.argv[1]); z = numpy.load(sys.argv[2]);"
        "s = [z[n] for n in z.files]; print(json.dumps([m.predict(s), m.predict_proba(s)[0].tolist(), m.rate_]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "tones.elman"), str(tmp_path / "sounds.npz")]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found, heard, rate = json.loads(run.stdout)
    assert found == model.predict(sounds)
    assert np.array_equal(heard, model.predict_proba(sounds)[0])
    assert rate == RATE


def test_order_and_company_do_not_matter(model: Transcriber) -> None:
    sounds, _ = made(9, 3)
    together = model.predict_proba(sounds)
    for sound, one in zip(sounds, together):
        assert one.shape == (model.module_.features.spec.steps(len(sound)), 5)
        assert np.allclose(one.sum(1), 1)
        assert np.allclose(model.predict_proba([sound])[0], one, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(model.predict_proba(sounds[::-1])[::-1], together))
    assert model.classes_ == ["", *sorted(LETTERS, key=model.classes_.index)]
    assert model.predict([]) == []


@pytest.mark.parametrize(
    "options",
    [
        {"deltas": True, "stack": 1, "normalise": "global", "cell": "lstm"},
        {"bidirectional": False, "num_layers": 2, "lower": True},
        {"level": "space", "cell": ["rnn", "gru"], "num_layers": 2},
    ],
)
def test_files_give_the_same_predictions(options: dict[str, Any], tmp_path: Path) -> None:
    sounds, texts = made(8, 4)
    texts = [" ".join(text.upper()) for text in texts]
    one = Transcriber(**{**SMALL, **options}).fit(sounds, texts)
    one.save(tmp_path / "one.elman")
    two = load(tmp_path / "one.elman")
    assert isinstance(two, Transcriber)
    assert two.predict(sounds) == one.predict(sounds)
    assert all(np.array_equal(a, b) for a, b in zip(one.predict_proba(sounds), two.predict_proba(sounds)))
    tokens = {"char": 5, "space": 4}[one.level]
    assert len(two.classes_) == 1 + tokens
    assert any("a" in token for token in two.classes_) is one.lower


def test_a_language_model_helps(model: Transcriber) -> None:
    """Letters that noise makes hard to tell, in a language in which they come in pairs."""
    language = LanguageModel(
        cell="gru", hidden_size=12, embedding_size=6, lines=True, epochs=10, lr=0.03, batch_size=8, valid_fraction=0.0
    ).fit(["abab", "cdcd", "ab", "cd"] * 30)
    random = np.random.default_rng(5)
    texts = ["abab", "cdcd", "ab", "cd"] * 8
    sounds = [spoken(text, random) for text in texts]
    sounds = [sound + random.normal(0, 0.25, len(sound)).astype(np.float32) for sound in sounds]
    alone = model.evaluate(sounds, texts, beam=8)["character_error_rate"]
    helped = model.evaluate(sounds, texts, beam=8, language=language, weight=0.5)["character_error_rate"]
    assert alone > 0.1
    assert helped < 0.5 * alone


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        **SMALL, "epochs": 3, "batch_size": 4, "dropout": 0.2, "tempo": 0.2, "warp": 0.2, "noise": 0.5, "mel_masks": 2,
        "checkpoint_steps": 1, "valid_fraction": 0.25,
    }  # fmt: skip
    sounds, texts = made(16, 6)
    whole = Transcriber(**options).fit(sounds, texts)
    again = Transcriber(**options).fit(sounds, texts)
    before = module._Trainee.loss
    count = 0

    def stopping(self: Any, batch: Any, carry: Any) -> Any:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return before(self, batch, carry)

    monkeypatch.setattr(module._Trainee, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        Transcriber(**options).fit(sounds, texts, folder=tmp_path / "run")
    monkeypatch.setattr(module._Trainee, "loss", before)
    resumed = Transcriber(**options).fit(sounds, texts, folder=tmp_path / "run", resume=True)
    for name, weight in whole.module_.named_parameters():
        assert torch.equal(weight, again.module_.get_parameter(name)), name
        assert torch.equal(weight, resumed.module_.get_parameter(name)), name


def test_sounds_are_changed_only_while_learning_and_by_their_seeds_alone(model: Transcriber) -> None:
    change = Perturbation(tempo=0.2, warp=0.1, noise=1.0, time_masks=2, mel_masks=1)
    one, two, other = (np.random.default_rng(seed) for seed in (1, 1, 2))
    tempo, warp = change.rates(one, 100)
    assert (tempo, warp) == change.rates(two, 100)
    assert tempo != change.rates(other, 100)[0]
    assert 1 / 1.2 <= min(tempo) < 0.9
    assert 1.1 < max(tempo) <= 1.2
    assert 1 / 1.1 <= min(warp) < max(warp) <= 1.1
    sound = spoken("abcd", np.random.default_rng(0))
    noisy = change.noisy(one, sound) - sound
    ratio = 10 * np.log10(np.square(sound).mean() / np.square(noisy).mean())
    assert 4 < ratio < 31
    times, bands = change.masks(one, [50, 3, 1], 20, 0.01)
    assert times.shape == (50, 3)
    assert bands.shape == (3, 20)
    assert times[:, 0].sum() <= 20
    assert not times[:, 2].any()  # one frame is never silenced
    assert bands.sum(1).max() <= 4
    nothing = Perturbation()
    assert nothing.noisy(one, sound) is sound
    assert nothing.rates(one, 2) == ([1.0, 1.0], [1.0, 1.0])
    assert not any(part.any() for part in nothing.masks(one, [9, 5], 20, 0.01))


def test_a_fast_tempo_never_leaves_too_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transcript that just fits at its own tempo keeps it."""
    sounds, text = [np.random.default_rng(0).normal(0, 0.1, 100 + 40 * 9).astype(np.float32)], "abcda"
    model = Transcriber(**{**SMALL, "epochs": 8, "tempo": 0.9}).fit(sounds, [text])
    assert model.module_.features.spec.steps(len(sounds[0])) == 5
    assert np.isfinite(model.summary_.last["train_loss"])


# -- what cannot be ----------------------------------------------------------------------------------------------------
SOUND = np.zeros(2000, np.float32)


@pytest.mark.parametrize(
    ("options", "X", "y", "message"),
    [
        ({}, [SOUND], None, "transcripts are missing"),
        ({}, [SOUND], ["a", "b"], "there are 1 sounds and 2 transcripts"),
        ({}, [], [], "there are no sounds"),
        ({}, [SOUND, SOUND], ["a", " "], "the sounds, number 2: the transcript is empty"),
        ({}, [SOUND, SOUND], ["a", None], "the sounds, number 2: the transcript is empty"),
        ({}, [SOUND, SOUND], ["a", 7], "number 2: a transcript is a text, not int"),
        ({}, "a.wav", ["a"], "the sounds must come as a list, a table or a Path"),
        (
            {},
            Table("t.csv", {"path": [SOUND, SOUND], "text": ["a", ""]}, [2, 3]),
            None,
            "t.csv, line 3: the transcript",
        ),
        ({"rate": None}, [SOUND], ["a"], "set the option rate"),
        ({}, [SOUND[:300]], ["aaaa"], r"0\.07 s of sound are 3 steps, too few for a transcript that takes 7.*--stack"),
        ({}, [SOUND[:0]], ["a"], "has no samples"),
    ],
)
def test_data_that_cannot_be_learnt_from(options: dict[str, Any], X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Transcriber(**{**SMALL, **options}).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "letter"}, "is no level of tokens"),
        ({"normalise": "uterance"}, r"--normalise is 'uterance'.*did you mean 'utterance'"),
        ({"mels": 0}, "--mels must be"),
        ({"mels": 300}, "--mels 300 are too many"),
        ({"rate": 7.5}, "--rate must be a whole number"),
        ({"tempo": 1.0}, "--tempo must be a number from 0 to below 1"),
        ({"time_masks": -1}, "--time-masks must be a whole number, 0 or more"),
        ({"deltas": 1}, "--deltas must be true or false"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Transcriber(**{**SMALL, **options}).check()


def test_letters_never_met(model: Transcriber) -> None:
    sounds, texts = made(3, 0)
    with pytest.raises(
        DataError, match="number 2: the transcript holds 'é', which the sounds to learn from do not have"
    ):
        model.evaluate(sounds, [texts[0], "é", texts[2]])
    with pytest.raises(DataError, match="number 1: the transcript holds 'z'"):
        Transcriber(**SMALL).fit(sounds, texts, valid=(sounds, ["z", "a", "b"]))


def test_searches_that_cannot_be(model: Transcriber) -> None:
    for wrong in (0, 1.5, True):
        with pytest.raises(OptionError, match="--beam must be a whole number"):
            model.predict([SOUND], beam=wrong)
    with pytest.raises(OptionError, match="--lm-weight must be a finite number, not nan"):
        model.predict([SOUND], beam=2, weight=float("nan"))
    with pytest.raises(OptionError, match="has no weights yet"):
        Transcriber().predict([SOUND])


# -- error rates -------------------------------------------------------------------------------------------------------
def test_error_rates_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    random = np.random.default_rng(0)
    words = lambda least: " ".join(random.choice(list("abc"), random.integers(least, 9)))  # noqa: E731
    true, found = [words(1) for _ in range(60)], [words(0) for _ in range(60)]
    rate = error_rate([text.split() for text in true], [text.split() for text in found])
    assert np.isclose(rate, jiwer.wer(true, found))
    assert np.isclose(error_rate(true, found), jiwer.cer(true, found))
    assert edit_distance("kitten", "sitting") == 3
    assert [edit_distance("", "ab"), edit_distance("ab", ""), edit_distance("", "")] == [2, 2, 0]
    with pytest.raises(DataError, match="2 sequences against 1 found"):
        error_rate(["a", "b"], ["a"])


# -- files and the command line ----------------------------------------------------------------------------------------
def test_from_files_to_transcripts(model: Transcriber, files: Path, tmp_path: Path, run: Run) -> None:
    out, _ = run(
        "train", "transcribe", files / "list.tsv", "--test", files / "list.tsv", "--out", tmp_path / "m.elman",
        "--hidden-size", "4", "--num-layers", "1", "--mels", "8", "--epochs", "1", "--quiet",
    )  # fmt: skip
    assert "sounds of 4,000 Hz in 8 bands, gives characters (4 known)" in out
    assert "12 sounds" in out
    model.save(tmp_path / "good.elman")
    out, _ = run("evaluate", tmp_path / "good.elman", files / "list.tsv", "--json", "--beam", "4")
    assert json.loads(out)["character_error_rate"] < 0.1
    for words, said in (
        (["--lm-weight", "0.3"], "--lm-weight says how much a --language-model counts; give both"),
        (["--length-bonus", "0.3"], "--length-bonus is for a search; give --beam 8"),
        (["--picture", tmp_path], f"--picture {tmp_path} must end in .png"),
    ):
        assert said in run("predict", tmp_path / "good.elman", files, *words, code=2)[1]
    out, _ = run("predict", tmp_path / "good.elman", files, "--picture", tmp_path / "one.png")
    records = [json.loads(line) for line in out.splitlines()]
    assert [Path(record["path"]).name for record in records] == [f"{place:02}.wav" for place in range(12)]
    assert error_rate(made(12, 1)[1], [record["text"] for record in records]) < 0.1
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    out, _ = run("predict", tmp_path / "good.elman", files / "03.wav")
    assert json.loads(out)["text"] == records[3]["text"]
    out, _ = run("info", tmp_path / "good.elman")
    assert "transcriber of sounds" in out
    assert model.predict(files) == [record["text"] for record in records]


def test_another_rate_is_resampled_and_said(model: Transcriber, tmp_path: Path, run: Run) -> None:
    from elman.data.audio import resampled

    sound = spoken("abca", np.random.default_rng(8))
    write(tmp_path / "fast.wav", resampled(sound, RATE, 11025), 11025)
    with pytest.warns(UserWarning, match=r"another rate \(11,025 Hz\) than the model, which takes 4,000 Hz; resampled"):
        found = model.predict(tmp_path / "fast.wav")
    assert found == model.predict([sound]) == ["abca"]
    model.save(tmp_path / "m.elman")
    with warnings.catch_warnings(action="default"):
        out, err = run("predict", tmp_path / "m.elman", tmp_path / "fast.wav")
    assert json.loads(out)["text"] == "abca"
    assert re.fullmatch(r"elman: note: .*fast\.wav has another rate \(11,025 Hz\).*\n", err)


def test_bad_files_are_one_sentence(files: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    write(tmp_path / "none.wav", SOUND[:0])
    write(tmp_path / "good.wav", SOUND)
    for row, message in {
        "good.wav\ta\nmissing.wav\tb": "list.tsv, line 3: there is no file",
        "good.wav\ta\ntext.wav\tb": "list.tsv, line 3: ",
        "good.wav\ta\nnone.wav\tb": "none.wav holds no sound",
        "good.wav\ta\ngood.wav\t": "list.tsv, line 3: the transcript is empty",
    }.items():
        (tmp_path / "list.tsv").write_text(f"path\ttext\n{row}\n")
        out = tmp_path / "m.elman"
        assert message in run("train", "transcribe", tmp_path / "list.tsv", "--out", out, code=2)[1]
    (tmp_path / "list.tsv").write_text("path\ttext\ngood.wav\tx\n")
    words = ["train", "transcribe", files / "list.tsv", "--test", tmp_path / "list.tsv", "--out", tmp_path / "m.elman"]
    assert "line 2: the transcript holds 'x'" in run(*words, code=2)[1]
    assert "no column 'said'" in run(*words[:3], "--target", "said", code=2)[1]
    assert not list(tmp_path.glob("m.elman*"))
    assert "there is no file" in run("train", "transcribe", tmp_path / "nowhere", code=2)[1]
    assert "good.wav has no transcripts" in run("train", "transcribe", tmp_path / "good.wav", code=2)[1]


def test_false_claims_of_a_file(model: Transcriber, tmp_path: Path) -> None:
    from elman.runtime import model_file

    model.save(tmp_path / "m.elman")
    document, tensors = model_file.load(tmp_path / "m.elman")
    import msgspec

    for change in (
        {"vocabularies": {**document.vocabularies, "sound": {"rate": 10**12}}},
        {"vocabularies": {**document.vocabularies, "sound": {}}},
        {"options": {**document.options, "mels": 500, "window_ms": 1000.0}},
        {"options": {**document.options, "stack": 3}},
        {"options": {**document.options, "normalise": "no"}},
        {"scaling": {"mean": [0.0], "scale": [1.0]}},
    ):
        model_file.save(tmp_path / "false.elman", msgspec.structs.replace(document, **change), tensors)
        with pytest.raises(ModelFileError, match=r"cannot load .*false\.elman"):
            Transcriber.load(tmp_path / "false.elman")


# -- sounds larger than memory -----------------------------------------------------------------------------------------
def test_sounds_that_are_not_kept_teach_the_same_and_a_run_goes_on(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**SMALL, "epochs": 2, "batch_size": 4, "tempo": 0.2, "checkpoint_steps": 1, "valid_fraction": 0.2}
    kept = Transcriber(**options).fit(files / "list.tsv")
    monkeypatch.setattr(audio, "KEPT_SAMPLES", 0)
    before, count = module._Trainee.loss, 0

    def stopping(self: Any, batch: Any, carry: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return before(self, batch, carry)

    monkeypatch.setattr(module._Trainee, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        Transcriber(**options).fit(files / "list.tsv", folder=tmp_path / "run")
    monkeypatch.setattr(module._Trainee, "loss", before)
    read = Transcriber(**options).fit(files / "list.tsv", folder=tmp_path / "run", resume=True)
    assert read.summary_.best == kept.summary_.best
    for name, weight in kept.module_.named_parameters():
        assert torch.equal(weight, read.module_.get_parameter(name)), name


def test_a_folder_of_sounds_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning from 8 MB of samples, and validating, takes memory for what is kept and for a batch of 32 of 200."""
    monkeypatch.setattr(audio, "KEPT_SAMPLES", 20_000)
    monkeypatch.setattr(module, "MEASURED", 20)
    noise = np.random.default_rng(0).normal(0, 0.1, 10_000).astype(np.float32)
    for place in range(200):
        write(tmp_path / f"{place}.wav", noise)
        (tmp_path / f"{place}.txt").write_text("ab")
    options = {**SMALL, "epochs": 1, "batch_size": 8, "valid_fraction": 0.4, "time_masks": 0}
    Transcriber(**options).fit([SOUND, SOUND, SOUND], ["ab", "a", "b"])  # what is only loaded by the first to learn
    tracemalloc.start()
    try:
        Transcriber(**options).fit(tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 7 << 20  # all of them kept would take 8 MB more
