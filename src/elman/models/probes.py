"""Probes of grammar: does a model know which form of a verb agrees with its subject, and which sentence is sound?"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from elman.data.batching import length_batches, pad
from elman.data.files import PathLike
from elman.data.probes import NUMBERS, Agreement, read_agreement, read_pairs
from elman.data.table import Table
from elman.data.vocabulary import tokenize
from elman.errors import DataError, OptionError, did_you_mean
from elman.models.inputs import fitting
from elman.models.language.language_model import LanguageModel
from elman.models.language.training import IGNORED
from elman.models.language.unknown import with_words
from elman.models.sequence.classifier import SequenceClassifier

Figures = dict[str, Any]

WORDS = ("word", "space")
"""The levels of tokens that are words."""
ROUNDING = 1e-4
"""Nats by which sentences may differ that are the same to a model."""
LOOKED_AT = 200
"""Sentences, about, by which the way that a model's text is written is told."""


def agreement(model: Any, source: PathLike | Table | list[Agreement]) -> Figures:
    """Subject-verb agreement (Linzen, Dupoux & Goldberg 2016): how often the right number is chosen, by attractors.

    A language model is right where the verb as it stands is likelier after the words before it than the verb in the
    other number; a classifier, of the labels sg and pl, where it gives the verb's number to those words. Where the file
    does not tell attractors, the rows are of the words between subject and verb.

    {"probe", "rows": [{"group", "items", "accuracy", "baseline"}, ...], "left_out": {reason: count}}; the baseline
    always takes the number that most items have; the last row is of all.
    """
    items, left_out = (source, dict[str, int]()) if isinstance(source, list) else read_agreement(source)
    if isinstance(model, LanguageModel):
        items = _known(model, items, left_out)
        forms = list(_forms(model, items))
        nats = _nats(_reading(model, chain.from_iterable(before for before, _ in forms)), forms).reshape(-1, 2)
        right = nats[:, 0] < nats[:, 1]
    elif isinstance(model, SequenceClassifier) and set(NUMBERS) <= set(model.classes_):
        right = np.array(model.predict([item.prefix for item in items])) == [item.number for item in items]
    else:
        raise OptionError("--probe agreement is for a language model, or a classifier of the labels sg and pl")
    if not items:
        raise DataError(f"nothing is left to judge by: {_told(left_out)}")
    most = Counter(item.number for item in items).most_common(1)[0][0]
    groups = [_group(item) for item in items]
    rows = _rows(groups, right, [item.number == most for item in items])
    return {"probe": "agreement", "rows": rows, "left_out": left_out}


def blimp(model: Any, source: PathLike | Table, most: int | None = None) -> Figures:
    """Minimal pairs (BLiMP, Warstadt et al. 2020): how often a language model finds the sound sentence the likelier.

    most: so many pairs of each paradigm. {"probe", "rows": [{"group", "items", "accuracy", "baseline"}, ...],
    "known": rows of the pairs whose words the model all knows, "paradigms": {name: accuracy}, "ties": pairs whose
    sentences are the same to the model, which count as half, as guessing would}; the rows are of the phenomena, the
    last of all; the baseline is chance. What the unknown token is given, the unknown words of all the sentences share:
    as a whole they are likelier than most known words, and a pair would be won by the sentence with more.
    """
    if not isinstance(model, LanguageModel):
        raise OptionError("--probe blimp is for a language model: it compares the probabilities of sentences")
    pairs, seen = [], Counter[str]()
    for pair in read_pairs(source):
        seen[pair.paradigm] += 1
        if most is None or seen[pair.paradigm] <= most:
            pairs.append(pair)
    texts = _as_learnt(model, [text for pair in pairs for text in (pair.good, pair.bad)])
    tokenizer, of_unknown = model.tokenizer_, model.vocabulary_.unknown_index
    sentences = [_begun(model, tokenizer.tokenize(text)) for text in texts]
    unknown = np.array([np.count_nonzero(tokenizer.numbers(s) == of_unknown) for s in sentences]).reshape(-1, 2)
    reader = _reading(model, chain.from_iterable(sentences))
    nats = _nats(reader, [([], sentence) for sentence in sentences], ended=model._by_line).reshape(-1, 2)
    if reader is model:
        nats += unknown * math.log(max(1, len(set(chain.from_iterable(map(tokenizer.unknown, texts))))))
    right = np.where(np.abs(nats[:, 0] - nats[:, 1]) < ROUNDING, 0.5, nats[:, 0] < nats[:, 1])
    paradigms = _rows([pair.paradigm for pair in pairs], right, [0.5] * len(pairs))[:-1]
    known = np.flatnonzero(unknown.sum(1) == 0)
    return {
        "probe": "blimp",
        "rows": _rows([pair.phenomenon for pair in pairs], right, [0.5] * len(pairs)),
        "known": _rows([pairs[k].phenomenon for k in known], right[known], [0.5] * len(known)),
        "paradigms": {row["group"]: row["accuracy"] for row in paradigms},
        "ties": int((right == 0.5).sum()),
    }


PROBES: dict[str, Callable[..., Figures]] = {"agreement": agreement, "blimp": blimp}
"""By the names that the command line uses."""


def probe(name: str, model: Any, source: PathLike | Table) -> Figures:
    """The figures of the probe of this name. Raises OptionError for an unknown one."""
    if name not in PROBES:
        raise OptionError(f"there is no probe {name!r}{did_you_mean(name, PROBES)}")
    return PROBES[name](model, source)


def _fold(model: LanguageModel) -> Callable[[str], str]:
    """Texts in lower case for a model that knows no capitals."""
    return str if any(token != token.lower() for token in model.vocabulary_.tokens) else str.lower


def _as_learnt(model: LanguageModel, texts: Sequence[str]) -> list[str]:
    """Sentences as the model's text has them: in lower case where it knows no capitals, and, of words, signs apart.

    Of characters and subwords, signs are apart where the model finds the sentences likelier so.
    """
    fold = _fold(model)
    texts = [fold(text) for text in texts]
    if model.level in WORDS:
        return [_apart(model, text) for text in texts]
    ways = texts, [" ".join(tokenize(text, "word")) for text in texts]
    few = slice(0, len(texts), max(1, len(texts) // LOOKED_AT))
    return min(ways, key=lambda way: _nats(model, [([], model.tokenizer_.tokenize(text)) for text in way[few]]).sum())


def _apart(model: LanguageModel, text: str) -> str:
    """Signs apart from words, and contractions in the parts that the model knows (didn 't, did n't) where it does not
    know them whole."""
    words = []
    for word in tokenize(text, "word"):
        at = word.find("'")
        ways = [[word], [word[:at], word[at:]], [word[: at - 1], word[at - 1 :]], [word[:at], "'", word[at + 1 :]]]
        known = (way for way in ways if all(part in model.vocabulary_ for part in way))
        words += [word] if at < 1 else next(known, [word])
    return " ".join(words)


def _begun(model: LanguageModel, tokens: list[str]) -> list[str]:
    """The tokens of a sentence, of words the first one without its capital where the model knows it only so."""
    known = model.vocabulary_
    if model.level in WORDS and tokens and tokens[0] not in known and tokens[0].lower() in known:
        return [tokens[0].lower(), *tokens[1:]]
    return tokens


def _reading(model: LanguageModel, tokens: Iterable[str]) -> LanguageModel:
    """The model as it reads texts of these tokens: one of words takes those it does not know by how they end."""
    return with_words(model, tokens) if model.level in WORDS else model


def _group(item: Agreement) -> str:
    """The row of an item; rows are in the order of their texts."""
    if item.attractors is not None:
        count = "4 or more" if item.attractors > 3 else str(item.attractors)
        return f"{count} attractor{'' if item.attractors == 1 else 's'}"
    for least in (6, 3, 1):
        if item.distance >= least:
            return f"{'6 or more' if least == 6 else '3 to 5' if least == 3 else '1 to 2'} words between"
    return "0 words between"


def _rows(groups: Sequence[str], right: Sequence[Any] | np.ndarray, baseline: Sequence[float]) -> list[Figures]:
    """One row a group, by its name, and one of all."""
    places = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    chosen = {group: places[group] for group in sorted(places)} | {"all": list(range(len(groups)))}
    return [
        {
            "group": group,
            "items": len(own),
            "accuracy": float(np.mean([right[k] for k in own])),
            "baseline": float(np.mean([baseline[k] for k in own])),
        }
        for group, own in chosen.items()
        if own
    ]


def _known(model: LanguageModel, items: list[Agreement], left_out: dict[str, int]) -> list[Agreement]:
    """The items both of whose verbs the model has words for; the others are counted in `left_out`."""
    fold, kept = _fold(model), []
    for item in items:
        if item.other is None:
            reason = "the verb in the other number is not known"
        elif not all(_is_known(model, _verb(model, fold(form))) for form in (item.verb, item.other)):
            reason = "a form of the verb is no word of the model's"
        else:
            kept.append(item)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return kept


def _verb(model: LanguageModel, form: str) -> list[str]:
    """The tokens of a verb; of characters with the space that ends it, or `eat` would be the start of `eats` alone."""
    return model.tokenizer_.tokenize(f"{form} ")


def _is_known(model: LanguageModel, verb: list[str]) -> bool:
    """Whether these are known; a verb of several subwords is not, since its first ones may begin the other form."""
    return all(token in model.vocabulary_ for token in verb) and (model.level != "subword" or len(verb) == 1)


def _forms(model: LanguageModel, items: list[Agreement]) -> Iterator[tuple[list[str], list[str]]]:
    """The tokens before each verb, and those of the verb: as it stands, and in the other number."""
    fold = _fold(model)
    for item in items:
        before = _begun(model, model.tokenizer_.tokenize(fold(f"{item.prefix} " if item.prefix else "")))
        yield before, _verb(model, fold(item.verb))
        yield before, _verb(model, fold(str(item.other)))


def _nats(model: LanguageModel, parts: Iterable[tuple[list[str], list[str]]], ended: bool = False) -> np.ndarray:
    """−log P(tokens | the beginning of a sentence, the tokens before them) for each pair of (before, tokens).

    ended: the end of the sentence is judged as well.
    """
    beginning, end = _beginning(model), [model.vocabulary_.end_index] if ended else []
    encoded, firsts = [], []
    for before, tokens in parts:
        encoded.append(np.concatenate([beginning, model.tokenizer_.numbers([*before, *tokens]), end]).astype(np.int64))
        firsts.append(len(beginning) + len(before) - 1)
    lengths = np.array([len(numbers) - 1 for numbers in encoded], np.int64)
    result = np.zeros(len(encoded))
    for batch in fitting(length_batches(lengths, 64, seed=0, epoch=0, shuffle=False), lengths):
        padded, _ = pad([encoded[i] for i in batch])
        steps = np.arange(len(padded) - 1)[:, None]
        judged = (steps >= np.array(firsts)[batch]) & (steps < lengths[batch])
        losses = model._losses(padded[:-1], np.where(judged, padded[1:], IGNORED), lengths[batch])
        result[batch] = sum(part.sum(0) for part in losses)
    return result


def _beginning(model: LanguageModel) -> np.ndarray:
    """What a sentence follows: the start token; in a running text, of whose parts only the first begins with that, a
    full stop."""
    stop = [] if model._by_line else model.tokenizer_.tokenize(". ")
    if model.level == "subword":
        stop = stop[-1:]  # without the space before it
    known = stop and all(token in model.vocabulary_ for token in stop)
    return model.tokenizer_.numbers(stop) if known else np.array([model.vocabulary_.start_index])


def _told(left_out: dict[str, int]) -> str:
    return "; ".join(f"{reason}: {count:,}" for reason, count in left_out.items()) or "there are no items"
