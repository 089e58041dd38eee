"""Taggers with a CRF: when there is one, what it chooses and how likely that is, files, the command line."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.cli import main
from elman.errors import OptionError
from elman.models import SequenceTagger, load
from elman.nn.crf import bio, obeys
from elman.runtime.inputs import shape

SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 8, "word_size": 6, "letter_size": 5, "letter_hidden_size": 4,
    "epochs": 1, "valid_fraction": 0.0, "patience": None,
}  # fmt: skip
WORDS = [["Ada", "Lovelace", "met", "Bob"], ["in", "New", "York", "today"], ["Bob", "slept"]] * 4
TAGS = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC", "I-LOC", "O"], ["B-PER", "O"]] * 4
IOB1 = [["I-PER", "I-PER", "O", "I-PER"], ["O", "I-LOC", "B-LOC", "O"], ["I-PER", "O"]] * 4
PARTS = [["N", "N", "V", "N"], ["P", "N", "N", "R"], ["N", "V"]] * 4
GOLDEN = Path(__file__).parent / "golden" / "tagger-softmax.elman"


@pytest.mark.parametrize(
    ("tags", "chosen", "rules"),
    [
        (TAGS, None, "bio"),
        (TAGS, True, "bio"),
        (TAGS, False, None),
        (IOB1, None, "free"),  # spans that begin with I-: rules would forbid what is right
        (PARTS, None, None),
        (PARTS, True, "free"),
    ],
)
def test_when_there_is_a_crf(tags: list[list[str]], chosen: bool | None, rules: str | None) -> None:
    model = SequenceTagger(**SMALL, crf=chosen).fit(WORDS, tags)
    assert model.crf_ == rules
    assert (model.module_.crf is None) == (rules is None)
    assert [len(own) for own in model.predict(WORDS)] == [len(words) for words in WORDS]


def ranked(model: SequenceTagger, words: list[str]) -> list[tuple[float, tuple[int, ...]]]:
    """Every sequence of tags that is allowed with its probability, likeliest first."""
    with torch.no_grad():
        logits = model.module_(model.batch([words]))[:, 0].double().numpy()
    crf, tags = model.module_.crf, len(model.classes_)
    weights = [np.zeros((tags, tags)), np.zeros(tags), np.zeros(tags)]
    if crf is not None:
        weights = [w.detach().double().numpy() for w in (crf.transitions, crf.start, crf.end)]
    rules = bio(model.classes_) if model.crf_ == "bio" else None
    found = []
    for path in itertools.product(range(tags), repeat=len(words)):
        if rules is None or obeys(rules, np.array(path)):
            score = weights[1][path[0]] + weights[2][path[-1]] + logits[np.arange(len(path)), list(path)].sum()
            found.append((math.exp(score + sum(weights[0][a, b] for a, b in itertools.pairwise(path))), path))
    total = sum(weight for weight, _ in found)
    return sorted(((weight / total, path) for weight, path in found), reverse=True)


@pytest.mark.parametrize("options", [{}, {"crf": False}, {"crf": True, "shape_size": 3}])
@pytest.mark.parametrize("tags", [TAGS, PARTS])
def test_predictions_are_those_of_enumeration(tags: list[list[str]], options: dict[str, Any]) -> None:
    model = SequenceTagger(**SMALL, **options).fit(WORDS, tags)
    if model.module_.crf is not None:
        with torch.no_grad():
            for weight in model.module_.crf.parameters():
                weight.normal_()
    sentences = [["Bob", "met", "Ada"], [], ["unseen"], ["in", "Paris", "Ada", "Bob"]]
    best = model.predict_nbest(sentences, 6)
    for words, tagged, shares, several in zip(
        sentences, model.predict(sentences), model.predict_proba(sentences), best
    ):
        if not words:
            assert (tagged, several, shares.shape) == ([], [([], 1.0)], (0, len(model.classes_)))
            continue
        every = ranked(model, words)
        assert tagged == [model.classes_[tag] for tag in every[0][1]]
        assert len(several) == min(6, len(every))
        for (found, p), (expected, path) in zip(several, every):
            assert found == [model.classes_[tag] for tag in path]
            assert p == pytest.approx(expected, rel=1e-5)
        wanted = np.zeros_like(shares)
        for p, path in every:
            wanted[np.arange(len(path)), list(path)] += p
        assert np.allclose(shares, wanted, atol=1e-6)


def test_spans_are_sound_whatever_the_network_says() -> None:
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    with torch.no_grad():
        model.module_.head[-1].bias[model.classes_.index("I-PER")] = 100
    sentences = [["Ada", "York", "x", "in", "Bob"] * k for k in range(1, 9)]
    rules = bio(model.classes_)
    numbers = [model.tags_.encode(tags) for tags in model.predict(sentences)]
    assert all(obeys(rules, own) for own in numbers)
    free = SequenceTagger(**SMALL, crf=False).fit(WORDS, TAGS)
    free.module_.load_state_dict(model.module_.state_dict(), strict=False)
    assert free.predict(sentences)[0] == ["I-PER"] * 5


def test_it_learns_what_no_word_tells() -> None:
    """Every word is the same, and the tags alternate from a start that nothing tells: known one, known all. Word by
    word the loss cannot be below log 2; for the whole sequence log 2 is enough, 1/8 of it a word."""
    generator = np.random.default_rng(0)
    tags = [["a", "b"] * 4 if bit else ["b", "a"] * 4 for bit in generator.integers(0, 2, 60)]
    sentences = [["x"] * 8] * 60
    options = {**SMALL, "epochs": 30, "lr": 0.03, "dropout": 0.0, "word_dropout": 0.0}
    losses = {crf: SequenceTagger(**options, crf=crf).fit(sentences, tags) for crf in (True, False)}
    assert losses[False].evaluate(sentences, tags)["loss"] > 0.95 * math.log(2)
    assert losses[True].evaluate(sentences, tags)["loss"] < 2 * math.log(2) / 8
    assert losses[True].predict([["x"] * 8])[0] in (["a", "b"] * 4, ["b", "a"] * 4)
    two = losses[True].predict_nbest([["x"] * 5], 2)[0]
    assert {tuple(tags) for tags, _ in two} == {tuple("ababa"), tuple("babab")}


def test_the_loss_is_of_whole_sequences_a_word() -> None:
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    loss = model.evaluate(WORDS[:3], TAGS[:3])["loss"]
    model.module_.crf._allowed = None  # the loss is that of the model over all sequences
    model.crf_ = "free"
    nats = 0.0
    for words, tags in zip(WORDS[:3], TAGS[:3]):
        path = tuple(model.tags_.encode(tags))
        nats -= math.log(next(p for p, own in ranked(model, words) if own == path))
    assert loss == pytest.approx(nats / 10, rel=1e-5)


def test_a_sentence_that_breaks_the_rules_has_a_loss() -> None:
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    assert math.isfinite(model.evaluate([["Bob", "slept"]], [["I-LOC", "I-PER"]])["loss"])


# -- files and the command line ----------------------------------------------------------------------------------------
def test_a_model_of_an_older_elman_says_what_it_said() -> None:
    """Written before there was a CRF, or shapes; the numbers are those that it gave then."""
    model = load(GOLDEN)
    assert model.crf_ is None
    expected = [[0.38224278, 0.28123069, 0.33652653], [0.46651180, 0.36959987, 0.16388833]]
    assert np.allclose(model.predict_proba([["Bob", "unseen"]])[0], expected, atol=1e-6)
    assert model.predict([["Ada", "met", "Bob"], ["in", "Oslo"]]) == [["O", "B-LOC", "B-PER"], ["B-LOC", "B-LOC"]]


def test_saved_loaded_elsewhere_and_asked_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "spans.elman", tmp_path / "data.jsonl"
    lines = [json.dumps({"tokens": words, "tags": tags}) for words, tags in zip(WORDS, TAGS)]
    data.write_text("\n".join(lines))
    options = ["--hidden-size", "8", "--epochs", "15", "--lr", "0.03", "--shape-size", "4", "--quiet"]
    assert main(["train", "tag", str(data), "--valid", str(data), "--out", str(path), *options]) == 0
    assert "chosen together (CRF, BIO)" in capsys.readouterr().out
    model = load(path)
    assert model.score(WORDS, TAGS) > 0.8  # all O: 0
    code = f"from elman.models import load; print(load({str(path)!r}).predict_nbest([['Ada', 'Smith']], 2))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert fresh.stdout.strip() == str(model.predict_nbest([["Ada", "Smith"]], 2))
    assert main(["predict", str(path), str(data), "--n-best", "3"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["tags"] == first["n_best"][0]["tags"] == model.predict(WORDS[:1])[0]
    assert [len(one["tags"]) for one in first["n_best"]] == [4] * 3
    shares = [one["probability"] for one in first["n_best"]]
    assert 1 >= shares[0] >= shares[1] >= shares[2] > 0
    assert main(["info", str(path)]) == 0
    assert "crf: " not in capsys.readouterr().out
    for wrong in ("0", "1001", "many"):
        assert main(["predict", str(path), str(data), "--n-best", wrong]) == 2
        assert "--n-best must be a whole number" in capsys.readouterr().err


def test_wrong_options_are_one_sentence() -> None:
    with pytest.raises(OptionError, match="--crf must be true or false, not 1"):
        SequenceTagger(crf=1).fit(WORDS, TAGS)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--shape-size must be a whole number, 0 or more"):
        SequenceTagger(shape_size=-1).fit(WORDS, TAGS)
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    for wrong in (0, 1.0, True, 10**6):
        with pytest.raises(OptionError, match="--n-best must be a whole number from 1 to 1,000"):
            model.predict_nbest(WORDS, wrong)  # type: ignore[arg-type]


# -- shapes ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Oslo", "Xxx"), ("McDonald", "XxXxx"), ("NATO", "XX"), ("U.S.", "X.X."), ("1,024", "0,00"), ("don't", "xx'x"),
        ("a", "x"), ("", ""), ("...", ".."), ("Éric", "Xxx"), ("北京", "xx"), ("4x4", "0x0"), ("\n\n\n", "\n\n"),
    ],
)  # fmt: skip
def test_shapes_of_words(word: str, expected: str) -> None:
    assert shape(word) == expected


def test_shapes_tell_what_neither_words_nor_letters_do() -> None:
    generator = np.random.default_rng(0)
    stems = ["".join(generator.choice(list("bdklmnprst"), 4)) for _ in range(120)]
    words = [stem.title() if k % 2 else stem for k, stem in enumerate(stems)]
    sentences, tags = [[word] for word in words], [["N" if word[0].isupper() else "V"] for word in words]
    options = {**SMALL, "epochs": 15, "lr": 0.03, "letter_hidden_size": 0, "word_dropout": 0.5}
    scores = {
        size: SequenceTagger(**options, shape_size=size).fit(sentences[:80], tags[:80]).score(sentences[80:], tags[80:])
        for size in (0, 4)
    }
    assert scores[4] == 1.0
    assert scores[0] < 0.8
