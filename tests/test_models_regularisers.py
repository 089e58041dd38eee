"""Regularisers in the tasks: options, and model files, which hold the network as it is in evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman import cells
from elman.errors import ModelFileError, OptionError
from elman.models import LanguageModel, SequenceClassifier, SequenceTagger, load
from elman.models.estimator import Estimator
from elman.runtime import model_file
from elman.runtime.stream import Stream
from forge import resealed, split

TEXT = "the dog barks and a cat sleeps; the cat sleeps and a dog barks. " * 6
SMALL: dict[str, Any] = {"hidden_size": 5, "epochs": 1, "batch_size": 4}
ALL: dict[str, Any] = {"input_dropout": 0.1, "recurrent_dropout": 0.2, "weight_dropout": 0.3}


@cells.cell
def leaky(x: Any, s: Any, W: Any) -> Any:
    return 0.1 * s + 0.9 * cells.tanh(W.h(x, s))


def language(**options: Any) -> LanguageModel:
    return LanguageModel(**{**SMALL, "bptt": 8, "num_layers": 2, **ALL, **options}).fit(TEXT)


def texts(**options: Any) -> SequenceClassifier:
    labels = ["animal", "thing"] * 6
    inputs = ["the dog barks", "the car stops now"] * 6
    return SequenceClassifier(**{**SMALL, **ALL, **options}).fit(inputs, labels)


def tags(**options: Any) -> SequenceTagger:
    return SequenceTagger(**{**SMALL, **ALL, **options}).fit([["a", "dog"], ["dogs"]] * 5, [["D", "N"], ["N"]] * 5)


MODELS: dict[str, Callable[..., Estimator]] = {"language": language, "texts": texts, "tags": tags}


def scores(model: Any) -> np.ndarray:
    if isinstance(model, LanguageModel):
        return np.array([model.score([TEXT])])
    rows = (
        model.predict_proba(["a dog barks"]) if isinstance(model, SequenceClassifier) else model.predict([["a", "b"]])
    )
    return np.asarray(rows)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("cell", "zoneout"),
    [("lstm", 0.25), ("lstm", {"c": 0.5, "h": 0.1}), ("gru", 0.5), (leaky, {"s": 0.1}), ("gru", 0.0)],
)
def test_a_file_holds_the_network_of_evaluation(name: str, cell: Any, zoneout: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.elman"
    model = MODELS[name](cell=cell, zoneout=zoneout)
    model.save(path)
    document, _ = model_file.load(path)
    programs = [layer.cell for layer in document.networks["recurrent"]]
    assert not [node for program in programs for node in program.nodes if node.op == "mask"]
    assert all(program.name.endswith("_zoneout") for program in programs) == bool(zoneout)
    again: Any = load(path)
    np.testing.assert_array_equal(scores(again), scores(model))
    assert again.zoneout == zoneout
    assert again.recurrent_dropout == model.recurrent_dropout
    plain = cells.named(cell).program
    assert all(own.program.same_step(plain) for own in again.cell), "the cell itself, to be trained again"
    again.save(tmp_path / "second.elman")
    second, _ = model_file.load(tmp_path / "second.elman")
    assert second.networks == document.networks


def test_training_is_reproducible_and_differs_from_plain() -> None:
    first, second, plain = language(zoneout=0.2), language(zoneout=0.2), language(**dict.fromkeys(ALL, 0.0))
    weights = [torch.cat([w.flatten() for w in model.module_.parameters()]) for model in (first, second, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_letters_of_a_tagger_are_left_alone() -> None:
    model = tags(zoneout=0.2)
    assert model.module_.characters is not None
    assert not model.module_.characters.regularisers.noisy
    assert model.module_.recurrent.regularisers.noisy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"zoneout": 1}, "zoneout must be a number in"),
        ({"zoneout": {"d": 0.1}}, "no state 'd'"),
        ({"recurrent_dropout": 1.5}, "--recurrent-dropout must be a number from 0 to below 1"),
        ({"weight_dropout": 0.5, "cell": "mingru"}, "weight_dropout acts where a state enters an affine map"),
    ],
)
def test_options_are_checked_before_anything_is_read(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        LanguageModel(**options).fit(tmp_path / "no such file")


@pytest.mark.parametrize(
    ("zoneout", "said"),
    [
        (0.5, "or another zoneout, than the options say"),
        (["h=0.25"], "or another zoneout, than the options say"),
        (["h=1.25", "c=0.25"], "must be a number in"),
        (["q=0.25"], "there is no state 'q'"),
        (["x"], "could not convert"),
        ("0.25", "must be a number in"),
        (None, "must be a number in"),
    ],
)
def test_a_file_whose_zoneout_is_another(zoneout: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.elman"
    texts(zoneout=0.25).save(path)
    content = path.read_bytes()
    document = split(content)[0]["__metadata__"]["elman"]
    wrong = document.replace('"zoneout":0.25', f'"zoneout":{json.dumps(zoneout)}')
    assert wrong != document
    path.write_bytes(resealed(content, wrong))
    with pytest.raises(ModelFileError, match=said):
        load(path)


def test_a_stream_of_the_file_says_what_the_model_says(tmp_path: Path) -> None:
    """The runtime knows nothing of zoneout: its mean stands in the equations."""
    path = tmp_path / "model.elman"
    model = language(zoneout={"c": 0.5, "h": 0.1})
    model.save(path)
    text = TEXT[:20]
    numbers = torch.tensor([model.vocabulary_.start_index, *model.vocabulary_.encode(text)])[:, None]
    with torch.no_grad():
        wanted = model.module_(numbers)[0][:, 0]
    np.testing.assert_allclose(Stream(path).run(["<s>", *text]), wanted, atol=1e-5)
