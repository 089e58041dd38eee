"""Files of the estimators: the same predictions bit for bit, and every false claim refused before it costs anything."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman import cells
from elman.cells import Cell
from elman.errors import ModelFileError, OptionError
from elman.models import (
    Captioner,
    EncoderDecoder,
    LanguageModel,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    Transcriber,
    load,
)
from elman.models.estimator import Estimator
from forge import resealed, sealed, split

TEXT = "Colourless green ideas sleep furiously. " * 4
WORDS = [("the dog barks", "animal"), ("a cat sleeps", "animal"), ("the car stops", "thing"), ("a lamp glows", "thing")]
SENTENCES = [["the", "dog", "barks"], ["Cats", "sleep"], ["a", "lamp", "glows", "dimly"], ["dogs"]] * 3
TAGS = [["DET", "N", "V"], ["N", "V"], ["DET", "N", "V", "ADV"], ["N"]] * 3
SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "batch_size": 4}
ALLOWED = 3_000_000
"""Bytes that loading may take besides what the file's size explains."""


@cells.cell
def leaky(x, h, W):  # type: ignore[no-untyped-def]
    """A cell of the user's own, which the model file alone must know."""
    p = cells.sigmoid(W.p_keep)
    return p * h + (1 - p) * cells.tanh(W.h(x, h))


def series() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(5, 3, (int(steps), 2)) for steps in rng.integers(1, 7, 12)]


def language(**options: Any) -> LanguageModel:
    return LanguageModel(**{**SMALL, "bptt": 8, **options}).fit(TEXT.replace(". ", ".\n"))


def texts(**options: Any) -> SequenceClassifier:
    inputs, labels = zip(*WORDS * 3)
    return SequenceClassifier(**{**SMALL, **options}).fit(list(inputs), list(labels))


def numbers(**options: Any) -> SequenceClassifier:
    return SequenceClassifier(**{**SMALL, **options}).fit(series(), ["up", "down", "flat"] * 4)


def amounts(**options: Any) -> SequenceRegressor:
    return SequenceRegressor(**{**SMALL, **options}).fit(series(), [float(len(s)) for s in series()])


def tagger(**options: Any) -> SequenceTagger:
    sizes = {"word_size": 3, "letter_size": 2, "letter_hidden_size": 3}
    return SequenceTagger(**{**SMALL, **sizes, **options}).fit(SENTENCES, TAGS)


def spans(**options: Any) -> SequenceTagger:
    """A tagger of spans (BIO)."""
    sizes = {"word_size": 3, "letter_size": 2, "letter_hidden_size": 3}
    marks = {"DET": "O", "N": "B-N", "V": "I-N", "ADV": "O"}
    model = SequenceTagger(**{**SMALL, **sizes, **options})
    return model.fit(SENTENCES, [[marks[tag] for tag in own] for own in TAGS])


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.normal(0, 0.1, int(n)).astype(np.float32) for n in rng.integers(500, 900, 6)]


def transcriber(**options: Any) -> Transcriber:
    return Transcriber(**{**SMALL, "rate": 2000, "mels": 6, **options}).fit(
        sounds(), ["a b", "ba", "b", "aa", "ab", "a"]
    )


def transducer(**options: Any) -> EncoderDecoder:
    sources, targets = zip(*WORDS * 3)
    return EncoderDecoder(**{**SMALL, "embedding_size": 3, **options}).fit(list(sources), list(targets))


def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(6).integers(0, 256, (6, 2, 9, 7, 3), dtype=np.uint8))


def captioner(inputs: list[np.ndarray], **options: Any) -> Captioner:
    sizes = {"embedding_size": 3, "channels": 4}
    return Captioner(**{**SMALL, **sizes, **options}).fit(inputs, ["a b", "b", "a", "b b", "a a", "b a"])


MAKERS: dict[str, Callable[[], Estimator]] = {
    "characters": lambda: language(embedding_size=3),
    "characters, two layers of own cells": lambda: language(cell=leaky, num_layers=2, residual=True),
    "words": lambda: language(level="word", cell="gru", min_count=2),
    "tied": lambda: language(level="space", tied=True, lines=False),
    "texts by characters": lambda: texts(level="char", cell="rnn", bidirectional=False, lower=True),
    "texts by words": lambda: texts(level="word", head_sizes=(3, 5), class_weight={"animal": 2.0}, embedding_size=4),
    "texts with n-grams": lambda: texts(level="char", ngrams=3, ngram_rows=40),
    "series": lambda: numbers(cell=["lstm", leaky], num_layers=2, residual=True, pooling="attention", dropout=0.25),
    "series, one way": lambda: numbers(bidirectional=False, cell="lstm_peephole", class_weight="balanced"),
    "regressor": lambda: amounts(noise=0.1, pooling="mean", head_sizes=(3,)),
    "tagger": lambda: tagger(head_sizes=(4,), num_layers=2),
    "tagger with a CRF": lambda: spans(crf=True, shape_size=2),
    "tagger with a CRF without rules": lambda: tagger(crf=True),
    "tagger without letters": lambda: tagger(letter_hidden_size=0, cell=leaky, lower=False),
    "transducer": lambda: transducer(cell=["gru", leaky], num_layers=2, residual=True, attention="dot", tied=True),
    "transducer of subwords": lambda: transducer(level="subword", max_vocabulary=40, shared=True, input_feeding=True),
    "captioner of pictures": lambda: captioner([clip[0] for clip in pictures()]),
    "captioner of clips": lambda: captioner(pictures(), cell=["gru", leaky], num_layers=2, attention="dot"),
    "captioner of vectors": lambda: captioner(list(np.random.default_rng(7).normal(size=(6, 5))), tied=True),
    "tagger of mixed cells": lambda: tagger(cell=["gru", "rnn"], num_layers=2, residual=True),
    "transcriber": lambda: transcriber(cell=["gru", leaky], num_layers=2, deltas=True),
    "transcriber, one way": lambda: transcriber(bidirectional=False, stack=1, normalise="global", level="space"),
}


@cache
def made(name: str) -> Estimator:
    """Each model is trained once for all tests, which do not change it."""
    return MAKERS[name]()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.elman"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The file of each model."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def content(name: str) -> bytes:
        made(name).save(folder / "model.elman")
        return (folder / "model.elman").read_bytes()

    return content


def said_by(model: Estimator) -> list[Any]:
    """All that a model says about fresh inputs, as bytes where it is an array."""
    if isinstance(model, LanguageModel):
        return [model.score(["green dogs sleep", "", "£"]), model.evaluate(TEXT), model.generate("gr", 30, seed=5)]
    if isinstance(model, SequenceTagger):
        fresh = [["the", "Cats", "bark"], [], ["unheard"]]
        shares = [p.tobytes() for p in model.predict_proba(fresh)]
        return [shares, model.predict(fresh), model.predict_nbest(fresh, 3), model.classes_, model.spans, model.crf_]
    if isinstance(model, SequenceRegressor):
        fresh = [s[::-1] * 2 for s in series()]
        return [model.predict(fresh).tobytes(), model.evaluate(fresh, range(len(fresh)))]
    if isinstance(model, Transcriber):
        return [[p.tobytes() for p in model.predict_proba(sounds())], model.predict(sounds(), beam=4), model.classes_]
    if isinstance(model, EncoderDecoder):
        fresh = ["a dog glows", "", "zzz"]
        return [model.outputs(fresh, 3), model.evaluate(fresh, fresh), model.align("a dog").weights.tobytes()]
    if isinstance(model, Captioner):
        kind = model.view_.kind
        fresh = {"clip": pictures(), "image": [clip[1] for clip in pictures()], "vector": list(np.eye(5))}[kind]
        return [model.outputs(fresh, 3), model.evaluate(fresh, ["a"] * len(fresh)), model.longest_]
    assert isinstance(model, SequenceClassifier)
    fresh = ["a dog glows", "", "zzz"] if model.vocabulary_ else [s[::-1] * 2 for s in series()]
    return [model.predict_proba(fresh).tobytes(), model.predict(fresh), model.classes_]


@pytest.mark.parametrize("name", MAKERS)
def test_a_loaded_model_says_the_same(path: Path, files: Callable[[str], bytes], name: str) -> None:
    model = made(name)
    path.write_bytes(files(name))
    for read in (type(model).load, load):
        loaded = read(path)
        assert type(loaded) is type(model)
        assert said_by(loaded) == said_by(model)
        assert not loaded.module_.training
        assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.module_.parameters())
        assert {n: b.tolist() for n, b in loaded.module_.named_buffers()} == {
            n: b.tolist() for n, b in model.module_.named_buffers()
        }
        assert loaded.summary_ == model.summary_
        given, found = model.get_params(), loaded.get_params()
        assert {n: list(v) if isinstance(v, tuple) else v for n, v in given.items() if n != "cell"} == {
            n: v for n, v in found.items() if n != "cell"
        }
        again = path.with_name("again.elman")
        loaded.save(again)
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["tied", "series", "tagger of mixed cells"])
def test_a_loaded_model_can_be_trained_anew(path: Path, files: Callable[[str], bytes], name: str) -> None:
    """Its options and cells are those of the model, so that it learns the same again."""
    path.write_bytes(files(name))
    loaded: Any = load(path)
    if name == "tied":
        assert loaded.module_.output.weight is loaded.module_.embedding.weight
        loaded.fit(TEXT.replace(". ", ".\n"))
    elif name == "series":
        loaded.fit(series(), ["up", "down", "flat"] * 4)
    else:
        loaded.fit(SENTENCES, TAGS)
    assert said_by(loaded) == said_by(made(name))


@pytest.mark.parametrize("name", ["tagger", "transducer"])
def test_loading_is_light(path: Path, files: Callable[[str], bytes], name: str) -> None:
    """torch's compiler, which some operations on the meta device import, takes seconds to load."""
    path.write_bytes(files(name))
    code = "import sys; from elman.models import load; load(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_an_own_cell_lives_in_the_file_alone(path: Path, files: Callable[[str], bytes]) -> None:
    path.write_bytes(files("tagger without letters"))
    loaded = SequenceTagger.load(path)
    (cell,) = loaded.cell  # type: ignore[misc]
    assert not isinstance(cell, Cell)
    assert cell.program == leaky.program


def test_the_file_of_another_task(path: Path, files: Callable[[str], bytes]) -> None:
    path.write_bytes(files("tied"))
    with pytest.raises(ModelFileError, match="it is a model for language-model, not for tag"):
        SequenceTagger.load(path)
    path.write_bytes(resealed(files("tied"), edited(files("tied"), ("task",), "translate")))
    with pytest.raises(ModelFileError, match="a model for translate, which this elman does not know; known: language-"):
        load(path)


def test_weights_of_other_types_become_float32(path: Path, files: Callable[[str], bytes]) -> None:
    """Another writer may keep 16 bits; what one kind of number makes of another is the same everywhere."""
    content = files("tagger")
    header, data = split(content)
    text = header.pop("__metadata__")["elman"]
    entries, parts, end = {}, [], 0
    for name, entry in sorted(header.items()):
        a, b = entry["data_offsets"]
        part = np.frombuffer(data[a:b], np.float32).astype(np.float16).tobytes()
        entries[name] = entry | {"dtype": "F16", "data_offsets": [end, end + len(part)]}
        parts.append(part)
        end += len(part)
    path.write_bytes(sealed(text, entries, b"".join(parts)))
    loaded = SequenceTagger.load(path)
    for name, weight in loaded.module_.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, made("tagger").module_.get_parameter(name).half().float())


# --- what cannot be loaded ------------------------------------------------------------------------------------------


def edited(content: bytes, keys: tuple[Any, ...], to: Any) -> str:
    """The document of a file with the place `keys` set, or taken away where `to` is ABSENT."""
    document = json.loads(split(content)[0]["__metadata__"]["elman"])
    part = document
    for key in keys[:-1]:
        part = part[key]
    if to is ABSENT:
        del part[keys[-1]]
    else:
        part[keys[-1]] = to
    return json.dumps(document)


ABSENT = object()


def attempt(path: Path, content: bytes, seconds: float = 2.0) -> Estimator | str:
    """The model, or the one printable line by which it was refused; within bounds of memory and time."""
    path.write_bytes(content)
    tracemalloc.start()
    start, most = time.perf_counter(), _resident()
    try:
        return load(path)
    except ModelFileError as error:
        message = str(error)
        assert message.startswith(f"cannot load {str(path)!r}: ")
        assert message.isprintable()
        assert len(message) < 1000
        return message
    finally:
        elapsed, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * len(content) + ALLOWED, f"{peak:,} bytes allocated for a file of {len(content):,}"
        assert _resident() - most < 64 << 20, "torch took memory"
        assert elapsed < seconds


def _resident() -> int:
    """The memory that the process really has, which tells of torch's too; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


MANY = [f"w{k}" for k in range(1000)]
RECURRENT, HEAD = ("networks", "recurrent", 0), ("options", "head_sizes")


@pytest.mark.parametrize(
    ("name", "keys", "to", "said"),
    [
        # vocabularies
        ("tied", ("vocabularies", "tokens", "tokens"), ["<unk>", "<s>", "</s>", *MANY], "'embedding.weight' must have"),
        (
            "tied",
            ("vocabularies", "tokens", "tokens"),
            ["<unk>", "<s>", "</s>"],
            "'embedding.weight' must have the sha",
        ),
        ("tied", ("vocabularies", "tokens", "tokens"), "abc", "its tokens must be strings"),
        ("tied", ("vocabularies", "tokens", "unknown"), "\x1b", "its unknown token '.*' is not among its tokens"),
        ("tied", ("vocabularies", "tokens", "start"), None, "'tokens' must have unknown and start and end tokens"),
        ("tied", ("vocabularies", "tokens"), ABSENT, "the vocabulary 'tokens' is missing"),
        ("texts by words", ("vocabularies", "labels", "tokens"), ["animal"], "'head.7.weight' must have the shape"),
        ("texts by words", ("vocabularies", "labels", "tokens"), MANY, "'head.7.weight' must have the shape"),
        ("texts by words", ("vocabularies", "labels", "unknown"), "animal", "'labels' must have no special tokens"),
        ("texts by words", ("vocabularies", "level", "level"), "syllable", "the level of the tokens is not known"),
        ("texts by words", ("vocabularies", "level", "level"), ["word"], "the level of the tokens is not known"),
        ("texts by words", ("vocabularies", "level", "level"), "space", "not the one of the options"),
        ("texts by words", ("vocabularies", "level"), ABSENT, "the level of the tokens is not known"),
        ("tagger", ("vocabularies", "tags", "tokens"), ["N", "V"], "'head.4.weight' must have the shape"),
        ("tagger", ("vocabularies", "letters", "tokens"), ["<unk>", "a"], "'letters.weight' must have the shape"),
        ("tagger", ("vocabularies", "words"), ABSENT, "the vocabulary 'words' is missing"),
        ("tagger with a CRF", ("vocabularies", "tags", "tokens"), ["B-N", *MANY], "'(crf|head).*' must have the shape"),
        ("tagger with a CRF", ("vocabularies", "crf", "rules"), "none", "the rules of the CRF are not known"),
        ("tagger with a CRF", ("vocabularies", "crf", "rules"), ["bio"], "the rules of the CRF are not known"),
        ("tagger with a CRF", ("vocabularies", "crf"), {}, "the rules of the CRF are not known"),
        ("tagger with a CRF", ("vocabularies", "crf"), ABSENT, "the rules of the CRF are not known"),
        ("tagger with a CRF", ("vocabularies", "shapes"), ABSENT, "the vocabulary 'shapes' is missing"),
        ("tagger with a CRF", ("options", "crf"), False, "the rules of the CRF are not known"),
        ("tagger with a CRF", ("options", "shape_size"), 3, "the network 'recurrent' has other sizes"),
        ("tagger with a CRF", ("options", "shape_size"), -2, "--shape-size must be a whole number, 0 or more, not -2"),
        ("tagger", ("vocabularies", "crf"), {"rules": "free"}, "the weight 'crf.end' is missing"),
        ("texts with n-grams", ("options", "ngram_rows"), 41, "'direct.weight' must have the shape"),
        ("texts with n-grams", ("options", "ngram_rows"), 1 << 40, "--ngram-rows can be 16,777,216 at most"),
        ("texts with n-grams", ("options", "ngrams"), 0, "the weight 'direct.weight' is not part of the network"),
        ("texts with n-grams", ("options", "ngrams"), 9, "--ngrams can be 8 at most, not 9"),
        ("texts by words", ("options", "ngrams"), 2, "the weight 'direct.weight' is missing"),
        ("series", ("options", "ngrams"), 2, "--ngrams is for texts"),
        # options
        ("tied", ("options",), {}, "the option hidden_size is missing"),
        ("tied", ("options", "tied"), ABSENT, "the option tied is missing"),
        ("tied", ("options", "tied"), False, "the weight 'output.weight' is missing"),
        ("tied", ("options", "tied"), 1, "option tied is not what it should be: Expected `bool`, got `int`"),
        ("tied", ("options", "level"), "syllable", "'syllable' is no level of tokens"),
        ("tied", ("options", "warp"), 9, "the option 'warp' is unknown here; was it made by a newer elman"),
        ("tied", ("options", "hidden_size"), 5, "the network 'recurrent' has other sizes"),
        ("tied", ("options", "hidden_size"), 1 << 40, "its parts do not fit together"),
        ("tied", ("options", "hidden_size"), (1 << 63) - 1, "its parts do not fit together"),
        ("tied", ("options", "hidden_size"), -4, "--hidden-size must be a whole number, 1 or more, not -4"),
        ("tied", ("options", "hidden_size"), "4", "the option hidden_size is not what it should be: Expected `int`"),
        ("tied", ("options", "num_layers"), 1 << 31, "--num-layers must be below 1,024"),
        ("tied", ("options", "num_layers"), 1000, "the network 'recurrent' has other sizes"),
        ("tied", ("options", "embedding_size"), 1 << 31, "the network 'recurrent' has other sizes"),
        ("tied", ("options", "dropout"), 1.5, "--dropout must be a number from 0 to below 1"),
        ("tied", ("options", "lr"), [0.1], "the option lr is not what it should be: Expected `float`"),
        ("tied", ("options", "optimizer"), "warp", "--optimizer is 'warp', which is not known"),
        ("characters", ("options", "tied"), True, "--tied needs an embedding as wide as the output"),
        ("texts by words", HEAD, [], "the weight 'head.4.bias' is not part of the network"),
        ("texts by words", HEAD, [3, 6], "'head.4.weight' must have the shape .6, 3., not .5, 3."),
        ("texts by words", HEAD, [1 << 40, 1 << 40], "its parts do not fit together"),
        ("texts by words", HEAD, [1 << 31, 5], "'head.1.weight' must have the shape"),
        ("texts by words", HEAD, [3] * 2000, "the option head_sizes has 2,000 entries; at most 1,024 are allowed"),
        ("texts by words", HEAD, [3, None], "the option head_sizes is not what it should be: Expected `int`"),
        ("texts by words", HEAD, [-3, 5], "--head-sizes must be whole numbers such as 64,32"),
        ("texts by words", ("options", "pooling"), "attention", "the weight 'pool.attention.0.bias' is missing"),
        ("texts by words", ("options", "pooling"), "median", "--pooling is 'median', which is not known"),
        ("texts by words", ("options", "class_weight"), ["animal=x"], "--class-weight is"),
        ("texts by words", ("options", "class_weight"), [["animal", 1]], "the document is not that of a model"),
        ("texts by words", ("options", "bidirectional"), False, "'recurrent' has other directions or residual layers"),
        ("series", ("options", "residual"), False, "'recurrent' has other directions or residual layers"),
        ("series", ("options", "level"), "char", "not the one of the options"),
        ("tagger", ("options", "letter_hidden_size"), 0, "'recurrent' has other sizes than the options say"),
        ("tagger", ("options", "letter_hidden_size"), 1 << 31, "'characters' has other sizes"),
        ("tagger", ("options", "word_size"), 1 << 31, "'recurrent' has other sizes than the options say"),
        ("tagger without letters", ("options", "letter_hidden_size"), 3, "the network 'characters' is missing"),
        ("transducer", ("networks", "decoder"), ABSENT, "the network 'decoder' is missing"),
        (
            "transducer",
            ("options", "attention"),
            "none",
            "the weight 'attention.key.weight' is not part of the network",
        ),
        (
            "transducer",
            ("options", "input_feeding"),
            True,
            "the network 'decoder' has other sizes than the options say",
        ),
        ("transducer", ("options", "shared"), True, "there is a vocabulary that is not part of the model"),
        ("transducer", ("options", "level"), "subword", "the subwords are damaged: merges must be a list"),
        ("transducer", ("vocabularies", "source"), ABSENT, "the vocabulary 'source' is missing"),
        ("transducer", ("vocabularies", "target", "end"), None, "'target' must have unknown and start and end tokens"),
        ("transducer", ("scaling", "ratio"), [], "the scaling must be the ratio of target to source tokens, above 0"),
        ("transducer", ("scaling", "ratio"), [-1.0], "the scaling must be the ratio of target to source tokens"),
        (
            "transducer of subwords",
            ("vocabularies", "target_merges", "merges"),
            ["q zz"],
            "'q zz' joins no two of them",
        ),
        (
            "transducer of subwords",
            ("options", "embedding_size"),
            1 << 31,
            "'encoder' has other sizes than the options",
        ),
        ("captioner of clips", ("networks", "encoder"), ABSENT, "the network 'encoder' is missing"),
        ("captioner of clips", ("vocabularies", "input", "reads"), "frames", "the kind or the shape of the inputs"),
        (
            "captioner of clips",
            ("vocabularies", "input", "shape"),
            [9, 7],
            "the kind or the shape of the inputs is not",
        ),
        ("captioner of clips", ("vocabularies", "input", "shape"), [9, 7, 2], "pictures have 1 or 3 channels"),
        (
            "captioner of pictures",
            ("vocabularies", "input", "shape"),
            [1 << 20, 7, 3],
            "the weight 'convolution.10.bias' is missing",
        ),
        ("captioner of pictures", ("vocabularies", "input", "shape"), [9, -7, 3], "the kind or the shape of the input"),
        (
            "captioner of pictures",
            ("vocabularies", "input"),
            ABSENT,
            "the kind or the shape of the inputs is not known",
        ),
        ("captioner of pictures", ("vocabularies", "input", "longest"), 1 << 40, "length of the longest caption"),
        ("captioner of pictures", ("options", "channels"), 1 << 31, "its parts do not fit|must have the shape"),
        ("captioner of pictures", ("options", "reads"), "clip", "not the one of the options"),
        ("captioner of vectors", ("vocabularies", "input", "shape"), [1 << 20], "must have a mean and a scale|weight"),
        # scaling
        ("series", ("scaling",), {}, "the scaling must have a mean and a scale for each of the 2 channels"),
        ("series", ("scaling", "mean"), [0.0], "the scaling must have a mean and a scale for each of the 2 channels"),
        ("series", ("scaling", "scale"), [1.0] * 3, "the scaling must have a mean and a scale for each of the 2"),
        ("series", ("scaling", "scale"), [1.0, float("nan")], "the document is not that of a model"),
        ("series", ("scaling", "scale"), [1.0, 0.0], "scales above 0"),
        ("series", ("scaling", "scale"), [-1.0, 1.0], "scales above 0"),
        ("series", ("scaling", "scale"), [1e-300, 1.0], "scales above 0"),
        ("series", ("scaling", "mean"), [1e300, 0.0], "means and scales that float32 can hold"),
        ("regressor", ("vocabularies", "numbers"), ABSENT, "the numbers must have a mean and a scale above 0"),
        ("regressor", ("vocabularies", "numbers", "scale"), 0.0, "the numbers must have a mean and a scale above 0"),
        ("regressor", ("vocabularies", "numbers", "mean"), 1e39, "that float32 can hold"),
        # networks
        ("tied", ("networks",), {}, "the network 'recurrent' is missing"),
        ("tied", (*RECURRENT, "hidden_size"), 5, "gives its hidden units, but the output size is 4, not 5"),
        ("tied", (*RECURRENT, "input_size"), 5, "'recurrent.layers.0.forward_weight_i' must have the shape"),
        ("characters", (*RECURRENT, "direction"), "backward", "'recurrent.layers.0.backward_weight_i' is missing"),
        # the summary
        ("tied", ("training",), {"steps": 1}, "the summary of the training is not what it should be"),
        ("tied", ("training", "steps"), "many", "the summary of the training is not what it should be"),
        ("tied", ("training", "best"), {"loss": []}, "the summary of the training is not what it should be"),
    ],
)
def test_claims_behind_a_right_checksum(
    path: Path, files: Callable[[str], bytes], name: str, keys: tuple[Any, ...], to: Any, said: str
) -> None:
    content = files(name)
    message = attempt(path, resealed(content, edited(content, keys, to)))
    assert isinstance(message, str), "it was loaded"
    if "the document is not" not in said and keys[0] != "networks":
        assert "its parts do not fit together (" in message
    assert re.search(said, message), message


def test_options_of_the_training_may_be_missing(path: Path, files: Callable[[str], bytes]) -> None:
    """They decide nothing of what a model says; a later elman may know more of them."""
    content = files("tagger")
    loaded = attempt(path, resealed(content, edited(content, ("options", "lr"), ABSENT)))
    assert not isinstance(loaded, str)
    assert loaded.lr == 1e-3
    assert said_by(loaded) == said_by(made("tagger"))
    loaded = attempt(path, resealed(content, edited(content, ("training",), {})))
    assert not isinstance(loaded, str)
    assert "summary_" not in loaded.__dict__


def reweighed(
    content: bytes, name: str, change: Callable[[np.ndarray], np.ndarray], rename: str | None = None
) -> bytes:
    """The same model with one weight changed, renamed, or taken away."""
    header, data = split(content)
    text = header.pop("__metadata__")["elman"]
    entries: dict[str, Any] = {}
    parts, end = [], 0
    for key, entry in header.items():
        a, b = entry["data_offsets"]
        array = np.frombuffer(data[a:b], np.float32).reshape(entry["shape"])
        if key == name:
            array = change(array)
            key = name if rename is None else rename
        kind = {"f": "F32", "d": "F64", "l": "I64"}[array.dtype.char]
        part = array.tobytes()
        entries[key] = {"dtype": kind, "shape": array.shape, "data_offsets": [end, end + len(part)]}
        parts.append(part)
        end += len(part)
    return sealed(text, entries, b"".join(parts))


@pytest.mark.parametrize(
    ("change", "rename", "said"),
    [
        (lambda w: w.T, None, "the weight 'output.weight' must have the shape"),
        (lambda w: w[None], None, "the weight 'output.weight' must have the shape"),
        (lambda w: w.astype(np.int64), None, "the weight 'output.weight' must have the shape .* not .* of int64"),
        (lambda w: w * np.float32("nan"), None, "the weight 'output.weight' holds numbers that are not finite"),
        (lambda w: w.astype(np.float64) + 1e300, None, "the weight 'output.weight' holds numbers that are not finite"),
        (lambda w: w, "output.wait", "the weight 'output.wait' is not part of the network"),
        (lambda w: w, "any.layers.7.forward_weight_i", "'any.layers.7.forward_weight_i' is not part of the network"),
    ],
)
def test_weights_that_do_not_fit(
    path: Path, files: Callable[[str], bytes], change: Callable[[np.ndarray], np.ndarray], rename: str | None, said: str
) -> None:
    message = attempt(path, reweighed(files("characters"), "output.weight", change, rename))
    assert isinstance(message, str)
    assert re.search(said, message), message


def test_what_goes_unchanged_through_the_forge_is_loaded(path: Path, files: Callable[[str], bytes]) -> None:
    """The ground of the tests above: it is the change that is refused."""
    for name in MAKERS:
        content = files(name)
        loaded = attempt(path, resealed(content, edited(content, ("elman",), "0.0.0")))
        assert isinstance(loaded, Estimator), loaded
    loaded = attempt(path, reweighed(files("characters"), "output.weight", lambda w: w))
    assert isinstance(loaded, Estimator)
    assert said_by(loaded) == said_by(made("characters"))


def test_a_network_that_is_not_part_of_the_model(path: Path, files: Callable[[str], bytes]) -> None:
    """With weights or without: nothing in a model file goes unread."""
    content = files("tagger without letters")
    layer = json.loads(split(content)[0]["__metadata__"]["elman"])["networks"]["recurrent"][0]
    message = attempt(path, resealed(content, edited(content, ("networks", "more"), [layer])))
    assert "the weight 'more.layers.0.forward_" in str(message)


# --- mutations ------------------------------------------------------------------------------------------------------

VALUES = [
    0, 1, 2, 3, 4, 7, -1, 2**31, 2**31 - 1, 2**40, 2**63 - 1, -(2**63), 0.5, -0.5, 1e308, 1e-308, True, False, None,
    "", "lstm", "char", "word", "series", "both", "backward", "\x1b[31m", "x" * 3000, [], [1], [2**40], ["a", "a"], {},
    {"a": 1},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, item in items for place in places(item, (*path, key))]


def mutated(document: Any, rng: random.Random) -> str:
    """Some places of a document set to something else, taken away, doubled, or exchanged."""
    parts = rng.choice((("options",), ("vocabularies",), ("networks",), ("scaling", "training"), tuple(document)))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        known = [place for place in places(document) if place[0] in parts]
        if not known:
            break
        place, other = rng.choice(known), rng.choice(known)
        part, source = document, document
        for key in place[:-1]:
            part = part[key]
        for key in other:
            source = source[key]
        match rng.randrange(6):
            case 0:
                del part[place[-1]]
            case 1:
                part[place[-1]] = json.loads(json.dumps(source))
            case 2 if isinstance(part[place[-1]], list):
                part[place[-1]] = part[place[-1]] * rng.choice((0, 2, 500))
            case _:
                part[place[-1]] = rng.choice(VALUES)
    return json.dumps(document)


@pytest.mark.parametrize(
    "name", ["tied", "texts by words", "series", "tagger", "tagger without letters", "transcriber"]
)
def test_mutations(path: Path, files: Callable[[str], bytes], name: str) -> None:
    """60 seeded mutations of each: refused in one line, or a model that still works or says so by an error of ours."""
    rng = random.Random(name)
    content = files(name)
    original = split(content)[0]["__metadata__"]["elman"]
    refused = 0
    for k in range(60):
        document = mutated(json.loads(original), rng)
        loaded = attempt(path, resealed(content, document))
        if isinstance(loaded, str):
            refused += 1
        else:
            assert said_by(loaded), f"mutation {k}: {document}"
    assert refused > 20


def test_damaged_bytes(path: Path, files: Callable[[str], bytes]) -> None:
    """The checksum guards estimators as it guards documents."""
    rng, content = random.Random(7), files("tagger")
    for _ in range(50):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        assert isinstance(attempt(path, bytes(damaged)), str)


def test_options_that_no_file_could_hold() -> None:
    """What a file could not be read with again is refused before training."""
    with pytest.raises(OptionError, match="--tied must be true or false, not 1"):
        LanguageModel(tied=1).check()  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--num-layers must be below 1,024, not 1,024"):
        LanguageModel(num_layers=1024).check()
    with pytest.raises(OptionError, match="--head-sizes has 1,025 layers; at most 1,024 are allowed"):
        SequenceTagger(head_sizes=[1] * 1025).check()
    LanguageModel(lines=None, num_layers=1023).check()
    SequenceTagger(head_sizes=[1] * 1024).check()
