"""The report as a thing: JSON both ways, text, what it is made from, what it leaves behind, and one sentence for each
mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elman
from elman import EncoderDecoder, LanguageModel, SequenceClassifier, SequenceTagger
from elman.cli.app import run
from elman.diagnosis import Probe, Report, Sampling
from elman.errors import DataError, OptionError
from elman.nn import Recurrent

QUICK = Sampling(sequences=2, ends=3, vectors=2, places=2, exponents=1, shown=2)


def small(**options: Any) -> tuple[Recurrent, Tensor]:
    return Recurrent("lstm", 2, 3, 2, bidirectional=True, **options), torch.randn(6, 3, 2)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(np.where(np.isfinite(a), a, np.nan), b, equal_nan=True) and a.dtype == b.dtype
    if hasattr(a, "__dataclass_fields__"):
        return all(equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return bool(a == b or (a != a and (b is None or b != b)))


def test_json_goes_both_ways(tmp_path: Path) -> None:
    layer, x = small()
    report = elman.diagnose(layer, x, lengths=[6, 0, 4], training={"clip_norm": 1.0, "clipped": 1.0, "bptt": 2})
    assert any(verdict.sick for verdict in report.verdicts)
    text = report.to_json()
    json.loads(text)  # standard JSON: no NaN in it
    again = Report.from_json(text)
    assert equal(report, again)
    assert again.summary() == report.summary()
    (tmp_path / "r.json").write_bytes(text)
    assert equal(Report.from_json(tmp_path / "r.json"), again)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"format": 1}', "\ud800", b"nul"])
def test_what_is_no_report_is_one_sentence(text: Any) -> None:
    with pytest.raises(DataError, match="this is no report"):
        Report.from_json(text)


def test_a_changed_report_is_refused(tmp_path: Path) -> None:
    layer, x = small()
    plain = json.loads(elman.diagnose(layer, x, sampling=QUICK).to_json())
    with pytest.raises(DataError, match="format 2"):
        Report.from_json(json.dumps(plain | {"format": 2}))
    plain["networks"][0]["input"]["mean"] = [[1.0], [2.0, 3.0]]
    with pytest.raises(DataError, match="no report"):
        Report.from_json(json.dumps(plain))
    with pytest.raises(DataError, match="cannot be read"):
        Report.from_json(tmp_path / "none.json")


class Around(nn.Module):
    """Something around a recurrent layer."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.inner, self.drop, self.head = layer, nn.Dropout(0.5), nn.Linear(layer.output_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.drop(self.inner(x)[0])).mean()
        return found


def test_the_model_is_left_as_it_was() -> None:
    layer, x = small(dropout=0.3)
    model = Around(layer)
    model.drop.eval()
    before, state = {n: p.clone() for n, p in model.named_parameters()}, torch.get_rng_state()
    report = elman.diagnose(model, x, loss=lambda module, data: module(data), sampling=QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert report.networks[0].name == "inner"
    assert model.training
    assert layer.training
    assert not model.drop.training
    assert "run" not in vars(layer)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    for name, weight in model.named_parameters():
        assert weight.grad is None
        assert torch.equal(weight, before[name])
    model.eval()
    gradients = torch.autograd.grad(model(x), list(model.parameters()))
    norms = {name: float(g.norm()) for (name, _), g in zip(model.named_parameters(), gradients, strict=True)}
    assert norms == pytest.approx(report.gradients, rel=1e-5)


def test_a_frozen_network_and_one_sequence_and_batch_first() -> None:
    layer, x = small(batch_first=True)
    layer.requires_grad_(False)
    rows = x.transpose(0, 1)
    whole, one = (elman.diagnose(layer, data, sampling=Sampling.whole()) for data in (rows, rows[0]))
    assert whole.networks[0].lengths.tolist() == [6] * 3
    assert one.networks[0].lengths.tolist() == [6]
    assert np.allclose(whole.layers[3].activity[0].values[:, 0], one.layers[3].activity[0].values[:, 0], atol=1e-6)


def test_mistakes_are_one_sentence() -> None:
    layer, x = small()
    with pytest.raises(OptionError, match="the loss is missing"):
        elman.diagnose(Around(layer), x)
    with pytest.raises(OptionError, match="diagnose takes an elman"):
        elman.diagnose("lstm", x)
    with pytest.raises(DataError, match="there is no recurrence"):
        elman.diagnose(nn.Linear(2, 1), x, loss=lambda module, data: module(data).sum())
    with pytest.raises(DataError, match="must be one number"):
        elman.diagnose(layer, x, loss=lambda output, state: output)
    with pytest.raises(DataError, match="without steps"):
        elman.diagnose(layer, x[:0])
    with pytest.raises(DataError, match="are empty"):
        elman.diagnose(layer, x, lengths=[0, 0, 0], loss=lambda output, state: output.sum())
    with pytest.raises(DataError, match="the input has the shape"):
        elman.diagnose(layer, torch.randn(6, 3, 5))


def test_a_layer_called_step_by_step_is_one_recursion() -> None:
    layer = Recurrent("gru", 2, 3, dtype=torch.float64)
    x = torch.randn(6, 2, 2, dtype=torch.float64)

    def stepwise(module: nn.Module, data: Tensor) -> Tensor:
        state = None
        for x_t in data:
            output, state = module(x_t[None], state)
        return output.square().sum()

    once = elman.diagnose(layer, x, loss=lambda output, state: output[-1].square().sum())
    steps = elman.diagnose(Probe(layer, lambda: stepwise(layer, x)))
    for name in ("mean", "upper"):
        found, wanted = (getattr(r.layers[0].flow.states["h"], name) for r in (steps, once))
        assert np.allclose(found, wanted, rtol=1e-9)
    assert np.allclose(steps.layers[0].memory.gain, once.layers[0].memory.gain)


TEXTS = ["the dog barks", "a cat sleeps here", "dogs bark", "the cats sleep"] * 4


def test_estimators_hand_over_a_probe(tmp_path: Path) -> None:
    labels, tags = (
        ["one", "one", "many", "many"] * 4,
        [["S" if word.endswith("s") else "O" for word in text.split()] for text in TEXTS],
    )
    plain: dict[str, Any] = {"hidden_size": 4, "epochs": 1}
    classifier = SequenceClassifier(**plain, level="word", class_weight="balanced").fit(TEXTS, labels)
    classifier.save(tmp_path / "c.elman")
    tagger = SequenceTagger(**plain, letter_hidden_size=3).fit([t.split() for t in TEXTS], tags)
    for model in (classifier, SequenceClassifier.load(tmp_path / "c.elman")):
        report = elman.diagnose(model, TEXTS, labels, sampling=QUICK)
        (network,) = report.networks
        assert network.symbols == (("a", "cat", "sleeps", "here"),) * 2
        assert report.training["clip_norm"] == 1.0
        assert report.model == "SequenceClassifier"
    report = elman.diagnose(tagger, [t.split() for t in TEXTS], tags, sampling=QUICK)
    assert {network.name for network in report.networks} == {"recurrent", "characters"}
    assert len(report.layers) == 4
    assert all(layer.flow.gradients["weight_f"] > 0 for layer in report.layers)
    pairs = EncoderDecoder(**plain).fit(TEXTS, TEXTS)
    found = elman.diagnose(pairs, TEXTS, TEXTS, sampling=QUICK)
    assert {network.name: network.symbols[0] for network in found.networks} == {
        "encoder": ("a", "cat", "sleeps", "here", "</s>"),
        "decoder": ("<s>", "a", "cat", "sleeps", "here"),
    }
    assert all(network.inputs.size == 0 for network in found.networks), "channels of an embedding say nothing"
    assert all(layer.flow.entering.mean.sum() > 0 for layer in found.layers)
    with pytest.raises(OptionError, match="no weights yet"):
        elman.diagnose(LanguageModel(), "text")


def test_the_verb_prints_the_summary_and_writes_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS * 4))
    model = LanguageModel(hidden_size=4, epochs=1, bptt=10).fit(text)
    model.save(tmp_path / "m.elman")
    words = ["diagnose", str(tmp_path / "m.elman"), str(text), "--steps", "12", "--sequences", "2"]
    assert run([*words, "--json", str(tmp_path / "r.json")]) == 0
    report = Report.from_json(tmp_path / "r.json")
    assert capsys.readouterr().out == report.summary() + "\n"
    assert report.networks[0].lengths.tolist() == [12, 12]
    assert report.training["bptt"] == 10
    assert run([*words, "--steps=0"]) == 2
    assert run([*words[:3], "--steps", "0"]) == 2
    assert "--steps must be a whole number" in capsys.readouterr().err
