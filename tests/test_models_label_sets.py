"""Sets of labels at every step: heads against brute force, figures against direct sums, generation, files, options."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cli import main
from elman.errors import DataError, OptionError
from elman.models import LabelSetModel, load
from elman.models.label_sets import _Trainee
from elman.nn.label_sets import Independent, Nade, make_head

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "batch_size": 4,
    "epochs": 2,
    "valid_fraction": 0.0,
    "head_units": 6,
    "head": "independent",
}
HEADS = ("independent", "nade")
# Two voices: the upper one goes up and down, the lower one sounds with every second note and never with a silence.
PIECE: list[Any] = [[60, 48], [62], [64, 52], [65], [67, 55], [65], [64, 52], [], [62, 50], []]
PIECES = [PIECE[k:] + PIECE[:k] for k in range(10)] * 2


# -- heads -------------------------------------------------------------------------------------------------------------
def every_set(labels: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=labels)), dtype=torch.float64)


def head(kind: str, labels: int = 5) -> Independent | Nade:
    made = make_head(kind, 3, labels, 4).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("labels", [1, 5])
def test_the_probabilities_of_all_sets_add_up_to_one(kind: str, labels: int) -> None:
    one, sets = head(kind, labels), every_set(labels)
    h = torch.randn(1, 3, dtype=torch.float64)
    assert (-one.nats(h.expand(len(sets), 3), sets)).exp().sum().item() == pytest.approx(1, rel=1e-12)
    assert one.nats(h[:0], sets[:0]).shape == (0,)


def nade_by_hand(one: Nade, h: Tensor, one_set: Tensor) -> Tensor:
    """Label by label, as the equation says."""
    nats, a = torch.zeros((), dtype=torch.float64), one.hidden(h)
    for k, present in enumerate(one_set.tolist()):
        p = torch.sigmoid(one.visible(h)[k] + one.outputs[k] @ torch.sigmoid(a))
        nats = nats - (p if present else 1 - p).log()
        a = a + present * one.inputs[k]
    return nats


def test_nade_is_its_equation_with_gradients() -> None:
    one = head("nade", 7)
    assert isinstance(one, Nade)
    h = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    sets = (torch.rand(9, 7) < 0.4).double()
    sets[0], sets[1] = 0, 1
    found, expected = one.nats(h, sets), torch.stack([nade_by_hand(one, *pair) for pair in zip(h, sets)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    wanted = (h, *one.parameters())
    for ours, theirs in zip(torch.autograd.grad(found.sum(), wanted), torch.autograd.grad(expected.sum(), wanted)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", HEADS)
def test_what_is_drawn_is_as_frequent_as_it_is_probable(kind: str) -> None:
    one, sets = head(kind, 3), every_set(3)
    h, count = torch.randn(1, 3, dtype=torch.float64), 20_000
    drawn = one.draw(h.expand(count, 3), torch.Generator().manual_seed(1)).long()
    places = drawn @ torch.tensor([4, 2, 1])
    found = torch.bincount(places, minlength=8) / count
    expected = (-one.nats(h.expand(8, 3), sets)).exp()
    assert (found - expected).abs().max() < 4 * 0.5 / count**0.5  # four deviations of a share of one half
    marginal = (expected[:, None] * sets).sum(0)
    # NADE's marginals are means over 100 sets: 4 deviations of at most 0.5 / 10
    assert (one.probabilities(h)[0] - marginal).abs().max() < (1e-12 if kind == "independent" else 0.2)
    cold = one.draw(h.expand(9, 3), torch.Generator().manual_seed(2), temperature=0.0)
    assert (cold == cold[0]).all()


# -- figures -----------------------------------------------------------------------------------------------------------
def fitted(**options: Any) -> LabelSetModel:
    return LabelSetModel(**{**SMALL, **options}).fit(PIECES)


def nats_by_hand(model: LabelSetModel, piece: list[Any]) -> list[float]:
    """One step at a time."""
    names = model.classes_
    state, before, found = None, torch.zeros(1, 1, len(names)), []
    for step in piece:
        now = torch.zeros(1, 1, len(names))
        for label in step:
            now[0, 0, names.index(str(label))] = 1
        with torch.no_grad():
            h, state = model.module_(before, state)
            found.append(model.module_.head.nats(h[0], now[0]).item())
        before = now
    return found


@pytest.mark.parametrize("kind", HEADS)
def test_figures_are_means_over_the_steps_of_all_sequences(kind: str) -> None:
    model = fitted(head=kind)
    pieces = [PIECE, [[60]], [], PIECE[:3]]
    nats = [nats_by_hand(model, piece) for piece in pieces]
    figures = model.evaluate(pieces)
    assert figures["loss"] == pytest.approx(np.mean(np.concatenate(nats)), rel=1e-5)
    assert figures["loss_after_first"] == pytest.approx(np.mean(np.concatenate([part[1:] for part in nats])), rel=1e-5)
    assert model.score(pieces) == -figures["loss"]
    assert "loss_after_first" not in model.evaluate([[[60]]])


def test_labels_that_are_named_count_though_they_never_sound() -> None:
    model = fitted(labels="21-108", head="independent")
    assert len(model.classes_) == 88
    assert model.evaluate([[[21, 108]]])["loss"] > 0
    torch.nn.init.zeros_(model.module_.head.logits.weight)
    torch.nn.init.zeros_(model.module_.head.logits.bias)
    assert model.evaluate([PIECE])["loss"] == pytest.approx(88 * np.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_of_a_batch_is_the_mean_over_its_steps(kind: str) -> None:
    model = fitted(head=kind)
    learn = model._rolls([PIECE, PIECE[:1], PIECE[:4]], "here")
    one = _Trainee(model, learn, [])
    loss, units, carry = one.loss((np.array([2, 0, 1]), np.zeros(3, np.int64)), None)
    assert units == 15
    assert carry is None
    expected = np.mean(np.concatenate([nats_by_hand(model, part) for part in (PIECE, PIECE[:1], PIECE[:4])]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_probabilities_foretell_every_step_and_the_one_to_come() -> None:
    model = fitted()
    short, empty, whole = model.predict_proba([PIECE[:4], [], PIECE])
    assert short.shape == (5, len(model.classes_))
    assert empty.shape == (1, len(model.classes_))
    np.testing.assert_allclose(short, whole[:5], rtol=1e-5)
    np.testing.assert_allclose(empty, whole[:1], rtol=1e-5)
    rolls = np.stack(model._rolls([PIECE], "here")).astype(np.float64)
    nats = -np.where(rolls[0] > 0, np.log(whole[:-1]), np.log1p(-whole[:-1])).sum(1)
    np.testing.assert_allclose(nats, nats_by_hand(model, PIECE), rtol=1e-4)


# -- learning ----------------------------------------------------------------------------------------------------------
def marginal_nats(pieces: list[Any]) -> float:
    """Nats a step where every label comes as often as in all the data, for itself."""
    names = sorted({label for piece in pieces for step in piece for label in step})
    roll = np.array([[label in step for label in names] for piece in pieces for step in piece])
    p = roll.mean(0)
    return float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).sum())


@pytest.mark.parametrize("kind", HEADS)
def test_it_learns_saves_and_says_the_same_in_a_fresh_process(kind: str, tmp_path: Path) -> None:
    options = {"hidden_size": 24, "head": kind, "epochs": 25, "lr": 0.02, "batch_size": 4, "seed": 1, "patience": None}
    model = LabelSetModel(**options).fit(PIECES)
    assert model.evaluate(PIECES)["loss_after_first"] < 0.2 * marginal_nats(PIECES)
    made = model.generate(PIECE[:3], 7, seed=3)
    assert [set(step) for step in made] == [{str(label) for label in step} for step in PIECE]
    assert model.predict([PIECE[:2]]) == [["52", "64"]]
    model.save(tmp_path / "m.elman")
    code = (
        "import sys, json; from elman.models import load; m = load(sys.argv[1]); p = json.loads(sys.argv[2]);"
        "print(json.dumps([m.evaluate(p), m.generate([], 9, seed=5), [r.tolist() for r in m.predict_proba(p[:1])]]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.elman"), json.dumps(PIECES)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = [
        model.evaluate(PIECES),
        model.generate([], 9, seed=5),
        [r.tolist() for r in model.predict_proba(PIECES[:1])],
    ]
    assert json.loads(run.stdout) == said
    assert load(tmp_path / "m.elman").get_params()["head"] == kind


def test_nade_knows_what_sounds_together() -> None:
    """Two labels that come together or not at all, by chance: each for itself costs twice the nats."""
    rng = np.random.default_rng(1)
    pieces = [[["a", "b"] if one else [] for one in rng.integers(0, 2, 20)] for _ in range(30)]
    options = {**SMALL, "epochs": 20, "lr": 0.02, "seed": 1}
    apart, together = (
        LabelSetModel(**{**options, "head": kind}).fit(pieces).evaluate(pieces)["loss"] for kind in HEADS
    )
    assert apart > 1.3
    assert together < 0.8  # log 2 = 0.693 is the least


def test_transposing_shifts_sequences_as_far_as_all_labels_stay() -> None:
    model = LabelSetModel(**SMALL, transpose=3, labels="50-64", seed=2).fit([[[52], [60]], [[50], [64]], [[]]] * 3)
    one = _Trainee(model, model._rolls([[[52], [60]], [[50], [64]], [[]]], "here"), [])
    shifts = [dict(zip(*(part.tolist() for part in batch))) for n in range(60) for batch in one.epoch(n)]
    assert {found[0] for found in shifts if 0 in found} == {-2, -1, 0, 1, 2, 3}
    assert {found[k] for found in shifts for k in (1, 2) if k in found} == {0}
    again = [dict(zip(*(part.tolist() for part in batch))) for n in range(60) for batch in one.epoch(n)]
    assert again == shifts


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**SMALL, "transpose": 2, "dropout": 0.2, "epochs": 3, "checkpoint_steps": 1}
    whole = LabelSetModel(**options).fit(PIECES)
    plain, calls = _Trainee.loss, [0]

    def broken(self: _Trainee, batch: Any, carry: Any) -> Any:
        calls[0] += 1
        if calls[0] == 8:
            raise RuntimeError("the power is off")
        return plain(self, batch, carry)

    monkeypatch.setattr(_Trainee, "loss", broken)
    with pytest.raises(RuntimeError, match="power"):
        LabelSetModel(**options).fit(PIECES, folder=tmp_path / "run")
    monkeypatch.undo()
    again = LabelSetModel(**options).fit(PIECES, folder=tmp_path / "run", resume=True)
    for ours, theirs in zip(again.module_.parameters(), whole.module_.parameters()):
        assert torch.equal(ours, theirs)


# -- data --------------------------------------------------------------------------------------------------------------
def test_every_form_of_the_data_says_the_same(tmp_path: Path) -> None:
    names = sorted({label for piece in PIECES for step in piece for label in step})
    arrays = [np.array([[label in step for label in names] for step in piece], np.uint8) for piece in PIECES]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(piece) + "\n" for piece in PIECES))
    (tmp_path / "keyed.jsonl").write_text("".join(json.dumps({"steps": piece}) + "\n" for piece in PIECES))
    np.savez(tmp_path / "a.npz", steps=np.stack(arrays), length=np.full(len(arrays), 10))
    expected = fitted().evaluate(PIECES)
    for data in (
        [[set(step) for step in piece] for piece in PIECES],
        [[[f"{label}" for label in step] for step in piece] for piece in PIECES],
        arrays,
        [array.astype(bool) for array in arrays],
        tmp_path / "bare.jsonl",
        tmp_path / "keyed.jsonl",
        tmp_path / "a.npz",
    ):
        assert LabelSetModel(**SMALL).fit(data).evaluate(data) == expected
    cut = [array[: 3 + i % 7] for i, array in enumerate(arrays)]
    np.savez(tmp_path / "cut.npz", steps=np.stack(arrays), length=[len(array) for array in cut])
    ragged = LabelSetModel(**SMALL).fit(cut)
    assert ragged.evaluate(tmp_path / "cut.npz") == ragged.evaluate(cut)


def test_numbers_are_in_order_of_size_and_other_labels_by_the_alphabet() -> None:
    assert LabelSetModel(**SMALL).fit([[[9, 10], [100]]] * 3).classes_ == ["9", "10", "100"]
    assert LabelSetModel(**SMALL).fit([[["b"], ["a", "10"]]] * 3).classes_ == ["10", "a", "b"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "there are no sequences"),
        ([[]], "there is no label in any step"),
        ("abc", "must come as a list"),
        ([[60, 62]], "number 1, step 1: expected a list of labels such as .60, 64., got 60"),
        ([[["a"], "bc"]], "number 1, step 2: expected a list of labels such as .60, 64., got 'bc'"),
        ([[[1.5]]], "number 1, step 1: a label is a whole number or a text, not 1.5"),
        ([[[True]]], "a label is a whole number or a text, not True"),
        ([[[1]], {"a": 1}], "number 2: expected a list of steps"),
        ([[list(range(5000))]], "5,000 labels; at most 4,096"),
        ([np.zeros((3, 2)), np.zeros((3, 4))], r"number 2: expected an array \(T, 2\) of 0 and 1"),
        ([np.full((3, 2), 0.5)], "number 1: the array holds other numbers than 0 and 1"),
        ([np.zeros(3)], "there is no label in any step"),
        ([[[1]], np.zeros((3, 1, 1))], "expected an array|expected a list"),
    ],
)
def test_data_that_cannot_be(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        LabelSetModel(**SMALL).fit(data)


def test_unknown_labels_and_lengths_are_refused(tmp_path: Path) -> None:
    model = fitted()
    with pytest.raises(DataError, match=r"number 1, step 2: unknown label '61' .*--labels can name more"):
        model.evaluate([[[60], [61]]])
    with pytest.raises(DataError, match="the start, number 1, step 1: unknown label"):
        model.generate([["x"]], 3)
    with pytest.raises(DataError, match="have no steps"):
        model.evaluate([[]])
    np.savez(tmp_path / "a.npz", steps=np.zeros((2, 3, len(model.classes_))), length=[3, 4])
    with pytest.raises(DataError, match="record 2: the length must be a whole number from 0 to 3, not 4"):
        model.evaluate(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head": "nad"}, r"--head is 'nad', which is not known \(did you mean 'nade'\?\)"),
        ({"head_units": 0}, "--head-units must be a whole number, 1 or more"),
        ({"transpose": -1}, "--transpose must be a whole number, 0 or more"),
        ({"labels": "a,,b"}, "--labels must be numbers such as 21-108"),
        ({"labels": "5-1"}, "--labels must be"),
        ({"labels": "a,b,a"}, "--labels must be"),
        ({"labels": "0-99999999"}, "at most 4,096"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LabelSetModel(**options).fit(PIECES)


def test_generation_is_checked_and_the_seed_decides() -> None:
    model = fitted()
    assert model.generate([], 5, seed=1) == model.generate([], 5, seed=1) != model.generate([], 5, seed=2)
    assert model.generate(PIECE, 0) == [sorted(map(str, step)) for step in PIECE]
    assert model.generate([], 4, temperature=0.0) == model.generate([], 4, temperature=0.0)
    for how in ({"length": -1}, {"temperature": -1.0}, {"temperature": float("nan")}, {"seed": -1}):
        with pytest.raises(OptionError, match=f"--{next(iter(how))} must be"):
            model.generate(**how)  # type: ignore[arg-type]


# -- on the command line -----------------------------------------------------------------------------------------------
def test_from_a_file_to_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pieces.jsonl").write_text("".join(json.dumps(piece) + "\n" for piece in PIECES))
    words = ["--hidden-size", "8", "--epochs", "2", "--head", "nade", "--head-units", "4", "--threads", "1", "--quiet"]
    assert main(["train", "label-sets", "pieces.jsonl", "--test", "pieces.jsonl", *words]) == 0
    assert "sets of 9 labels" in capsys.readouterr().out
    model = LabelSetModel.load("label-sets.elman")
    assert main(["evaluate", "label-sets.elman", "pieces.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == model.evaluate(PIECES)
    assert main(["predict", "label-sets.elman", "pieces.jsonl"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["labels"] for record in records] == model.predict(PIECES)
    how = ["--length", "12", "--seed", "3", "--start", "pieces.jsonl", "--picture", "piece.png"]
    assert main(["generate", "label-sets.elman", *how]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [[str(label) for label in step] for step in made] == model.generate(PIECE, 12, seed=3)
    assert Path("piece.png").read_bytes().startswith(b"\x89PNG")
    for bad, said in (
        (["--top-k", "3"], "--top-k is not for a model of label sets"),
        (["--picture", "nowhere/p.png"], "there is no folder nowhere"),
        (["--start", "nope.jsonl"], "nope.jsonl"),
    ):
        assert main(["generate", "label-sets.elman", *bad]) == 2
        assert said in capsys.readouterr().err
    Path("bad.jsonl").write_text("[[60], [62]]\n[[60, 1.5]]\n")
    assert main(["train", "label-sets", "bad.jsonl", "--out", "b"]) == 2
    assert "bad.jsonl, line 2, step 1: a label is a whole number or a text, not 1.5" in capsys.readouterr().err
    assert main(["train", "label-sets", "made:parity"]) == 2
    assert "has no sets of labels" in capsys.readouterr().err


def test_real_music_is_read_whole(shared_data: Path) -> None:
    model = LabelSetModel(hidden_size=8, epochs=1, max_seconds=1.0, labels="21-108", head_units=8)
    folder = shared_data / "music_jsb_chorales"
    model.fit(folder / "train.jsonl", valid=folder / "valid.jsonl")
    rolls = model._rolls(*model._pieces(folder / "test.jsonl"))
    assert (len(rolls), sum(map(len, rolls)), rolls[0].shape[1]) == (77, 4725, 88)
    assert model.evaluate(folder / "test.jsonl")["loss"] < 88 * np.log(2)
