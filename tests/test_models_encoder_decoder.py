"""Encoder-decoders: a made task is learnt, the loss by hand, several right answers, unknown words, resuming, errors."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from elman.data import Table
from elman.data.batching import pad
from elman.errors import DataError, OptionError, TrainingError
from elman.models import EncoderDecoder
from elman.models.estimator import as_tensor
from elman.models.write import writer as module
from elman.models.write.encoder_decoder import _Trainee

SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 8, "embedding_size": 6, "epochs": 1, "batch_size": 4, "valid_fraction": 0.0,
    "patience": None, "dropout": 0.0,
}  # fmt: skip
X = ["the dog barks", "a cat", "the cat sleeps well", "a dog"]
Y = ["der Hund bellt", "eine Katze", "die Katze schläft gut", "ein Hund"]


def small(**options: Any) -> EncoderDecoder:
    return EncoderDecoder(**{**SMALL, **options}).fit(X, Y)


def reversals(count: int, seed: int) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    words = ["".join(generator.choice(list("abcde"), generator.integers(1, 7))) for _ in range(count)]
    return words, [word[::-1] for word in words]


# -- learning ----------------------------------------------------------------------------------------------------------
def test_it_reverses_strings_and_does_so_in_a_fresh_process(tmp_path: Path) -> None:
    """Copying the source is right for palindromes, few beyond single letters."""
    model = EncoderDecoder(
        level="char", cell="gru", hidden_size=32, embedding_size=16, epochs=12, lr=0.02, schedule="cosine",
        batch_size=20, dropout=0.0,
    ).fit(*reversals(500, 0))  # fmt: skip
    sources, targets = reversals(80, 1)
    copying = float(np.mean([a == b for a, b in zip(sources, targets)]))
    figures = model.evaluate(sources, targets)
    assert copying < 0.35
    assert figures["accuracy"] > 0.9
    assert figures["error_rate"] < 0.1
    assert model.score(sources, targets) == figures["accuracy"]
    model.save(tmp_path / "model.elman")
    code = (
        "import sys; from elman.models import load; m = load(sys.argv[1]); print(m.predict(sys.argv[2:]));"
        "print([o.log_probability for o in m.outputs(sys.argv[2:], 3)[0]])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.elman"), *sources[:9]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = [o.log_probability for o in model.outputs(sources[:9], 3)[0]]
    assert run.stdout.splitlines() == [str(model.predict(sources[:9])), str(expected)]


def test_attention_finds_the_letter_that_is_written(tmp_path: Path) -> None:
    model = EncoderDecoder(
        level="char", cell="gru", hidden_size=32, embedding_size=16, epochs=8, lr=0.02, batch_size=20, dropout=0.0,
        attention="dot",
    ).fit(*reversals(500, 0))  # fmt: skip
    source, target, weights = model.align("abcde", "edcba")
    assert (source, target) == ([*"abcde", "</s>"], [*"edcba", "</s>"])
    assert np.allclose(weights.sum(1), 1, atol=1e-5)
    near = np.abs(weights[:5, :5].argmax(1) - np.arange(5)[::-1])
    assert (near <= 1).mean() >= 0.8


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "none"},
        {"attention": "none", "initial_state": "mean", "bidirectional": False, "cell": "slstm"},
        {"attention": "dot", "input_feeding": True, "num_layers": 2, "cell": ["lstm", "gru"]},
        {"shared": True, "tied": True, "lower": True, "label_smoothing": 0.1},
        {"level": "char", "target_level": "word", "scheduled_sampling": 1.0, "epochs": 2},
        {"level": "subword", "target_level": "space", "max_vocabulary": 30, "residual": True, "num_layers": 2},
        {"level": "subword", "shared": True, "max_vocabulary": 40, "zoneout": {"h": 0.1}, "dropout": 0.3},
        {"cell": "jordan", "attention": "dot"},
    ],
)
def test_every_part_can_be_chosen_saved_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    model = small(**options)
    model.save(tmp_path / "model.elman")
    loaded = EncoderDecoder.load(tmp_path / "model.elman")
    fresh = ["a cat barks", "", "unheard of"]
    assert loaded.outputs(fresh, 2) == model.outputs(fresh, 2)
    assert loaded.evaluate(X, Y) == model.evaluate(X, Y)
    shared = model.module_.source is model.module_.target
    assert shared is (loaded.module_.source is loaded.module_.target) is bool(options.get("shared"))
    assert (loaded.module_.output.weight is loaded.module_.target.weight) is bool(options.get("tied"))


def test_two_fits_are_the_same() -> None:
    one, two, other = (small(level="subword", scheduled_sampling=0.5, epochs=3, seed=seed) for seed in (1, 1, 2))
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name)), name
    assert not torch.equal(one.module_.target.weight, other.module_.target.weight)


def test_sampling_grows_epoch_by_epoch_and_a_resumed_run_goes_on_with_it(tmp_path: Path) -> None:
    options = {**SMALL, "epochs": 5, "scheduled_sampling": 0.8, "dropout": 0.2, "checkpoint_steps": 1}
    whole = EncoderDecoder(**options).fit(X, Y, folder=tmp_path / "whole")
    trainee = _Trainee(whole, *whole._numbered(X, [[y] for y in Y], ""), None)
    assert [trainee.epoch(k)[0][0] for k in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])

    class Stopped(Exception):
        pass

    part = EncoderDecoder(**options)
    steps, own = [0], part.loss

    def loss(*given: Any) -> Any:
        steps[0] += 1
        if steps[0] == 4:
            raise Stopped
        return own(*given)

    part.loss = loss  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        part.fit(X, Y, folder=tmp_path / "part")
    EncoderDecoder(**options).fit(X, Y, folder=tmp_path / "part", resume=True)
    last = [next((tmp_path / name).glob("checkpoint-*")) for name in ("whole", "part")]
    one, two = (load_file(folder / "model.safetensors") for folder in last)
    assert {name: array.tobytes() for name, array in one.items()} == {n: array.tobytes() for n, array in two.items()}
    with pytest.raises(TrainingError):
        EncoderDecoder(**options).fit(X, Y[::-1], folder=tmp_path / "part", resume=True)


def test_the_decoder_runs_once_a_batch_unless_steps_need_each_other() -> None:
    calls: list[int] = []
    for options, runs in (({}, 1), ({"input_feeding": True}, 5), ({"scheduled_sampling": 1.0}, 5)):
        model = small(**options)
        calls.clear()
        model.module_.decoder.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
        read, written = model._numbered(X, [[y] for y in Y], "")
        model.loss(read, written, model.scheduled_sampling)
        assert (len(calls), sum(calls)) == (runs, 5)


# -- figures -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attention", ["none", "dot"])
def test_the_loss_is_the_mean_over_tokens_by_hand(attention: str) -> None:
    model = small(attention=attention)
    total, count = 0.0, 0
    start = model.target_.vocabulary.start_index
    for source, target in zip(X, Y):
        read, written = model.source_.ended(source.split()), model.target_.ended(target.split())
        numbers, lengths = pad([read])
        with torch.no_grad():
            memory, carried = model.module_.encode(as_tensor(numbers, model.module_.output.weight), lengths.tolist())
            before = start
            for token in written:
                logits, carried = model.module_.step(torch.tensor([before]), carried, memory)
                total, count, before = total - float(logits[0].log_softmax(-1)[token]), count + 1, int(token)
    figures = model.evaluate(X, Y)
    assert count == 3 + 2 + 4 + 2 + 4  # the ends among them
    assert figures["loss"] == pytest.approx(total / count, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    read, written = model._numbered(X, [[y] for y in Y], "")
    assert model.loss(read, written)[0].item() == pytest.approx(total / count, rel=1e-5)
    smooth = model.loss(read, written, smoothing=0.2)[0].item()
    assert smooth > model.loss(read, written)[0].item() * 0.8


def test_order_and_company_do_not_matter() -> None:
    model = small(level="char")
    texts = ["a", "", "the dog barks", "cats", "zzz", "the dog barks and barks"]
    alone = [model.outputs([text], 3)[0] for text in texts]
    together, turned = model.outputs(texts, 3), model.outputs(texts[::-1], 3)[::-1]
    for one, two, three in zip(alone, together, turned):
        assert [o.text for o in one] == [o.text for o in two] == [o.text for o in three]
        assert [o.score for o in one] == pytest.approx([o.score for o in two], abs=1e-4)
        assert [o.score for o in one] == sorted((o.score for o in one), reverse=True)
    assert model.outputs([]) == []


def test_any_of_several_targets_is_right() -> None:
    """A dictionary's word may have several sounds: repeated sources and lists of targets say the same."""
    sources, targets = ["a", "a", "b"], ["x", "y y", "z"]
    one = EncoderDecoder(**{**SMALL, "level": "char", "target_level": "space"}).fit(sources, targets)
    two = EncoderDecoder(**{**SMALL, "level": "char", "target_level": "space"}).fit(["a", "b"], [["x", "y y"], ["z"]])
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name))
    assert one.evaluate(sources, targets) == two.evaluate(["a", "b"], [["x", "y y"], ["z"]])
    written = one.predict(["a", "b"])
    right = one.evaluate(["a", "a", "b"], ["nothing", written[0], "nothing"])
    assert right["accuracy"] == 0.5
    assert right["error_rate"] == pytest.approx(max(1, len(written[1].split())) / (len(written[0].split()) + 1))


def test_the_held_out_part_has_sources_of_its_own() -> None:
    model = EncoderDecoder(**{**SMALL, "valid_fraction": 0.4})
    sources = ["a", "b", "a", "c", "d", "a", "b", "e"]
    kept, out = model._apart(sources)
    assert sorted([*kept, *out]) == list(range(8))
    assert not {sources[i] for i in kept} & {sources[i] for i in out}
    assert len({sources[i] for i in out}) == 2


def test_judged_by_greedy_search_while_it_learns() -> None:
    options = {**SMALL, "monitor": "accuracy", "valid_fraction": 0.5, "level": "char"}
    best = EncoderDecoder(**options).fit(X, Y).summary_.best
    assert set(best) == {"loss", "perplexity", "accuracy", "error_rate"}
    assert set(small(valid_fraction=0.5).summary_.best) == {"loss", "perplexity"}
    assert "bleu" in EncoderDecoder(**{**options, "level": "word", "monitor": "bleu"}).fit(X, Y).summary_.best


# -- words -------------------------------------------------------------------------------------------------------------
def test_an_unknown_word_is_copied_from_where_attention_looks() -> None:
    model = small(min_count=2)
    v = model.target_.vocabulary
    assert len(v) == 3 + 2  # Hund and Katze
    model.module_.output.weight.data.zero_()
    model.module_.output.bias.data = torch.tensor([5.0 if t == "<unk>" else 0.0 for t in v.tokens])
    model.module_.output.bias.data[v.end_index] = 4.9
    model.beam_size = 1
    model.ratio_ = 1.0
    written = model.predict(["the axolotl"])[0].split()
    assert len(written) == 20 + 2 * 3
    assert set(written) <= {"the", "axolotl"}
    weights = model._weights(model.source_.ended(["the", "axolotl"]), np.full(26, v.unknown_index))
    assert written == [["the", "axolotl"][s] for s in weights[:, :2].argmax(1)]
    model.replace_unknown = False
    assert set(model.predict(["the axolotl"])[0].split()) == {"<unk>"}


@pytest.mark.parametrize("level", ["char", "word", "space", "subword"])
def test_marks_that_are_written_in_a_text_are_no_marks(level: str) -> None:
    model = EncoderDecoder(**SMALL, level=level).fit(["a </s> b", "<s> c"], ["a </s> b", "<s> c"])
    for side in (model.source_, model.target_):
        numbers = side.ended(side.tokenize("a </s> b"))
        assert numbers[-1] == side.vocabulary.end_index
        assert side.vocabulary.end_index not in numbers[:-1]
        assert side.vocabulary.start_index not in side.ended(side.tokenize("<s> c"))


# -- inputs ------------------------------------------------------------------------------------------------------------
def test_tables_paths_and_lists_are_the_same(tmp_path: Path) -> None:
    rows = "".join(f"{x}\t{y}\n" for x, y in zip(X, Y))
    (tmp_path / "pairs.tsv").write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    table = Table("here", {"en": list(X), "de": list(Y)}, [1, 2, 3, 4])
    models = [
        EncoderDecoder(**SMALL).fit(tmp_path / "pairs.tsv"),
        EncoderDecoder(**SMALL, input="en", target="de").fit(table),
    ]
    expected = small().evaluate(X, Y)
    assert models[0].evaluate(tmp_path / "pairs.tsv") == expected
    assert models[1].evaluate(table) == expected
    assert models[1].predict(table) == models[0].predict(X)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("abc", ["x"], "the sources must come as a list, a table or a Path, not str"),
        (["a", 3], ["x", "y"], "the sources, number 2: a source is a text, not int"),
        (["a", "b"], ["x"], "there are 2 sources and 1 targets; each source needs one"),
        (["a"], None, "targets are missing: give y beside X"),
        (["a"], [None], "the sources, number 1: a target is a text, or a list of texts"),
        (["a"], [[]], "the sources, number 1: a target is a text, or a list of texts"),
        (["a"], [["x", 2]], "the sources, number 1: a target is a text, or a list of texts"),
        ([], [], "there are no pairs of a source and a target"),
        (Table("t.tsv", {"a": ["x"], "target": ["y"]}, [1]), None, "t.tsv has no column 'source'"),
    ],
)
def test_bad_data_gets_one_sentence(X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EncoderDecoder(**SMALL).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "wrod"}, "--level 'wrod' is no level of tokens .did you mean 'word'"),
        ({"target_level": "series"}, "--target-level 'series' is no level of tokens"),
        ({"attention": "luong"}, "--attention 'luong' is not known"),
        ({"initial_state": "finl"}, "--initial-state 'finl' is not known .did you mean 'final'"),
        ({"monitor": "f1"}, "--monitor 'f1' is not known"),
        ({"monitor": "bleu", "level": "char"}, "--monitor bleu is for targets of words or subwords"),
        ({"shared": True, "target_level": "char"}, "--shared needs one level, but the target's is char"),
        ({"input_feeding": True, "attention": "none"}, "--input-feeding feeds on what attention finds"),
        ({"scheduled_sampling": 1.5}, "--scheduled-sampling must be a number from 0 to 1, not 1.5"),
        ({"label_smoothing": 1}, "--label-smoothing must be a number from 0 to below 1"),
        ({"beam_size": 0}, "--beam-size must be a whole number, 1 or more, not 0"),
        ({"length_penalty": -1}, "--length-penalty must be a number, 0 or more"),
        ({"max_vocabulary": 3}, "--max-vocabulary must be a whole number, 4 or more, or none"),
        ({"embedding_size": 0}, "--embedding-size must be a whole number, 1 or more"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EncoderDecoder(**{**SMALL, **options}).fit(X, Y)


def test_what_a_model_cannot_do() -> None:
    with pytest.raises(OptionError, match="has no weights yet"):
        EncoderDecoder().predict(["a"])
    model = small(attention="none")
    with pytest.raises(OptionError, match="this model has no attention: train it with --attention additive or dot"):
        model.align("a dog")
    with pytest.raises(OptionError, match="--n-best 6 needs a --beam-size of 6 or more, not 5"):
        model.outputs(["a dog"], 6)


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention of many long pairs at once would not fit into memory."""
    model = small()
    read, written = model._numbered(X, [[y] for y in Y], "")
    whole = model._loss(read, written)
    monkeypatch.setattr(module, "MOST_PAIRS", 30)
    assert sorted(map(len, model.batches(read, written))) == [1, 1, 2]  # 5·5; 4·4; 3·3 twice
    assert model._loss(read, written) == pytest.approx(whole)
