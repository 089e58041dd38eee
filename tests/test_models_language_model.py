"""Language models: truncated BPTT against hand-written loops, figures against direct sums, generation, options."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from elman.cli import main
from elman.data import read_text
from elman.errors import DataError, ElmanError, OptionError
from elman.models import LanguageModel
from elman.models.language import language_model as module
from elman.models.language.ngram import character_bits
from elman.models.language.text import hold_out
from elman.models.language.training import IGNORED, LanguageTrainee
from elman.runtime import model_file
from elman.runtime.stream import Stream

START, END = "<s>", "</s>"
SMALL: dict[str, Any] = {"hidden_size": 8, "embedding_size": 5, "batch_size": 4, "epochs": 1}


def untrained(text: Any, **options: Any) -> LanguageModel:
    """A model as `fit` makes it, in float64, before the first step."""
    model = LanguageModel(**{**SMALL, "valid_fraction": 0.0, **options})
    model.check()
    model._learn_tokens(model._documents(text))
    model.module_ = model._network().double()
    model.module_.eval()
    return model


def trainee(text: str, **options: Any) -> LanguageTrainee:
    model = untrained(text, **options)
    stream = model._encode(model._documents(text))
    one = LanguageTrainee(model, model.module_, stream, model.vocabulary_.start_index, dict)
    one.inputs, one.targets = map(torch.from_numpy, one.read(range(one.steps)))
    return one


def windows(one: LanguageTrainee) -> list[tuple[Tensor, int]]:
    carry, found = None, []
    for window in one.epoch(0):
        loss, units, carry = one.loss(window, carry)
        found.append((loss, units))
    return found


def gradient(model: torch.nn.Module, loss: Tensor) -> Tensor:
    parts = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(model.parameters(), parts)])


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """The summed loss, start tokens left out."""
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs! " * 2


# -- truncated backpropagation through time ----------------------------------------------------------------------------
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("windows_back", [1, 3])
def test_windows_with_carried_state_add_up_to_the_whole(cell: str, windows_back: int) -> None:
    one = trainee(TEXT, cell=cell, num_layers=2, bptt=7, bptt_reach=7 * windows_back)
    whole = nats(one.module(one.inputs)[0], one.targets)
    pieces = windows(one)
    assert sum(units for _, units in pieces) == int((one.targets != IGNORED).sum())
    assert sum(loss.item() * units for loss, units in pieces) == pytest.approx(whole.item(), rel=1e-12)


def by_hand(one: LanguageTrainee, k1: int, reach: int) -> list[Tensor]:
    """The gradient of every window's loss; it flows through `reach` windows, the state before them is a constant."""
    states: list[Any] = [None]  # at the start of every window
    gradients = []
    with torch.no_grad():
        for start in range(0, len(one.inputs), k1):
            states.append(one.module(one.inputs[start : start + k1], states[-1])[1])
    for number, start in enumerate(range(0, len(one.inputs), k1)):
        first = max(0, number - reach + 1)
        state = states[first]
        for begin in range(first * k1, start + 1, k1):
            logits, state = one.module(one.inputs[begin : begin + k1], state)
        targets = one.targets[start : start + k1]
        gradients.append(gradient(one.module, nats(logits, targets) / (targets != IGNORED).sum()))
    return gradients


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_the_gradient_is_that_of_hand_written_truncated_bptt(reach: int) -> None:
    one = trainee(TEXT, cell="gru", bptt=6, bptt_reach=6 * reach)
    expected = by_hand(one, 6, reach)
    found = [gradient(one.module, loss) for loss, _ in windows(one)]
    assert len(found) == len(expected) == -(-len(one.inputs) // 6)
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    if reach > 1:  # the reach matters: with one window less the gradients differ
        shorter = by_hand(one, 6, reach - 1)
        assert (found[reach] - shorter[reach]).abs().max() > 1e-6


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (4, 12), (3, 9), (5, 10)])
def test_the_gradient_reaches_exactly_k2_steps_back(k1: int, k2: int) -> None:
    letters = "".join(chr(ord("A") + i) for i in range(40))  # every step has an embedding of its own
    one = trainee(letters, batch_size=1, bptt=k1, bptt_reach=k2)
    carry = None
    for window in one.epoch(0):
        loss, _, carry = one.loss(window, carry)
        start = window.start
        one.module.zero_grad()
        loss.backward()
        reached = one.module.embedding.weight.grad.abs().sum(1)[one.inputs[:, 0]] > 0
        stop = min(start + k1, len(one.inputs))
        expected = range(max(0, start + k1 - k2), stop)
        assert reached.nonzero().flatten().tolist() == list(expected), f"window at {start}"


def test_with_a_reach_over_the_whole_text_it_is_full_bptt() -> None:
    one = trainee(TEXT, bptt=10, bptt_reach=1000)
    whole = gradient(one.module, nats(one.module(one.inputs)[0], one.targets))
    total = sum(units * gradient(one.module, loss) for loss, units in windows(one))
    torch.testing.assert_close(total, whole, rtol=1e-9, atol=1e-12)


def test_the_carried_states_are_detached_tensors() -> None:
    one = trainee(TEXT, bptt=5, bptt_reach=15)
    carry = None
    for window in one.epoch(0)[:5]:
        _, _, carry = one.loss(window, carry)
        tensors = [t for states in carry for part in states for t in part]
        assert all(isinstance(t, Tensor) and not t.requires_grad for t in tensors)
    assert len(carry) == 3


def test_a_window_without_anything_to_predict_does_no_harm() -> None:
    model = LanguageModel(**{**SMALL, "batch_size": 1}, bptt=1, lines=True, valid_fraction=0).fit("a\nb\nab\n" * 3)
    assert all(torch.isfinite(p).all() for p in model.module_.parameters())


# -- figures -----------------------------------------------------------------------------------------------------------
def step_by_step(model: LanguageModel, tokens: list[str]) -> float:
    """Nats of all tokens but the first and the start tokens, one step at a time."""
    total, state = 0.0, None
    for before, after in pairwise(tokens):
        number = torch.tensor([[model.vocabulary_.index(before)]])
        logits, state = model.module_(number, state)
        if after != START:
            total -= log_softmax(logits[0, 0].detach(), 0)[model.vocabulary_.index(after)].item()
    return total


def test_figures_of_lines_agree_with_a_direct_computation() -> None:
    model = untrained("abc\nbca\ncab", lines=True)
    figures = model.evaluate("ab\n\ncc?\n")
    total = step_by_step(model, [START, "a", "b", END, START, "c", "c", "?", END])
    assert figures["loss"] == pytest.approx(total / 7, rel=1e-9)  # 5 letters and 2 ends, no starts
    assert figures["perplexity"] == pytest.approx(math.exp(total / 7), rel=1e-9)
    assert figures["bits_per_character"] == pytest.approx(total / 7 / math.log(2), rel=1e-9)
    assert figures["unknown"] == pytest.approx(1 / 5)


def test_figures_of_words_count_the_characters_of_the_text() -> None:
    model = untrained("the cat sat.\na dog ran.", level="word")
    figures = model.evaluate("the dog sat.\nthe bird ran.")
    total = step_by_step(model, [START, "the", "dog", "sat", ".", END, START, "the", "bird", "ran", ".", END])
    assert figures["loss"] == pytest.approx(total / 10, rel=1e-9)
    assert figures["bits_per_character"] == pytest.approx(total / math.log(2) / len("the dog sat.\nthe bird ran.\n"))
    assert figures["unknown"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("length", [2, 3, 3999, 4000, 4001, 6017, 9123])
def test_parallel_rows_count_every_token_exactly_once(length: int) -> None:
    model = untrained("abcdef" * 3)
    torch.nn.init.zeros_(model.module_.output.weight)  # no memory: every place has the loss of its token
    torch.nn.init.normal_(model.module_.output.bias)
    stream = np.random.default_rng(length).integers(0, len(model.vocabulary_), length)
    total, count = model._nats(stream)
    losses = -log_softmax(model.module_.output.bias, 0).detach().numpy()
    counted = [token for token in stream[1:] if token != model.vocabulary_.start_index]
    assert count == len(counted)
    assert total == pytest.approx(losses[counted].sum(), rel=1e-12)


def test_figures_do_not_depend_on_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(TEXT)
    before = model.evaluate(TEXT)
    monkeypatch.setattr(module, "WINDOW", 13)
    assert model.evaluate(TEXT) == pytest.approx(before, rel=1e-12)
    monkeypatch.setattr(module, "MOST_LOGITS", 1)
    assert model.evaluate(TEXT) == pytest.approx(before, rel=1e-12)


def test_unknown_characters_are_read_as_unknown() -> None:
    model = untrained("abc" * 10)
    assert model.evaluate("a§b")["unknown"] == pytest.approx(1 / 3)
    assert model.evaluate("a§b")["loss"] == pytest.approx(model.evaluate("a¶b")["loss"])


def test_a_start_or_end_mark_written_in_the_text_is_only_a_word() -> None:
    model = untrained("say </s> or <s> now", level="space")
    counted = model._nats(model._encode(["<s> say </s>"]))[1]
    assert counted == 4
    assert model.score(["<s> </s>"])[0]["log_probability"] == model.score(["x y"])[0]["log_probability"]


def test_a_whole_text_and_its_lines() -> None:
    text = "ab\ncd\n\nef"
    assert untrained(text)._documents(text) == [text]
    assert untrained(text, lines=True)._documents(text) == ["ab", "cd", "ef"]
    assert untrained(text, level="word")._documents(text) == ["ab", "cd", "ef"]
    assert untrained(text, level="word", lines=False)._documents(text) == [text]
    assert untrained(text, level="subword")._documents(["a, b", "c\n \nd"]) == ["a, b", "c", "d"]


# -- subwords ----------------------------------------------------------------------------------------------------------
RHYME = "the cats sleep by the stove.\nthe cat sleeps on the stove.\nthe dogs sleep, the dog sleeps.\n" * 12


def test_subwords_are_learnt_and_a_fresh_process_says_the_same(tmp_path: Path) -> None:
    options: dict[str, Any] = {"hidden_size": 32, "bptt": 12, "epochs": 30, "lr": 0.01, "batch_size": 4}
    model = LanguageModel(level="subword", max_vocabulary=40, valid_fraction=0.0, **options).fit(RHYME)
    assert len(model.vocabulary_) == 40
    figures = model.evaluate(RHYME)
    assert figures["unknown"] == 0.0
    assert figures["bits_per_character"] < 0.5  # five times less than the frequencies of the letters give
    model.save(tmp_path / "m.elman")
    script = "\n".join(
        (
            "from elman.models import load",
            f"model = load({str(tmp_path / 'm.elman')!r})",
            "print(model.generate('the dog', 30, temperature=0), model.score(['the zoo sleeps.']), sep='|')",
        )
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert told == f"{model.generate('the dog', 30, temperature=0)}|{model.score(['the zoo sleeps.'])}"
    assert told.startswith("the dog")
    assert told.split("|")[0] in RHYME


def test_what_is_streamed_joins_to_what_is_generated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for level in ("char", "word", "space", "subword"):
        model = LanguageModel(**{**SMALL, "epochs": 2}, level=level, valid_fraction=0.0, bptt=8).fit(RHYME)
        model.save(tmp_path / f"{level}.elman")
        for prompt in ("", "the", "the cat ,"):
            wanted = model.generate(prompt, 25, seed=3, temperature=2.0)
            more = ["--length", "25", "--seed", "3", "--temperature", "2"]
            assert main(["generate", str(tmp_path / f"{level}.elman"), "--prompt", prompt, *more]) == 0
            assert capsys.readouterr().out.rstrip() == wanted.rstrip()


def test_the_runtime_reads_subwords_by_name(tmp_path: Path) -> None:
    model = LanguageModel(**SMALL, level="subword", max_vocabulary=40, valid_fraction=0.0, bptt=8).fit(RHYME)
    model.save(tmp_path / "m.elman")
    pieces = ["<s>", *model.tokenizer_.tokenize("the dog sleeps.")]
    with torch.no_grad():
        logits, _ = model.module_(torch.from_numpy(model.vocabulary_.encode(pieces))[:, None])
    found = Stream(tmp_path / "m.elman").run(pieces)
    assert found == pytest.approx(logits[:, 0].numpy(), abs=1e-5)


@pytest.mark.parametrize("damage", ["no merges", "unknown parts", "another level"])
def test_damaged_subwords_are_refused(tmp_path: Path, damage: str) -> None:
    model = LanguageModel(**SMALL, level="subword", max_vocabulary=40, valid_fraction=0.0, bptt=8).fit(RHYME)
    model.save(tmp_path / "m.elman")
    document, tensors = model_file.load(tmp_path / "m.elman")
    if damage == "no merges":
        del document.vocabularies["tokens_merges"]
    elif damage == "unknown parts":
        document.vocabularies["tokens_merges"]["merges"][0] = "no such"
    else:
        document.options["level"] = "subwords"
    model_file.save(tmp_path / "bad.elman", document, tensors)
    with pytest.raises(ElmanError, match=r"merges must be a list|joins no two|no level of tokens"):
        LanguageModel.load(tmp_path / "bad.elman")


def test_a_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abab" * 20)
    model = LanguageModel(**SMALL, bptt=5).fit(tmp_path / "text.txt")
    assert model.evaluate(tmp_path / "text.txt") == model.evaluate("abab" * 20)


# -- what is held out --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("documents", "kept", "held_out"),
    [
        (["abcdefghij"], ["abcdefgh"], ["ij"]),
        (["a" * 18, "b"], ["a" * 15], ["aaa", "b"]),  # the last document alone would be too little
        (["a" * 10, "b" * 10], ["a" * 10, "b" * 6], ["b" * 4]),
        ([*"abcdefghij"], [*"abcdefgh"], [*"ij"]),
        (["ab"], ["a"], ["b"]),
    ],
)
def test_the_last_part_is_held_out(documents: list[str], kept: list[str], held_out: list[str]) -> None:
    assert hold_out(documents, 0.2, words=False) == (kept, held_out)


@pytest.mark.parametrize(
    ("documents", "kept", "held_out"),
    [
        (["one two three four"], ["one two three"], [" four"]),
        (["one two three", "x"], ["one two"], [" three", "x"]),
        (["one\ttwo three  x"], ["one\ttwo three"], ["  x"]),
        (["onetwothree"], ["onetwothr"], ["ee"]),
    ],
)
def test_no_word_is_cut(documents: list[str], kept: list[str], held_out: list[str]) -> None:
    assert hold_out(documents, 0.2, words=True) == (kept, held_out)


def test_too_little_tohold_out() -> None:
    with pytest.raises(DataError, match="too short to hold out"):
        LanguageModel(**SMALL).fit("a")
    LanguageModel(**SMALL, valid_fraction=0).fit("a")


def test_validation_on_the_text_given() -> None:
    model = LanguageModel(**SMALL, bptt=5).fit("abcabc" * 10, valid="cba")
    assert model.summary_.best["loss"] == pytest.approx(model.evaluate("cba")["loss"], rel=1e-6)


# -- tied embeddings ---------------------------------------------------------------------------------------------------
def test_tied_embeddings_share_one_matrix(tmp_path: Path) -> None:
    options = {**SMALL, "embedding_size": None, "tied": True, "bptt": 5}
    model = LanguageModel(**options).fit("abcabc" * 10)
    network = model.module_
    assert network.output.weight is network.embedding.weight
    assert "output.weight" not in dict(network.named_parameters())
    model.save(tmp_path / "tied.elman")
    again = LanguageModel.load(tmp_path / "tied.elman")
    assert again.module_.output.weight is again.module_.embedding.weight
    assert again.score(["abc"]) == model.score(["abc"])
    free = LanguageModel(**{**options, "tied": False}).fit("abcabc" * 10)
    assert free.module_.output.weight is not free.module_.embedding.weight


def test_tied_embeddings_must_be_as_wide_as_the_output() -> None:
    with pytest.raises(OptionError, match="--embedding-size 8"):
        LanguageModel(**SMALL, tied=True).fit("abcabc" * 10)


# -- scores ------------------------------------------------------------------------------------------------------------
def test_scores_are_sums_of_log_probabilities() -> None:
    model = untrained("abc", num_layers=2)
    for sentence, score in zip(["", "a", "cab?"], model.score(["", "a", "cab?"])):
        total = step_by_step(model, [START, *sentence, END])
        assert score["log_probability"] == pytest.approx(-total, rel=1e-9)
        assert score["tokens"] == len(sentence) + 1
        assert score["perplexity"] == pytest.approx(math.exp(total / (len(sentence) + 1)), rel=1e-9)


@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole"])  # one that torch fuses, one by the interpreter
def test_scores_are_independent_of_batching_and_order(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained("abc", cell=cell)
    generator = np.random.default_rng(0)
    sentences = ["".join(generator.choice(list("abc"), size)) for size in [0, 1, 40, 7, 3, 25, 1, 12]]
    alone = [model.score([s])[0]["log_probability"] for s in sentences]
    monkeypatch.setattr(module, "WINDOW", 9)
    for size in (1, 3, 64):
        together = [one["log_probability"] for one in model.score(sentences, batch_size=size)]
        assert together == pytest.approx(alone, rel=1e-10)
    backwards = [one["log_probability"] for one in model.score(sentences[::-1])]
    assert backwards[::-1] == pytest.approx(alone, rel=1e-10)
    assert model.score([]) == []
    assert model.predict(sentences[:2]) == model.score(sentences[:2])


# -- generation --------------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_text() -> None:
    model = untrained("abcdefgh")
    torch.nn.init.constant_(model.module_.output.bias[model.vocabulary_.end_index], -100.0)
    texts = [model.generate("ab", 50, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("ab")
    assert len(texts[0]) == 52
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model.generate("ab", 5, seed=9)
    assert torch.rand(1) == expected  # it has a generator of its own


def greedy(model: LanguageModel, prompt: str, length: int) -> str:
    text = prompt
    v = model.vocabulary_
    for _ in range(length):
        logits, _ = model.module_(torch.tensor([[v.start_index]] + [[v.index(c)] for c in text]))
        logits[-1, 0, [v.unknown_index, v.start_index]] = -math.inf
        token = int(logits[-1, 0].argmax())
        if token == v.end_index:
            break
        text += v.tokens[token]
    return text


@pytest.mark.parametrize("how", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-300}])
def test_greedy_ways(how: dict[str, Any]) -> None:
    model = untrained("abcdefgh", hidden_size=16)
    torch.nn.init.normal_(model.module_.output.weight)
    expected = greedy(model, "ca", 30)
    assert len(expected) > 10
    assert model.generate("ca", 30, **how) == expected


def test_a_long_prompt_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained("abcdefgh")
    whole = model.generate("abcdefgh" * 10, 20, seed=1)
    monkeypatch.setattr(module, "WINDOW", 7)
    assert model.generate("abcdefgh" * 10, 20, seed=1) == whole


def test_unknown_and_start_are_never_drawn_and_the_end_ends() -> None:
    model = untrained("ab")
    v, bias = model.vocabulary_, model.module_.output.bias.data
    bias[[v.unknown_index, v.start_index]] = 50.0
    bias[v.end_index] = -50.0
    for how in ({}, {"temperature": 0}, {"top_k": 1}, {"top_k": 2}, {"top_p": 0.5}):
        assert set(model.generate("§", 40, seed=0, **how)[1:]) <= set("ab"), how
    bias[v.end_index] = 50.0
    assert model.generate("ab", 40, seed=0) == "ab"
    assert list(model.stream("ab", 0)) == []


def test_words_are_put_together_as_text() -> None:
    model = LanguageModel(**{**SMALL, "epochs": 30, "lr": 0.03}, level="word", bptt=8, valid_fraction=0)
    model.fit("the cat, it seems, sat.\n" * 40)
    assert model.generate("the cat", 20, temperature=0) == "the cat, it seems, sat."


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": -1}, "--temperature"),
        ({"temperature": math.nan}, "--temperature"),
        ({"temperature": math.inf}, "--temperature"),
        ({"top_k": 0}, "--top-k"),
        ({"top_k": 1.5}, "--top-k"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.1}, "--top-p"),
        ({"top_p": math.nan}, "--top-p"),
        ({"length": -1}, "--length"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**70}, "--seed"),
    ],
)
def test_bad_ways_to_generate(how: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        untrained("ab").stream("a", **{"length": 5, **how})  # at once, not when the first token is drawn


# -- options and inputs ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bptt": 0}, "--bptt must be a whole number"),
        ({"bptt": 2.5}, "--bptt must be a whole number"),
        ({"bptt": 10, "bptt_reach": 15}, r"--bptt-reach must be a multiple of --bptt \(10\)"),
        ({"bptt": 10, "bptt_reach": 5}, "multiple"),
        ({"bptt_reach": 0}, "--bptt-reach must be a whole number"),
        ({"level": "words"}, "did you mean 'word'"),
        ({"embedding_size": 0}, "--embedding-size"),
        ({"embedding_size": -3}, "--embedding-size"),
        ({"min_count": 0}, "--min-count"),
        ({"max_vocabulary": 0}, "--max-vocabulary"),
        ({"max_vocabulary": 3}, "--max-vocabulary must be a whole number, 4 or more"),
        ({"hidden_size": 0}, "--hidden-size"),
        ({"hidden_size": True}, "--hidden-size"),
        ({"dropout": 1.0}, "--dropout"),
        ({"dropout": "0.5"}, "--dropout"),
        ({"valid_fraction": math.nan}, "--valid-fraction"),
        ({"cell": "lstn"}, "did you mean 'lstm'"),
        ({"cell": ["lstm", "gru"]}, "cell"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"device": "nowhere"}, "--device"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LanguageModel(**{**SMALL, **options}).fit("abcabc" * 20)


@pytest.mark.parametrize("text", ["", [], ["", ""], "\n\n"])
def test_an_empty_text(text: Any) -> None:
    lines = LanguageModel(**SMALL, lines=True)
    with pytest.raises(DataError, match="the text to learn from is empty"):
        lines.fit(text)
    with pytest.raises(DataError, match="the text for validation is empty"):
        lines.fit("abcabc", valid=text)
    with pytest.raises(DataError, match="the text to evaluate is empty"):
        untrained("ab", lines=True).evaluate(text)


@pytest.mark.parametrize("text", [None, 5, [1, 2], b"bytes", ["a", None]])
def test_what_is_no_text(text: Any) -> None:
    with pytest.raises(DataError, match="a text, a list of texts or a Path"):
        LanguageModel(**SMALL).fit(text)
    with pytest.raises(DataError, match="sentence"):
        untrained("ab").score("one text" if text is None else text)


def test_without_weights_and_after_a_failed_fit() -> None:
    model = LanguageModel(**SMALL, bptt=5)
    for act in (lambda: model.evaluate("a"), lambda: model.score(["a"]), lambda: model.generate("a")):
        with pytest.raises(OptionError, match="call fit, or load a model file"):
            act()
    model.fit("abcabc" * 10)
    with pytest.raises(OptionError, match="tied"):
        model.set_params(tied=True).fit("xyz" * 10)
    assert not model.fitted  # rather than new tokens over old weights


def test_options_in_the_manner_of_scikit_learn() -> None:
    from sklearn.base import clone

    model = LanguageModel(**SMALL, cell=["gru"])
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(bptt=7).bptt == 7
    with pytest.raises(OptionError, match=r"no option 'bpt' \(did you mean 'bptt'\?\)"):
        model.set_params(bpt=7)
    assert repr(LanguageModel(bptt=7, tied=True)) == "LanguageModel(tied=True, bptt=7)"


# -- learning ----------------------------------------------------------------------------------------------------------
def test_learns_a_repeating_pattern() -> None:
    model = LanguageModel(hidden_size=16, embedding_size=8, batch_size=4, bptt=20, lr=0.02, epochs=12)
    model.fit("abacad" * 150)
    assert model.evaluate("abacad" * 400)["loss"] < 0.03  # of which start and end are about 0.005
    assert model.generate("abac", 14, temperature=0) == "abacadabacadabacad"


def test_two_fits_give_the_same_weights() -> None:
    options = {**SMALL, "bptt": 5, "dropout": 0.3, "epochs": 2, "bptt_reach": 10}
    one, two, other = (LanguageModel(**options, seed=seed).fit("hello world " * 10) for seed in (1, 1, 2))
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name)), name
    assert not torch.equal(one.module_.embedding.weight, other.module_.embedding.weight)


def test_learns_from_shakespeare(shared_data: Path) -> None:
    text = read_text(shared_data / "tinyshakespeare" / "input.txt.gz")[:20_000]
    cut = 18_000
    model = LanguageModel(cell="gru", hidden_size=64, embedding_size=32, bptt=32, batch_size=16, epochs=4, lr=0.01)
    model.fit(text[:cut], valid=text[cut:])
    assert model.evaluate(text[cut:])["bits_per_character"] < character_bits(text[:cut], text[cut:], 0) - 0.8


# -- the baselines -----------------------------------------------------------------------------------------------------
def test_count_model_by_hand() -> None:
    # "aab": P(a) = (2 + 2/3)/5, P(b) = (1 + 2/3)/5, any other (0 + 2/3)/5; P(b | a) = (1 + 2·P(b))/4.
    assert character_bits("aab", "ab", 0) == pytest.approx(-math.log2(8 / 15 * 1 / 3) / 2)
    assert character_bits("aab", "ab", 1) == pytest.approx(-math.log2(8 / 15 * 5 / 12) / 2)
    assert character_bits("aab", "c", 1) == pytest.approx(-math.log2(2 / 15))
    assert character_bits("aab", "ba", 1) == pytest.approx(-math.log2(1 / 3 * 8 / 15) / 2)  # b was never a context


def test_more_context_is_better_on_text() -> None:
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics))[:60_000]
    bits = [character_bits(text[:50_000], text[50_000:], order) for order in (0, 1, 3)]
    assert bits[0] > bits[1] + 0.5 > bits[2] + 1
