"""Probes of grammar: verbs with what stands before them (subject-verb agreement), and minimal pairs (BLiMP)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elman.data.files import PathLike, brief
from elman.data.readers import read_table
from elman.data.table import Table
from elman.errors import DataError

NUMBERS = ("sg", "pl")
_VERB_TAGS = {"VBZ": "sg", "VBP": "pl"}
_IRREGULAR = {"is": "are", "has": "have", "does": "do", "goes": "go"}
_TOKENS = ("tokens", "subj", "verb", "number")
_SENTENCE = ("sentence", "subj_idx", "verb_idx", "verb_pos", "verb", "inflected_verb")
_PAIRS = ("uid", "term", "good", "bad")


@dataclass(frozen=True)
class Agreement:
    """A verb in the present, after the words before it."""

    prefix: str
    verb: str
    other: str | None
    """The verb in the other number; None where it is not known, as of contractions."""
    number: str
    """Of the verb, and so of its subject: sg or pl."""
    distance: int
    """Words between the subject and the verb."""
    attractors: int | None
    """Nouns of the other number among them, where the file says it (Linzen et al. 2016)."""


@dataclass(frozen=True)
class Pair:
    """A sentence and its ungrammatical twin (Warstadt et al. 2020)."""

    good: str
    bad: str
    phenomenon: str
    paradigm: str


def read_agreement(source: PathLike | Table) -> tuple[list[Agreement], dict[str, int]]:
    """The items of a file, and how many were left out, by the reason.

    Either records of tokens, subj, verb (their positions, from 0), number, and attractors where they are known; or
    Linzen's columns sentence, subj_idx, verb_idx, verb_pos, verb, inflected_verb, where a rare word is its tag. There a
    row counts when its verb, or the tag of it, stands in its place.
    """
    table = source if isinstance(source, Table) else read_table(source)
    wanted = next((names for names in (_TOKENS, _SENTENCE) if set(names) <= set(table.names)), None)
    if wanted is None:
        raise DataError(
            f"{table.source} is no probe of agreement: it needs the columns {', '.join(_TOKENS)}, or "
            f"{', '.join(_SENTENCE)}; it has {', '.join(table.names[:10])}"
        )
    left_out: Counter[str] = Counter()
    items = []
    for k in range(len(table)):
        row = {name: values[k] for name, values in table.columns.items()}
        item = _of_tokens(row, table.place(k)) if wanted == _TOKENS else _of_sentence(row, table.place(k))
        if item is None:
            left_out["the verb is not in its place"] += 1
        else:
            items.append(item)
    return items, dict(left_out)


def _of_tokens(row: dict[str, Any], place: str) -> Agreement:
    tokens, number, attractors = row["tokens"], row["number"], row.get("attractors")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{place}: tokens must be a list of words, not {brief(tokens)}")
    if number not in NUMBERS:
        raise DataError(f"{place}: the number must be sg or pl, not {brief(number)}")
    if attractors is not None and (type(attractors) is not int or attractors < 0):
        raise DataError(f"{place}: attractors must be a count, not {brief(attractors)}")
    subject, verb = _positions(row["subj"], row["verb"], len(tokens), place)
    word = tokens[verb]
    return Agreement(" ".join(tokens[:verb]), word, other_number(word, number), number, verb - subject - 1, attractors)


def _of_sentence(row: dict[str, Any], place: str) -> Agreement | None:
    if any(not isinstance(row[name], str) for name in _SENTENCE):
        raise DataError(f"{place}: {', '.join(_SENTENCE)} must be texts")
    tokens, tag = row["sentence"].split(" "), row["verb_pos"]
    if tag not in _VERB_TAGS:
        raise DataError(f"{place}: verb_pos must be VBZ or VBP, not {brief(tag)}")
    subject, verb = _positions(row["subj_idx"], row["verb_idx"], len(tokens), place)
    if tokens[verb] not in (row["verb"], tag):
        return None
    other = row["inflected_verb"] if row["inflected_verb"] != row["verb"] else None
    return Agreement(" ".join(tokens[:verb]), row["verb"], other, _VERB_TAGS[tag], verb - subject - 1, None)


def _positions(subject: Any, verb: Any, length: int, place: str) -> tuple[int, int]:
    try:
        found = int(subject), int(verb)
    except (TypeError, ValueError):
        found = -1, -1
    if not 0 <= found[0] < found[1] < length:
        raise DataError(
            f"{place}: the subject must stand before the verb, among {length} words, not at {brief(subject)} and "
            f"{brief(verb)}"
        )
    return found


def other_number(verb: str, number: str) -> str | None:
    """An English verb of the third person in the other number; None for contractions and the like."""
    lower = verb.lower()
    if not lower.isalpha() or (number == "sg" and not lower.endswith("s")):
        return None
    changed = _irregular(lower, number) or (_plural(lower) if number == "sg" else _singular(lower))
    return changed.upper() if verb.isupper() and len(verb) > 1 else changed.title() if verb[0].isupper() else changed


def _irregular(verb: str, number: str) -> str | None:
    return (_IRREGULAR if number == "sg" else {plural: single for single, plural in _IRREGULAR.items()}).get(verb)


def _plural(verb: str) -> str:
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    return verb[:-2] if verb.endswith(("sses", "shes", "ches", "xes", "zzes")) else verb[:-1]


def _singular(verb: str) -> str:
    if verb.endswith("y") and verb[-2:-1] not in tuple("aeiou"):
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else f"{verb}s"


def read_pairs(source: PathLike | Table) -> list[Pair]:
    """Minimal pairs: the columns uid (the paradigm), term (the phenomenon), good, bad."""
    table = source if isinstance(source, Table) else read_table(source)
    if absent := [name for name in _PAIRS if name not in table.names]:
        raise DataError(
            f"{table.source} holds no minimal pairs: it lacks the column {absent[0]!r}; they need {', '.join(_PAIRS)}"
        )
    columns: Sequence[list[Any]] = [table.columns[name] for name in _PAIRS]
    for k, row in enumerate(zip(*columns)):
        if not all(isinstance(text, str) and text for text in row):
            raise DataError(f"{table.place(k)}: {', '.join(_PAIRS)} must be texts that are not empty")
    return [Pair(good, bad, term, uid) for uid, term, good, bad in zip(*columns)]
