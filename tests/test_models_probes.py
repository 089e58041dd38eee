"""Probes of grammar: what is read of their files, what models are asked, the tables, and the command line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.cli import main
from elman.data import Table
from elman.data.probes import Agreement, other_number, read_agreement, read_pairs
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, OptionError
from elman.models import LanguageModel, SequenceClassifier, SequenceTagger
from elman.models.language import unknown
from elman.models.language.unknown import alike, with_words
from elman.models.probes import agreement, blimp, probe

HEADER = "sentence\tsubj_idx\tverb_idx\tverb_pos\tverb\tinflected_verb\n"
NOUNS = {"dog": "sg", "dogs": "pl", "cat": "sg", "cats": "pl", "car": "sg", "cars": "pl"}
FORMS = {"sg": "sleeps", "pl": "sleep"}


def sentences(count: int, seed: int) -> list[dict[str, Any]]:
    """The dogs near the car sleep: the first noun decides, the last one may be of the other number."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        subject, *others = generator.choice(list(NOUNS), generator.integers(1, 4)).tolist()
        tokens = ["the", subject, *(word for other in others for word in ("near", "the", other))]
        number = NOUNS[subject]
        wrong = sum(NOUNS[other] != number for other in others)
        found.append({"tokens": [*tokens, FORMS[number], "."], "subj": 1, "verb": len(tokens), "number": number,
                      "attractors": wrong})  # fmt: skip
    return found


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    text = "\n".join(" ".join(one["tokens"]) for one in sentences(400, 0))
    options: dict[str, Any] = {"level": "space", "hidden_size": 24, "lr": 0.02, "epochs": 12, "bptt": 20}
    return LanguageModel(**options, batch_size=16, valid_fraction=0.0).fit(text)


# -- language models ---------------------------------------------------------------------------------------------------
def test_a_language_model_learns_to_agree_past_attractors(model: LanguageModel, tmp_path: Path) -> None:
    figures = agreement(model, written(tmp_path / "a.jsonl", sentences(200, 1)))
    rows = {row["group"]: row for row in figures["rows"]}
    assert list(rows) == ["0 attractors", "1 attractor", "2 attractors", "all"]
    assert rows["all"]["items"] == 200 == sum(row["items"] for row in figures["rows"][:-1])
    assert rows["all"]["accuracy"] > rows["all"]["baseline"] + 0.4
    assert rows["2 attractors"]["accuracy"] > 0.8
    assert figures["left_out"] == {}
    other_way = [{**one, "number": {"sg": "pl", "pl": "sg"}[one["number"]]} for one in sentences(200, 1)]
    for one in other_way:
        one["tokens"] = [*one["tokens"][:-2], FORMS[one["number"]], "."]
    turned = agreement(model, written(tmp_path / "b.jsonl", other_way))["rows"][-1]
    assert turned["accuracy"] == pytest.approx(1 - rows["all"]["accuracy"])


def test_the_question_is_the_verb_after_its_prefix(model: LanguageModel) -> None:
    """By the chain rule: log P(prefix verb) − log P(prefix), from the scores of whole sentences without their ends."""
    from elman.models.probes import _nats

    texts = ["the dog sleeps", "the dogs near the car sleep", "the cats"]
    forms = [(text.split()[:-1], text.split()[-1:]) for text in texts]
    for got, text in zip(_nats(model, forms), texts):
        stream = model._encode([text])[:-1]  # the start and the words, without an end
        each = sum(part for part in model._losses(stream[:-1, None], stream[1:, None]))
        assert got == pytest.approx(each[-1].item(), rel=1e-5)


@pytest.mark.parametrize("level", ["char", "word"])
def test_characters_and_words_are_asked_the_same(level: str, tmp_path: Path) -> None:
    """A character model's verb ends with its space: the start of `sleeps` is no `sleep`."""
    near = [one for one in sentences(400, 0) if len(one["tokens"]) == 4]
    model = LanguageModel(level=level, lines=True, hidden_size=32, lr=0.02, epochs=20, bptt=60, valid_fraction=0.0)
    model.set_params(batch_size=8).fit("\n".join(" ".join(one["tokens"]) for one in near))
    row = agreement(model, written(tmp_path / "a.jsonl", near))["rows"][-1]
    assert row["accuracy"] > row["baseline"] + 0.3


def test_unknown_verbs_are_counted_and_capitals_folded(model: LanguageModel, tmp_path: Path) -> None:
    records = sentences(3, 1)
    records[0]["tokens"][0] = "The"
    records.append({"tokens": ["The", "DOG", "Sleeps"], "subj": 1, "verb": 2, "number": "sg", "attractors": 0})
    records.append({"tokens": ["the", "dog", "barks"], "subj": 1, "verb": 2, "number": "sg", "attractors": 0})
    records.append({"tokens": ["the", "dog", "'s"], "subj": 1, "verb": 2, "number": "sg", "attractors": 0})
    figures = agreement(model, written(tmp_path / "a.jsonl", records))
    assert figures["rows"][-1]["items"] == 4
    assert figures["left_out"] == {
        "a form of the verb is no word of the model's": 1,
        "the verb in the other number is not known": 1,
    }
    with pytest.raises(DataError, match="nothing is left to judge by: a form of the verb is no word of the model's: 1"):
        agreement(model, written(tmp_path / "b.jsonl", records[4:5]))


def pairs(count: int) -> Table:
    """Minimal pairs of two paradigms: the verb, and the order of words."""
    columns: dict[str, list[Any]] = {name: [] for name in ("uid", "term", "good", "bad")}
    for one in sentences(count, 2):
        good, other = " ".join(one["tokens"]), FORMS[{"sg": "pl", "pl": "sg"}[one["number"]]]
        bad = " ".join([*one["tokens"][:-2], other, "."])
        columns["uid"] += ["verb", "order"]
        columns["term"] += ["agreement", "order"]
        columns["good"] += [good, good]
        columns["bad"] += [bad, " ".join(reversed(one["tokens"]))]
    return Table("pairs.tsv", columns, list(range(2, 2 * count + 2)))


def test_minimal_pairs_by_phenomenon(model: LanguageModel) -> None:
    figures = blimp(model, pairs(100))
    rows = {row["group"]: row for row in figures["rows"]}
    assert list(rows) == ["agreement", "order", "all"]
    assert rows["all"]["items"] == 200
    assert all(row["accuracy"] > 0.8 and row["baseline"] == 0.5 for row in rows.values())
    assert figures["paradigms"] == {"order": rows["order"]["accuracy"], "verb": rows["agreement"]["accuracy"]}
    assert figures["ties"] == 0
    assert figures["known"] == figures["rows"]
    odd = pairs(4)
    odd.columns["bad"][0] = "the zebra sleeps ."
    assert [row["items"] for row in blimp(model, odd)["known"]] == [3, 4, 7]
    assert blimp(model, pairs(100), most=7)["rows"][-1]["items"] == 14
    same = pairs(5)
    same.columns["bad"][:] = same.columns["good"]
    assert blimp(model, same)["ties"] == 10
    assert blimp(model, same)["rows"][-1]["accuracy"] == 0.5


def test_unknown_words_share_the_probability_of_their_token(model: LanguageModel) -> None:
    """By hand: from <s> to </s>, and log(kinds of unknown word) more for each, where they have no known ones' endings:
    the token itself, as what is none of them, is one of the kinds."""
    good, bad = "dog the . sleeps the", "zebra yak"  # the unknown ones are the likelier
    one, other = (model.score([text])[0]["log_probability"] for text in (good, bad))
    verdicts = []
    for kinds in (2, 20, 2000):
        more = " ".join(f"no{k}" for k in range(kinds - 2))
        columns = {"uid": ["x", "y"], "term": ["x", "y"], "good": [good, "the"], "bad": [bad, more or "the"]}
        verdicts.append(blimp(model, Table("t", columns, [2, 3]))["paradigms"]["x"])
        assert verdicts[-1] == (one > other - 2 * math.log(kinds + 1))
    assert (verdicts[0], verdicts[-1]) == (0.0, 1.0)


def test_new_words_share_what_the_unknown_token_is_given_and_change_nothing_else(model: LanguageModel) -> None:
    text = torch.tensor([[model.vocabulary_.index(word)] for word in ("the", "dogs", "near")])
    wider = with_words(model, ["zogs", "the", "bees", "zogs", "\u2603"])
    assert wider.vocabulary_.tokens == (*model.vocabulary_.tokens, "zogs", "bees", "\u2603")
    with torch.no_grad():
        before = model.module_(text)[0].double().softmax(-1)
        after = wider.module_(text)[0].double().softmax(-1)
    unknown, size = model.vocabulary_.unknown_index, len(model.vocabulary_)
    rest = [k for k in range(size) if k != unknown]
    torch.testing.assert_close(after[..., rest], before[..., rest])
    torch.testing.assert_close(after[..., unknown] + after[..., size:].sum(-1), before[..., unknown])
    assert "zogs" not in model.vocabulary_


def test_words_are_like_those_that_end_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "ENOUGH", 2)
    known = Vocabulary(
        ("<unk>", "<s>", "</s>", "dogs", "hogs", "cats", "Rogers", "Dodgers", "s", "NASA", "ESA"),
        "<unk>",
        "<s>",
        "</s>",
    )
    words = ["zogs", "mats", "ogs", "Diggers", "dog", "gs", "USA", "s", ""]
    assert alike(words, known) == [[3, 4], [3, 4, 5], [3, 4], [6, 7], [0], [3, 4, 5], [0], [0], [0]]


def test_an_unknown_subject_has_the_number_of_its_ending(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tog and togs, of which the model knows nothing but that dog and dogs end as they do."""
    near = [one for one in sentences(300, 3) if one["tokens"][1] in ("dog", "dogs")]
    for one in near:
        one["tokens"][1] = "t" + one["tokens"][1][1:]
    file = written(tmp_path / "a.jsonl", near)
    guessed = agreement(model, file)["rows"][-1]["accuracy"]
    monkeypatch.setattr(unknown, "ENOUGH", 1)
    assert agreement(model, file)["rows"][-1]["accuracy"] > max(0.9, guessed + 0.2)


def test_first_words_lose_a_capital_that_hides_them() -> None:
    from elman.models.probes import _begun, _forms

    model = LanguageModel(level="word", hidden_size=4, epochs=1, valid_fraction=0.0).fit("The dog saw Ann\n" * 20)
    texts = ["Dog saw Ann", "The dog saw Dog", "Zog saw Ann", "ann saw the dog", ""]
    begun = [" ".join(_begun(model, text.split())) for text in texts]
    assert begun == ["dog saw Ann", "The dog saw Dog", "Zog saw Ann", "ann saw the dog", ""]
    columns = {"uid": ["x"], "term": ["x"], "good": ["Dog saw Ann"], "bad": ["dog saw Ann"]}
    assert blimp(model, Table("t", columns, [2]))["ties"] == 1
    item = Agreement(prefix="Saw Ann Dog", verb="saw", other="see", number="sg", attractors=0, distance=0)
    assert next(iter(_forms(model, [item])))[0] == ["saw", "Ann", "Dog"]


def test_sentences_that_differ_in_words_alike_are_the_same(model: LanguageModel) -> None:
    columns = {"uid": ["x"], "term": ["x"], "good": ["the cat near the zog"], "bad": ["the cat near the yak"]}
    assert blimp(model, Table("t", columns, [2]))["ties"] == 1


def test_what_a_model_of_subwords_does_not_know_is_characters() -> None:
    text = "the dogs sleep\nthe dog sleeps\n" * 20
    model = LanguageModel(level="subword", hidden_size=4, epochs=1, valid_fraction=0.0).fit(text)
    columns = {"uid": ["x", "y"], "term": ["x", "y"], "good": ["the dog", "the gods"], "bad": ["the \u2603", "the peg"]}
    assert [row["group"] for row in blimp(model, Table("t", columns, [2, 3]))["known"]] == ["y", "all"]


def test_a_running_text_has_sentences_after_full_stops() -> None:
    """<s> stands before the first sentence of a running text alone; with lines each has its own."""
    from elman.models.probes import _beginning

    text = "the dogs sleep . the dog sleeps . " * 40
    options: dict[str, Any] = {"level": "word", "hidden_size": 12, "epochs": 1, "valid_fraction": 0.0}
    running, lines = (LanguageModel(lines=lines, **options).fit(text) for lines in (False, True))
    assert running.vocabulary_.decode(_beginning(running)) == ["."]
    assert lines.vocabulary_.decode(_beginning(lines)) == ["<s>"]
    unstopped = LanguageModel(lines=False, **options).fit(text.replace(".", ""))
    assert unstopped.vocabulary_.decode(_beginning(unstopped)) == ["<s>"]


@pytest.mark.parametrize(
    ("text", "level", "expected"),
    [
        ("it didn 't , he said", "space", "it didn 't , he said ?"),
        ("it did n't , he said", "space", "it did n't , he said ?"),
        ("it didn't , he said", "space", "it didn't , he said ?"),
        ("it didn 't , he said", "word", "it didn ' t , he said ?"),
        ("It He said", "space", "It didn't , He said ?"),
        ("it didn't, he said? " * 9, "char", "it didn't, he said?"),
        ("it didn't , he said ? " * 9, "char", "it didn't , he said ?"),
        ("it didn't, he said? " * 9, "subword", "it didn't, he said?"),
        ("it didn't , he said ? " * 9, "subword", "it didn't , he said ?"),
    ],
)
def test_sentences_are_written_as_the_model_learnt_them(text: str, level: str, expected: str) -> None:
    from elman.models.probes import _as_learnt

    learns = (
        {"hidden_size": 24, "epochs": 60, "lr": 0.02}
        if level in ("char", "subword")
        else {"hidden_size": 3, "epochs": 1}
    )
    model = LanguageModel(level=level, bptt=20, valid_fraction=0.0, lines=True, **learns).fit(text)
    assert _as_learnt(model, ["It didn't, He said?"]) == [expected]


# -- classifiers -------------------------------------------------------------------------------------------------------
def test_a_classifier_is_asked_for_the_number(tmp_path: Path) -> None:
    items, _ = read_agreement(written(tmp_path / "train.jsonl", sentences(300, 0)))
    model = SequenceClassifier(level="space", hidden_size=16, lr=0.02, epochs=12, valid_fraction=0.0, min_count=1)
    model.fit([item.prefix for item in items], [item.number for item in items])
    path = written(tmp_path / "test.jsonl", sentences(100, 1))
    row = agreement(model, path)["rows"][-1]
    held, _ = read_agreement(path)
    assert row["accuracy"] == model.evaluate([i.prefix for i in held], [i.number for i in held])["accuracy"]
    assert row["accuracy"] > row["baseline"] + 0.3
    numbers = [item.number for item in held]
    assert row["baseline"] == max(numbers.count("sg"), numbers.count("pl")) / 100
    with pytest.raises(OptionError, match="blimp is for a language model"):
        blimp(model, pairs(2))


def test_other_models_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "test.jsonl", sentences(3, 1))
    labels = SequenceClassifier(level="char", hidden_size=3, epochs=1, valid_fraction=0.0).fit(["ab", "b"], ["x", "y"])
    tagger = SequenceTagger(hidden_size=3, epochs=1, valid_fraction=0.0).fit([["a"]], [["x"]])
    for model in (labels, tagger):
        with pytest.raises(OptionError, match="for a language model, or a classifier of the labels sg and pl"):
            agreement(model, path)
    with pytest.raises(OptionError, match=r"there is no probe 'agrement' \(did you mean"):
        probe("agrement", labels, path)


# -- files -------------------------------------------------------------------------------------------------------------
def test_what_is_read_of_both_formats(tmp_path: Path) -> None:
    record = {"id": "1", "tokens": ["The", "keys", "to", "it", "are", "old"], "subj": 1, "verb": 4, "number": "pl"}
    expected = Agreement("The keys to it", "are", "is", "pl", 2, None)
    assert read_agreement(written(tmp_path / "a.jsonl", [record])) == ([expected], {})
    items, _ = read_agreement(written(tmp_path / "a.jsonl", [{**record, "attractors": 2}]))
    assert items[0].attractors == 2
    rows = [
        "the keys to it are old\t1\t4\tVBP\tare\tis",
        "the NN VBZ a NN\t1\t2\tVBZ\trecognises\trecognise",  # a rare verb is its tag
        "what he VBZ VBP NN\t0\t2\tVBP\tdepict\tdepicts",  # another word stands there
        "they lie\t0\t1\tVBP\tlie\tlie",
    ]
    (tmp_path / "b.tsv").write_text(HEADER + "\n".join(rows) + "\n")
    items, left_out = read_agreement(tmp_path / "b.tsv")
    assert items == [
        Agreement("the keys to it", "are", "is", "pl", 2, None),
        Agreement("the NN", "recognises", "recognise", "sg", 0, None),
        Agreement("they", "lie", None, "pl", 0, None),
    ]
    assert left_out == {"the verb is not in its place": 1}


@pytest.mark.parametrize(
    ("single", "plural"),
    [
        ("is", "are"), ("has", "have"), ("does", "do"), ("goes", "go"), ("eats", "eat"), ("carries", "carry"),
        ("lies", "lie"), ("passes", "pass"), ("wishes", "wish"), ("catches", "catch"), ("fixes", "fix"),
        ("plays", "play"), ("uses", "use"), ("sees", "see"), ("Is", "Are"), ("SUCKS", "SUCK"),
    ],
)  # fmt: skip
def test_the_other_number_of_a_verb(single: str, plural: str) -> None:
    assert other_number(single, "sg") == plural
    if plural != "lie":
        assert other_number(plural, "pl") == single
    for contraction in ("'s", "let's", "'re"):
        assert other_number(contraction, "sg") is None


RECORD = {"tokens": ["a", "dog", "runs"], "subj": 1, "verb": 2, "number": "sg"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verb": 3}, "among 3 words, not at 1 and 3"),
        ({"verb": 1}, "the subject must stand before the verb"),
        ({"subj": -1}, "the subject must stand before the verb"),
        ({"subj": None}, "the subject must stand before the verb"),
        ({"number": "dual"}, "the number must be sg or pl, not 'dual'"),
        ({"tokens": "a dog runs"}, "tokens must be a list of words"),
        ({"tokens": ["a", 3, "runs"]}, "tokens must be a list of words"),
        ({"attractors": -1}, "attractors must be a count, not -1"),
        ({"attractors": "many"}, "attractors must be a count, not 'many'"),
    ],
)
def test_bad_records_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{**RECORD, "attractors": 0}, {**RECORD, "attractors": 0, **change}])
    with pytest.raises(DataError, match=f"a.jsonl, line 2: .*{message}"):
        read_agreement(path)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("x\ty\n1\t2\n")
    with pytest.raises(DataError, match="is no probe of agreement: it needs the columns tokens, subj"):
        read_agreement(tmp_path / "a.tsv")
    with pytest.raises(DataError, match="holds no minimal pairs: it lacks the column 'uid'"):
        read_pairs(tmp_path / "a.tsv")
    (tmp_path / "b.tsv").write_text(f"{HEADER}a dog runs\t1\t2\tVBD\tran\truns\n")
    with pytest.raises(DataError, match="line 2: verb_pos must be VBZ or VBP, not 'VBD'"):
        read_agreement(tmp_path / "b.tsv")
    (tmp_path / "c.tsv").write_text("uid\tterm\tgood\tbad\na\tb\tc\t\n")
    with pytest.raises(DataError, match="line 2: uid, term, good, bad must be texts"):
        read_pairs(tmp_path / "c.tsv")


# -- the command line --------------------------------------------------------------------------------------------------
def test_on_the_command_line(model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "m.elman")
    path = written(tmp_path / "a.jsonl", sentences(60, 1))
    assert main(["evaluate", str(tmp_path / "m.elman"), "--probe", "agreement", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["agreement", "accuracy", "baseline", "items"]
    assert lines[-1].split()[0] == "all"
    assert main(["evaluate", str(tmp_path / "m.elman"), str(path), "--probe", "agreement", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == agreement(model, path)
    assert math.isclose(float(lines[-1].split()[1]), agreement(model, path)["rows"][-1]["accuracy"], abs_tol=1e-4)
    for words, message in (
        (["--probe", "agrement"], "there is no probe 'agrement'"),
        (["--probe", "blimp"], "holds no minimal pairs"),
    ):
        assert main(["evaluate", str(tmp_path / "m.elman"), str(path), *words]) == 2
        assert message in capsys.readouterr().err


# -- real data ---------------------------------------------------------------------------------------------------------
def test_the_real_files_are_read(shared_data: Path) -> None:
    counts = {"ud_ewt_test.jsonl": (319, 0), "linzen_wiki_dev.tsv": (999, 1), "linzen_wiki_test.tsv": (3997, 3)}
    for name, (count, out) in counts.items():
        items, left_out = read_agreement(shared_data / "agreement" / name)
        assert (len(items), sum(left_out.values())) == (count, out)
    numbers = [item.number for item in items]
    assert numbers.count("sg") / len(numbers) == pytest.approx(0.675, abs=0.002)
    wrong = [i for i in items if i.other is not None and other_number(i.verb, i.number) != i.other]
    assert len(wrong) < 5  # the rules of spelling, held to Linzen's own inflections
    assert len(read_pairs(shared_data / "blimp" / "blimp.tsv.gz")) == 67_000


def test_the_python_of_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "probes.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "probes.md", "exec"), names)
    assert names["agreement"](names["model"], Table("my items", names["items"], [1]))["rows"][-1]["accuracy"] == 1.0
