"""Taggers: letters read once and put in the right places, unseen words, spans, ragged losses, inputs and errors."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from elman.data import Table, read_table
from elman.errors import DataError, OptionError, TrainingError
from elman.models import SequenceTagger, inputs
from elman.models.tag.tagger import _Trainee
from elman.runtime import inputs as runtime_inputs
from elman.training.metrics import span_f1

SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 8, "word_size": 6, "letter_size": 5, "letter_hidden_size": 4,
    "epochs": 1, "valid_fraction": 0.0, "patience": None,
}  # fmt: skip

WORDS = [["the", "cat", "sat"], ["a", "dog"], ["the", "dog", "sat", "down"]]
TAGS = [["D", "N", "V"], ["D", "N"], ["D", "N", "V", "R"]]

ENDINGS = {"o": "NOUN", "a": "ADJ", "e": "ADV", "i": "PLURAL"}


def made(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences of made words, whose last letter tells the tag."""
    generator = np.random.default_rng(seed)
    sentences = []
    for _ in range(count):
        stems = ["".join(generator.choice(list("bdklmnprst"), 3)) for _ in range(generator.integers(1, 8))]
        sentences.append([stem + str(generator.choice(list(ENDINGS))) for stem in stems])
    return sentences, [[ENDINGS[word[-1]] for word in words] for words in sentences]


# -- letters -----------------------------------------------------------------------------------------------------------
def test_each_distinct_word_is_spelled_once_and_lands_in_its_places() -> None:
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    batch = [["sat", "the", "sat"], [], ["a", "the"]]
    words, which, letters, _, counts, lengths = model.batch(batch)
    assert lengths.tolist() == [3, 0, 2]
    assert words.shape == which.shape == (3, 3)
    assert letters.shape == (3, 3)  # the longest word, and three distinct ones
    spelled = ["".join(model.letters_.decode(letters[: counts[u], u].numpy())) for u in range(3)]
    assert sorted(spelled) == ["a", "sat", "the"]
    for b, sentence in enumerate(batch):
        assert [spelled[which[t, b]] for t in range(len(sentence))] == sentence
        assert model.words_.decode(words[: len(sentence), b].numpy()) == sentence


@pytest.mark.parametrize("cell", ["gru", "lstm", "lstm_peephole"])
def test_order_and_company_of_sentences_do_not_matter(cell: str) -> None:
    model = SequenceTagger(**{**SMALL, "cell": cell}).fit(WORDS, TAGS)
    sentences = [["the"], [], ["sat", "xyzzy", "cat", "a"], ["dog", "dog"], [""], ["the", "unseenly", "sat"]]
    alone = [model.predict_proba([words])[0] for words in sentences]
    order = [3, 0, 5, 1, 4, 2]
    together, permuted = model.predict_proba(sentences), model.predict_proba([sentences[i] for i in order])
    for i, one in enumerate(alone):
        assert one.shape == (len(sentences[i]), len(model.classes_))
        assert np.allclose(one, together[i], atol=1e-6)
        assert np.allclose(one, permuted[order.index(i)], atol=1e-6)
        assert np.allclose(one.sum(1), 1)
    assert model.predict([]) == []
    assert model.predict([[]]) == [[]]


def test_letters_keep_their_case_where_words_do_not() -> None:
    model = SequenceTagger(**SMALL).fit([["Cat", "cat", "CAT"]], [["A", "B", "C"]])
    assert len(model.words_) == 2
    assert len(model.letters_) == 1 + 6
    assert not np.array_equal(model.predict_proba([["Cat"]])[0], model.predict_proba([["cat"]])[0])
    other = SequenceTagger(**SMALL, lower=False).fit([["Cat", "cat", "CAT"]], [["A", "B", "C"]])
    assert len(other.words_) == 4


def test_without_letters_unknown_words_are_all_alike(tmp_path: Path) -> None:
    model = SequenceTagger(**{**SMALL, "letter_hidden_size": 0}).fit(WORDS, TAGS)
    assert model.module_.characters is None
    assert not any(name.startswith(("letters", "characters")) for name, _ in model.module_.named_parameters())
    one, two = model.predict_proba([["the", "foo"], ["the", "bar"]])
    assert np.allclose(one, two, atol=1e-6)
    model.save(tmp_path / "model.elman")
    assert SequenceTagger.load(tmp_path / "model.elman").predict(WORDS) == model.predict(WORDS)


def test_a_very_long_word_is_read_by_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_inputs, "LETTERS", 3)
    model = SequenceTagger(**SMALL).fit([["abcdefghi", "abcxyzghi", "abcdef"]], [["A", "B", "A"]])
    read = model.batch([["abcdefghi", "abcdef"]])
    letters, counts = read.letters, read.letter_counts
    assert counts.tolist() == [6, 6]
    assert "".join(model.letters_.decode(letters[:, 0].numpy())) == "abcghi"
    assert "".join(model.letters_.decode(letters[:, 1].numpy())) == "abcdef"


def test_several_cells_in_a_stack() -> None:
    model = SequenceTagger(**{**SMALL, "cell": ["lstm", "gru"], "num_layers": 2}).fit(WORDS, TAGS)
    assert [layer.program.name for layer in model.module_.recurrent.layers] == ["lstm", "gru"]
    assert [layer.program.name for layer in model.module_.characters.layers] == ["lstm"]


# -- learning ----------------------------------------------------------------------------------------------------------
def test_unseen_words_get_their_tags_by_their_letters() -> None:
    model = SequenceTagger(**{**SMALL, "epochs": 12, "lr": 0.02, "dropout": 0.0, "letter_hidden_size": 8})
    model.fit(*made(150, seed=0))
    sentences, tags = made(60, seed=1)
    figures = model.evaluate(sentences, tags)
    unseen = [word for words in sentences for word in words if word not in model.words_]
    assert len(unseen) > 100
    assert figures["accuracy_unknown"] == 1.0
    assert figures["accuracy"] == 1.0
    assert model.predict([["zzzo", "zza"]]) == [["NOUN", "ADJ"]]


def test_the_context_decides_where_it_must() -> None:
    """The tag of x is the word before it; read backwards, the word after."""
    generator = np.random.default_rng(0)
    sentences = [["b" if bit else "c", "x"][:: generator.choice([1, -1])] for bit in generator.integers(0, 2, 80)]
    tags = [[other if word == "x" else "-" for word, other in zip(s, s[::-1])] for s in sentences]
    model = SequenceTagger(**{**SMALL, "epochs": 15, "lr": 0.03, "dropout": 0.0}).fit(sentences, tags)
    assert model.score(sentences, tags) == 1.0
    one_way = SequenceTagger(**{**SMALL, "epochs": 15, "lr": 0.03, "dropout": 0.0}, bidirectional=False)
    assert one_way.fit(sentences, tags).score(sentences, tags) < 0.95


def test_two_fits_give_the_same_weights() -> None:
    options = {**SMALL, "epochs": 2, "word_dropout": 0.2, "valid_fraction": 0.3}
    one, two, other = (SequenceTagger(**options, seed=seed).fit(*made(20, 0)) for seed in (1, 1, 2))
    for name, weight in one.module_.named_parameters():
        assert torch.equal(weight, two.module_.get_parameter(name)), name
    assert not torch.equal(one.module_.words.weight, other.module_.words.weight)


def test_a_run_is_not_resumed_with_other_words(tmp_path: Path) -> None:
    SequenceTagger(**SMALL).fit(WORDS, TAGS, folder=tmp_path / "run")
    other = [[word.replace("cat", "owl") for word in words] for words in WORDS]
    with pytest.raises(TrainingError):
        SequenceTagger(**SMALL).fit(other, TAGS, folder=tmp_path / "run", resume=True)


# -- word dropout ------------------------------------------------------------------------------------------------------
def test_words_are_dropped_only_while_training() -> None:
    model = SequenceTagger(**{**SMALL, "dropout": 0.0, "letter_hidden_size": 0}, word_dropout=0.5).fit(WORDS, TAGS)
    seen: list[torch.Tensor] = []
    model.module_.words.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    sentence = ["the", "cat", "sat", "down"] * 500
    batch = model.batch([sentence])
    model.module_.train()
    model.module_(batch)
    model.module_.eval()
    model.module_(batch)
    unknown = model.words_.unknown_index
    dropped = (seen[0] == unknown).double().mean().item()
    assert dropped == pytest.approx(0.5, abs=0.05)
    assert torch.equal(seen[0][seen[0] != unknown], batch.words[seen[0] != unknown])
    assert torch.equal(seen[1], batch.words)


# -- figures -----------------------------------------------------------------------------------------------------------
def test_loss_is_a_mean_over_words_whatever_the_lengths() -> None:
    model = SequenceTagger(**{**SMALL, "dropout": 0.0}).fit(WORDS, TAGS)
    numbers = model._numbers(TAGS, "here")
    one = _Trainee(model, WORDS, numbers, [], [])
    loss, units, _ = one.loss(np.array([2, 0, 1]), None)
    shares = model.predict_proba(WORDS)
    each = [-math.log(s[t, n[t]]) for s, n in zip(shares, numbers) for t in range(len(n))]
    assert units == len(each) == 9
    assert loss.item() == pytest.approx(sum(each) / 9, rel=1e-5)
    figures = model.evaluate(WORDS, TAGS)
    assert figures["loss"] == pytest.approx(sum(each) / 9, rel=1e-5)
    right = [a == b for words, tags in zip(model.predict(WORDS), TAGS) for a, b in zip(words, tags)]
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert "accuracy_unknown" not in figures


def test_padding_does_not_reach_the_loss() -> None:
    model = SequenceTagger(**{**SMALL, "dropout": 0.0}).fit(WORDS, TAGS)
    numbers = model._numbers(TAGS, "here")
    alone = 0.0
    for words, own in zip(WORDS, numbers):
        logits = model.module_(model.batch([words]))
        alone += cross_entropy(logits[:, 0], torch.from_numpy(own), reduction="sum").item()
    together = _Trainee(model, WORDS, numbers, [], []).loss(np.arange(3), None)[0].item()
    assert together == pytest.approx(alone / 9, rel=1e-5)


def test_accuracy_on_unknown_words_by_hand() -> None:
    model = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    sentences, tags = [["THE", "owl"], ["cat", "ran", "fast"]], [["D", "N"], ["N", "V", "R"]]
    found = model.predict(sentences)
    right = [found[0][1] == "N", found[1][1] == "V", found[1][2] == "R"]  # THE is known: case is ignored
    assert model.evaluate(sentences, tags)["accuracy_unknown"] == pytest.approx(np.mean(right))


def test_rare_words_count_as_unknown() -> None:
    model = SequenceTagger(**SMALL, min_count=2).fit(WORDS, TAGS)
    assert {w for w in ("the", "cat", "sat", "a", "dog", "down") if w in model.words_} == {"the", "sat", "dog"}


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ([["B-PER", "I-PER", "O"]], True),
        ([["O", "B-LOC", "B-LOC"]], True),
        ([["O", "O", "O"]], False),  # nothing is marked
        ([["I-PER", "I-PER", "O"]], False),
        ([["B-PER", "X", "O"]], False),
        ([["B-", "O", "O"]], False),
        ([["NOUN", "B-PER", "O"]], False),
    ],
)
def test_span_tags_are_recognised(tags: list[list[str]], spans: bool) -> None:
    model = SequenceTagger(**SMALL).fit([["a", "b", "c"]], tags)
    assert model.spans is spans
    assert ("f1" in model.evaluate([["a", "b", "c"]], tags)) is spans


def test_span_figures_are_of_whole_spans() -> None:
    sentences = [["Ada", "Lovelace", "met", "Bob"], ["in", "Rome", "today"]] * 8
    tags = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC", "O"]] * 8
    model = SequenceTagger(**{**SMALL, "valid_fraction": 0.25, "epochs": 4, "lr": 0.02}).fit(sentences, tags)
    figures = model.evaluate(sentences, tags)
    expected = span_f1(tags, model.predict(sentences))
    assert all(figures[name] == expected[name] for name in ("precision", "recall", "f1"))
    assert model.score(sentences, tags) == figures["f1"]
    assert set(model.summary_.best) >= {"f1", "precision", "recall", "accuracy", "loss"}


# -- inputs ------------------------------------------------------------------------------------------------------------
def test_an_empty_sentence_inside_a_batch_changes_nothing() -> None:
    with_empty = SequenceTagger(**SMALL).fit([WORDS[0], [], *WORDS[1:]], [TAGS[0], [], *TAGS[1:]])
    without = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    for one, two in zip(with_empty.predict_proba(WORDS), without.predict_proba(WORDS)):
        assert np.array_equal(one, two)
    assert with_empty.predict([[], WORDS[1], []])[1] == without.predict(WORDS)[1]
    assert with_empty.evaluate([[], *WORDS], [[], *TAGS]) == pytest.approx(without.evaluate(WORDS, TAGS))


def test_json_lines_conllu_and_bio_files(tmp_path: Path) -> None:
    lists = SequenceTagger(**SMALL).fit(WORDS, TAGS)
    lines = [f'{{"tokens": {words}, "tags": {tags}}}'.replace("'", '"') for words, tags in zip(WORDS, TAGS)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = [
        "".join(f"{i}\t{w}\t_\t{t}\t_\t_\t0\t_\t_\t_\n" for i, (w, t) in enumerate(zip(words, tags), 1))
        for words, tags in zip(WORDS, TAGS)
    ]
    (tmp_path / "a.conllu").write_text("\n".join(rows) + "\n")
    columns = ["".join(f"{w}\t{t}\n" for w, t in zip(words, tags)) for words, tags in zip(WORDS, TAGS)]
    (tmp_path / "a.conll").write_text("\n".join(columns))
    for name in ("a.jsonl", "a.conllu", "a.conll"):
        path = tmp_path / name
        for data in (path, read_table(path)):
            model = SequenceTagger(**SMALL).fit(data, valid=data)
            assert model.predict(data) == lists.predict(WORDS), name
            assert model.evaluate(data) == pytest.approx(lists.evaluate(WORDS, TAGS)), name
    renamed = Table("t", {"w": WORDS, "pos": TAGS}, [1, 2, 3])
    model = SequenceTagger(**SMALL, input="w", target="pos").fit(renamed, valid=(WORDS, TAGS))
    assert model.predict(renamed) == lists.predict(WORDS)


def test_arrays_and_tuples_of_words() -> None:
    model = SequenceTagger(**SMALL).fit([np.array(words) for words in WORDS], [tuple(tags) for tags in TAGS])
    assert model.predict([tuple(words) for words in WORDS]) == model.predict(WORDS)


TABLE = Table("train.jsonl", {"tokens": WORDS, "tags": [TAGS[0], ["D"], TAGS[2]]}, [1, 4, 5])


@pytest.mark.parametrize(
    ("sentences", "tags", "message"),
    [
        (TABLE, None, "train.jsonl, line 4: 2 words but 1 tags; each word needs one"),
        (WORDS, TAGS[:2], "3 sentences and 2 lists of tags"),
        (WORDS, None, "tags are missing: give y beside X"),
        (WORDS, [*TAGS[:2], "DNVR"], "number 3: the tags of a sentence are a list, not str"),
        (WORDS, [*TAGS[:2], None], "number 3: the tags of a sentence are a list, not NoneType"),
        (WORDS, [*TAGS[:2], ["D", "N", "V", ""]], "number 3: a tag is missing"),
        (WORDS, [*TAGS[:2], ["D", "N", "V", None]], "number 3: a tag is missing"),
        (["the cat sat", *WORDS[1:]], TAGS, "number 1: a sentence is a list of words, not str"),
        ([None, *WORDS[1:]], TAGS, "number 1: a sentence is a list of words, not NoneType"),
        ([["the", 5, "sat"], *WORDS[1:]], TAGS, "number 1: a word is a text, not int"),
        ([["the", None, "sat"], *WORDS[1:]], TAGS, "number 1: a word is a text, not NoneType"),
        ("a text", TAGS, "the sentences must come as a list, a table or a Path, not str"),
        (None, TAGS, "the sentences must come as a list"),
        (WORDS, 7, "the tags must come as a list"),
        ([], [], "there are no words"),
        ([[], []], [[], []], "there are no words"),
        (Table("t.csv", {"words": WORDS}, [1, 2, 3]), None, "t.csv has no column 'tokens'"),
        (Table("t.csv", {"tokens": WORDS}, [1, 2, 3]), None, "t.csv has no column 'tags'"),
    ],
)
def test_wrong_data(sentences: Any, tags: Any, message: str) -> None:
    model = SequenceTagger(**SMALL)
    with pytest.raises(DataError, match=message):
        model.fit(sentences, tags)
    assert not model.fitted


def test_unknown_tags_at_evaluation() -> None:
    model = SequenceTagger(**SMALL).fit(
        WORDS, [["DET", "NOUN", "VERB"], ["DET", "NOUN"], ["DET", "NOUN", "VERB", "ADV"]]
    )
    with pytest.raises(DataError, match=r"number 1: unknown tag 'NOUNS' \(did you mean 'NOUN'\?\)"):
        model.evaluate([["cat"]], [["NOUNS"]])
    with pytest.raises(DataError, match="line 9: unknown tag 'X'"):
        model.evaluate(Table("dev.conll", {"tokens": [["cat"]], "tags": [["X"]]}, [9]))
    with pytest.raises(DataError, match="unknown tag 'X'"):
        SequenceTagger(**SMALL).fit(WORDS, TAGS, valid=([["cat"]], [["X"]]))


def test_a_sentence_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_STEPS", 100)
    with pytest.raises(DataError, match="number 2: the sequence has 101 steps"):
        SequenceTagger(**SMALL).fit([["a"], ["b"] * 101], [["A"], ["B"] * 101])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_size": 0}, "--word-size must be a whole number, 1 or more, not 0"),
        ({"letter_size": 2.0}, "--letter-size"),
        ({"letter_hidden_size": -1}, "--letter-hidden-size must be a whole number, 0 or more"),
        ({"word_dropout": 1.0}, "--word-dropout must be a number from 0 to below 1"),
        ({"min_count": 0}, "--min-count"),
        ({"max_vocabulary": 1}, "no room"),
        ({"head_sizes": [0]}, "--head-sizes"),
        ({"cell": "gruu"}, "did you mean 'gru'"),
        ({"num_layers": 2, "cell": ["gru", "lstm", "rnn"]}, "cell"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SequenceTagger(**{**SMALL, **options}).fit(WORDS, TAGS)


def test_pretrained_embeddings_are_used(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2 3\ncat -1 -2 -3\nelsewhere 9 9 9\n")
    model = SequenceTagger(**{**SMALL, "word_size": 3, "lr": 1e-30}, embeddings=str(path))
    model.fit([["The", "cat", "sat"]], [["D", "N", "V"]])  # the case of words is ignored
    weight = model.module_.words.weight.detach().numpy()
    assert weight[model.words_.index("the")] == pytest.approx([1, 2, 3])
    assert weight[model.words_.index("cat")] == pytest.approx([-1, -2, -3])
    assert 0 < np.abs(weight[model.words_.index("sat")]).max() < 1
    with pytest.raises(OptionError, match="has vectors of 3; set --word-size 3"):
        SequenceTagger(**SMALL, embeddings=str(path)).fit(WORDS, TAGS)


def test_options_in_the_manner_of_scikit_learn() -> None:
    from sklearn.base import clone

    model = SequenceTagger(**SMALL, head_sizes=[4]).fit(WORDS, TAGS)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(OptionError, match="call fit, or load a model file"):
        copy.predict(WORDS)
    with pytest.raises(OptionError, match="call fit, or load a model file"):
        copy.evaluate(WORDS, TAGS)


# -- real data ---------------------------------------------------------------------------------------------------------
def test_tags_english(shared_data: Path) -> None:
    folder = shared_data / "ud_english_ewt"
    learn = read_table(folder / "en_ewt-ud-dev.conllu.gz").select(range(250))
    test = read_table(folder / "en_ewt-ud-test.conllu.gz").select(range(60))
    model = SequenceTagger(cell="gru", hidden_size=24, word_size=24, letter_hidden_size=12, epochs=6, lr=0.01)
    model.fit(learn)
    tags = Counter(tag for own in test.column("upos") for tag in own)
    assert model.score(test) > tags.most_common(1)[0][1] / tags.total() + 0.3
