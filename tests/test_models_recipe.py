"""The strong recipe of language models: each of its parts against its definition, and all of them together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from elman.cli import main
from elman.errors import OptionError
from elman.models import LanguageModel
from elman.models.language.ngram import character_bits
from elman.models.language.training import IGNORED, LEAST, LanguageTrainee, windows
from elman.models.options import RECIPES
from elman.nn.loss import sampled_cross_entropy

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs! " * 2
SMALL: dict[str, Any] = {"hidden_size": 8, "embedding_size": 6, "batch_size": 4, "bptt": 7, "valid_fraction": 0.0}


def trainee(text: str = TEXT, **options: Any) -> LanguageTrainee:
    """What trains a model of weights that were hardly trained, in float64."""
    model = LanguageModel(**{**SMALL, "epochs": 1, **options}).fit(text)
    model.module_.double()
    return again(model, text)


def again(model: LanguageModel, text: str) -> LanguageTrainee:
    """What trains a model further."""
    model.module_.train()
    stream = model._encode([text])
    one = LanguageTrainee(model, model.module_, stream, model.vocabulary_.start_index, dict)
    one.inputs, one.targets = map(torch.from_numpy, one.read(range(one.steps)))
    return one


# -- the preset --------------------------------------------------------------------------------------------------------
def test_the_recipe_sets_what_is_not_given() -> None:
    model = LanguageModel(recipe="awd")
    assert {name: getattr(model, name) for name in RECIPES["awd"]} == RECIPES["awd"]
    own = LanguageModel(recipe="awd", weight_dropout=0.0, lr=3.0, tied=False, clip_norm=None)  # also back to defaults
    given = {"weight_dropout": 0.0, "lr": 3.0, "tied": False, "clip_norm": None}
    assert {name: getattr(own, name) for name in RECIPES["awd"]} == {**RECIPES["awd"], **given}
    assert LanguageModel(**own.get_params()).get_params() == own.get_params()
    assert (
        LanguageModel().set_params(recipe="awd", lr=3.0).get_params()
        == LanguageModel(recipe="awd", lr=3.0).get_params()
    )
    assert own.set_params(hidden_size=9).weight_dropout == 0.0  # other options leave them alone


def test_every_part_of_the_recipe_is_an_option_that_the_default_has_off() -> None:
    plain = LanguageModel()
    for name, value in RECIPES["awd"].items():
        assert getattr(plain, name) != value
        LanguageModel(recipe="awd", **{name: getattr(plain, name)}).check()
        LanguageModel(**{name: value}).check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": "adw"}, r"--recipe is 'adw', which is not known \(did you mean 'awd'\?\)"),
        ({"recipe": 3}, "--recipe is 3"),
        ({"embedding_dropout": 1.0}, "--embedding-dropout must be a number from 0 to below 1, not 1.0"),
        ({"vector_dropout": -0.1}, "--vector-dropout must be"),
        ({"output_dropout": "much"}, "--output-dropout must be"),
        ({"activation_penalty": -1.0}, "--activation-penalty must be a number, 0 or more, not -1.0"),
        ({"temporal_penalty": float("nan")}, "--temporal-penalty must be a number, 0 or more, not nan"),
        ({"bptt_spread": float("inf")}, "--bptt-spread must be"),
        ({"bptt_spread": 2.0, "bptt_reach": 200}, "--bptt-reach must be --bptt"),
        ({"softmax_samples": 0}, "--softmax-samples must be a whole number, 1 or more, or none, not 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LanguageModel(**options).fit(TEXT)


# -- windows -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [1, 4, 69, 70, 71, 5003])
@pytest.mark.parametrize("length", [1, 3, 70])
@pytest.mark.parametrize("spread", [0.0, 5.0])
def test_windows_hold_every_step_once_in_order(steps: int, length: int, spread: float) -> None:
    found = windows(steps, length, spread, 3, 0)
    assert [step for window in found for step in window] == list(range(steps))
    assert all(len(window) for window in found)
    assert found == windows(steps, length, spread, 3, 0)


def test_lengths_of_windows_are_those_of_the_paper() -> None:
    lengths = np.array([len(window) for window in windows(700_000, 70, 5.0, 1, 0)[:-1]])
    short = lengths < 50
    assert short.mean() == pytest.approx(0.05, abs=0.01)  # 10,000 windows: the deviation of the share is 0.002
    assert lengths[~short].mean() == pytest.approx(70, abs=0.3)
    assert lengths[~short].std() == pytest.approx(5, abs=0.2)
    assert lengths[short].mean() == pytest.approx(35, abs=1.2)
    assert windows(700, 70, 5.0, 1, 0) != windows(700, 70, 5.0, 1, 1) != windows(700, 70, 5.0, 2, 1)
    assert min(len(window) for window in windows(70_000, 8, 5.0, 1, 0)[:-1]) == LEAST
    assert {len(window) for window in windows(700, 70, 0.0)} == {70}


def test_the_rate_goes_with_the_length_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of plain gradient descent is that of a loop written by hand."""
    options = {
        "bptt": 20,
        "bptt_spread": 6.0,
        "optimizer": "sgd",
        "lr": 0.7,
        "clip_norm": None,
        "seed": 4,
        "cell": "rnn",
    }
    model = LanguageModel(**{**SMALL, **options}, epochs=1)
    drawn: list[tuple[int, float]] = []
    plain = LanguageTrainee.loss
    starts = {}

    def loss(self: LanguageTrainee, window: range, carry: Any) -> Any:
        if not starts:
            starts.update({n: p.detach().clone() for n, p in self.module.named_parameters()})
        drawn.append((len(window), self.rate_factor(window)))
        return plain(self, window, carry)

    monkeypatch.setattr(LanguageTrainee, "loss", loss)
    model.fit(TEXT * 3)
    assert len({length for length, _ in drawn}) > 1
    assert [factor for _, factor in drawn] == [length / 20 for length, _ in drawn]
    monkeypatch.undo()
    final = {n: p.detach().clone() for n, p in model.module_.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.module_.named_parameters():
            parameter.copy_(starts[name])
    one, carry = again(model, TEXT * 3), None
    for window in one.epoch(0):
        value, _, carry = one.loss(window, carry)
        value.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in model.module_.parameters():
                parameter -= 0.7 * len(window) / 20 * parameter.grad
                parameter.grad = None
    for name, parameter in model.module_.named_parameters():
        torch.testing.assert_close(parameter.detach(), final[name], rtol=1e-5, atol=1e-7)


# -- dropout -----------------------------------------------------------------------------------------------------------
def heard(one: LanguageTrainee, tokens: Tensor) -> Tensor:
    """What the recurrent layers read of tokens (T, B)."""
    came: list[Tensor] = []
    handle = one.module.recurrent.register_forward_pre_hook(lambda module, given: came.append(given[0]))
    one.module(tokens)
    handle.remove()
    return came[0].detach()


def test_embedding_dropout_takes_whole_kinds_of_token() -> None:
    one = trainee(embedding_dropout=0.5)
    tokens = one.inputs[:30]
    kept = heard(one, tokens) / one.module.embedding(tokens).detach()
    assert set(kept.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    by_kind = {kind: kept[tokens == kind].unique().numel() for kind in tokens.unique().tolist()}
    assert set(by_kind.values()) == {1}  # wherever it stands in the window
    assert (heard(one, tokens) != heard(one, tokens)).any()
    one.module.eval()
    assert torch.equal(heard(one, tokens), one.module.embedding(tokens))


@pytest.mark.parametrize("place", ["vector_dropout", "output_dropout"])
def test_variational_dropout_takes_the_same_units_at_every_step(place: str) -> None:
    one = trainee(**{place: 0.5})
    x = (
        torch.rand(9, 4, 8, dtype=torch.float64) + 1
        if place == "output_dropout"
        else one.module.embedding(one.inputs[:9])
    )
    kept = (one.module.dropped(x) if place == "output_dropout" else heard(one, one.inputs[:9])) / x
    assert set(kept.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    assert (kept == kept[:1]).all()
    assert (kept[0] != kept[0, :1]).any()  # but not the same units of every sequence
    one.module.eval()
    assert torch.equal(one.module.dropped(x), x)


# -- penalties ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (2.0, 0.0), (0.0, 1.0), (2.0, 1.0)])
@pytest.mark.parametrize("reach", [1, 3])
def test_penalties_are_added_to_the_mean_loss(alpha: float, beta: float, reach: int) -> None:
    one = trainee(activation_penalty=alpha, temporal_penalty=beta, bptt_reach=7 * reach)
    state, carry = None, None
    for window in one.epoch(0)[:4]:
        loss, _, carry = one.loss(window, carry)
        h, state = one.module.recurrent(one.module.embedding(one.inputs[window.start : window.stop]), state)
        logits, targets = one.module.output(h).flatten(0, 1), one.targets[window.start : window.stop].flatten()
        expected = cross_entropy(logits, targets, ignore_index=IGNORED)
        expected = expected + alpha * (h**2).mean() + beta * ((h[1:] - h[:-1]) ** 2).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_activation_penalty_sees_the_dropped_outputs_and_the_temporal_one_does_not() -> None:
    one = trainee(activation_penalty=1.0, output_dropout=0.5, bptt=1)
    h = torch.ones(1, 4, 8, dtype=torch.float64)
    targets = torch.full((4,), IGNORED)
    found = {round(one._mean(h, targets, 0).item(), 9) for _ in range(20)}
    assert all(value % (4 / 32) == 0 for value in found)  # 32 numbers, each 0 or 2² = 4
    assert len(found) > 1
    one.options.activation_penalty, one.options.temporal_penalty = 0.0, 1.0
    assert one._mean(torch.cat([h, h, 3 * h]), targets.repeat(3), 0).item() == 2.0  # the mean of 0 and 4


# -- sampled softmax ---------------------------------------------------------------------------------------------------
def classes(count: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shares = 1 / torch.arange(1.0, count + 1, dtype=torch.float64)
    shares /= shares.sum()
    x = torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
    weight = (torch.randn(count, 5, dtype=torch.float64) * 0.5).requires_grad_()
    return x, weight, shares.log(), torch.multinomial(shares, rows, replacement=True), shares


def test_with_every_class_drawn_the_sampled_softmax_is_the_whole() -> None:
    x, weight, bias, targets, shares = classes(13, 7)
    found = sampled_cross_entropy(x, weight, bias, targets, shares, 20_000)
    whole = cross_entropy(x @ weight.T + bias, targets, reduction="sum")
    assert found.item() == pytest.approx(whole.item(), rel=1e-9)
    for ours, theirs in zip(torch.autograd.grad(found, (x, weight)), torch.autograd.grad(whole, (x, weight))):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_mean_gradient_of_the_sampled_softmax_is_that_of_the_whole() -> None:
    x, weight, bias, targets, shares = classes(2000, 100)
    whole = torch.autograd.grad(cross_entropy(x @ weight.T + bias, targets, reduction="sum"), (x, weight))
    errors = {}
    for samples in (100, 1000):
        mean = [torch.zeros_like(part) for part in whole]
        for _ in range(50):
            loss = sampled_cross_entropy(x, weight, bias, targets, shares, samples)
            for total, part in zip(mean, torch.autograd.grad(loss, (x, weight))):
                total += part / 50
        errors[samples] = max(((m - w).norm() / w.norm()).item() for m, w in zip(mean, whole))
    assert errors[1000] < 0.05  # what is left is the noise of 50 draws, and a bias that shrinks as 1 / samples
    assert errors[1000] < errors[100] < 0.2


def test_a_model_that_learns_from_samples_is_judged_by_all_words() -> None:
    words = " ".join(f"w{i % 50} follows w{i % 7}" for i in range(600))
    options = {**SMALL, "level": "space", "lines": False, "epochs": 3, "lr": 0.02, "seed": 1}
    sampled, whole = (LanguageModel(**options, softmax_samples=n).fit(words) for n in (10, None))
    logits, _ = sampled.module_(torch.zeros(1, 1, dtype=torch.long))
    assert logits.shape[-1] == len(sampled.vocabulary_) == 54
    assert sampled.evaluate(words)["perplexity"] < 1.3 * whole.evaluate(words)["perplexity"] < 12
    assert LanguageModel(**options, softmax_samples=54).fit(words).evaluate(words) == whole.evaluate(words)


# -- all together ------------------------------------------------------------------------------------------------------
def test_tied_layers_end_as_wide_as_the_embedding(tmp_path: Path) -> None:
    model = LanguageModel(**{**SMALL, "epochs": 1}, recipe="awd", num_layers=3).fit(TEXT)
    assert [layer.hidden_size for layer in model.module_.recurrent.each_layer()] == [8, 8, 6]
    assert model.module_.output.weight is model.module_.embedding.weight
    model.save(tmp_path / "m.elman")
    assert LanguageModel.load(tmp_path / "m.elman").score(["the dog"]) == model.score(["the dog"])


AWD: dict[str, Any] = {
    "recipe": "awd", "cell": "gru", "hidden_size": 16, "num_layers": 2, "embedding_size": 12, "batch_size": 4,
    "bptt": 20,
    "vector_dropout": 0.05, "input_dropout": 0.05, "output_dropout": 0.05, "embedding_dropout": 0.02,
    "weight_dropout": 0.1, "activation_penalty": 0.1, "temporal_penalty": 0.1, "lr": 2.0, "clip_norm": 1.0, "seed": 1,
}  # fmt: skip


def test_the_recipe_learns_and_a_fresh_process_says_the_same(tmp_path: Path) -> None:
    text = "the cat sat on the mat. the dog sat on the cat. " * 40
    model = LanguageModel(**AWD, epochs=6).fit(text)
    figures = model.evaluate(text)
    assert figures["bits_per_character"] < 0.8 * character_bits(text, text, 0)  # letters counted without what is before
    model.save(tmp_path / "m.elman")
    code = "import sys, json; from elman.models import load; print(json.dumps(load(sys.argv[1]).evaluate(sys.argv[2])))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.elman"), text], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == figures


def test_a_run_that_is_broken_off_within_an_epoch_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**AWD, "softmax_samples": 12, "epochs": 3, "checkpoint_steps": 2}
    text = TEXT * 6
    whole = LanguageModel(**options).fit(text)
    plain, calls = LanguageTrainee.loss, [0]

    def broken(self: LanguageTrainee, window: range, carry: Any) -> Any:
        calls[0] += 1
        if calls[0] == 20:
            raise RuntimeError("the power is off")
        return plain(self, window, carry)

    monkeypatch.setattr(LanguageTrainee, "loss", broken)
    with pytest.raises(RuntimeError, match="power"):
        LanguageModel(**options).fit(text, folder=tmp_path / "run")
    monkeypatch.undo()
    again = LanguageModel(**options).fit(text, folder=tmp_path / "run", resume=True)
    assert again.summary_.steps == whole.summary_.steps > 30
    for ours, theirs in zip(again.module_.parameters(), whole.module_.parameters()):
        assert torch.equal(ours, theirs)


def test_the_command_line_wins_over_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT * 3)
    Path("o.toml").write_text("recipe = 'awd'\nembedding-dropout = 0.25\nactivation-penalty = 0.5")
    words = [
        "--config",
        "o.toml",
        "--activation-penalty",
        "0",
        "--weight-dropout",
        "0",
        "--hidden-size",
        "8",
        "--epochs",
    ]
    assert main(["train", "language-model", "t.txt", *words, "1", "--lr", "1", "--threads", "1", "--quiet"]) == 0
    assert "recipe awd" in capsys.readouterr().out
    found = LanguageModel.load("language-model.elman").get_params()
    given = {"embedding_dropout": 0.25, "activation_penalty": 0.0, "weight_dropout": 0.0, "lr": 1.0}
    assert {name: found[name] for name in RECIPES["awd"]} == {**RECIPES["awd"], **given}
    assert main(["train", "language-model", "t.txt", "--recipe", "adw", "--out", "x"]) == 2
    assert "--recipe is 'adw', which is not known (did you mean 'awd'?)" in capsys.readouterr().err
