"""Sentences and their tags as users hand them over, checked: lists of words beside lists of tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from elman.data.table import Table
from elman.errors import DataError
from elman.models.inputs import check_steps, listed, missing, place

Sentences = list[list[str]]


def sentences_of(data: Any, column: str) -> tuple[Sentences, Table | str]:
    """The words of every sentence, and where they come from for messages."""
    where: Table | str = data if isinstance(data, Table) else "the sentences"
    sentences: Sentences = []
    for i, words in enumerate(data.column(column) if isinstance(data, Table) else listed(data, "the sentences")):
        if isinstance(words, str | bytes) or not isinstance(words, Iterable):
            raise DataError(f"{place(where, i)}: a sentence is a list of words, not {type(words).__name__}")
        sentences.append(list(words))
        for word in sentences[-1]:
            if not isinstance(word, str):
                raise DataError(f"{place(where, i)}: a word is a text, not {type(word).__name__}")
    check_steps([len(words) for words in sentences], where)
    return sentences, where


def tagged(data: Any, tags: Any, column: str, target: str | None) -> tuple[Sentences, Sentences, Table | str]:
    """The words and the tags of every sentence, as many of each, and where they come from. tags None: the column
    `target` of the table, or upos where there is one, else tags."""
    sentences, where = sentences_of(data, column)
    if tags is None:
        if not isinstance(data, Table):
            raise DataError("tags are missing: give y beside X, or a table with a column of tags")
        tags = data.column(target or ("upos" if "upos" in data.names else "tags"))
    tags = listed(tags, "the tags")
    if len(tags) != len(sentences):
        raise DataError(f"there are {len(sentences)} sentences and {len(tags)} lists of tags; each sentence needs one")
    for i, (words, own) in enumerate(zip(sentences, tags)):
        if isinstance(own, str | bytes) or not isinstance(own, Iterable):
            raise DataError(f"{place(where, i)}: the tags of a sentence are a list, not {type(own).__name__}")
        tags[i] = list(own)
        if len(tags[i]) != len(words):
            raise DataError(f"{place(where, i)}: {len(words)} words but {len(tags[i])} tags; each word needs one")
        if any(missing(tag) for tag in tags[i]):
            raise DataError(f"{place(where, i)}: a tag is missing; fill it in or leave the sentence out")
    if not any(sentences):
        raise DataError("there are no words in the sentences")
    return sentences, [[str(tag) for tag in own] for own in tags], where


def with_words(sentences: Sentences, numbers: list[np.ndarray]) -> tuple[Sentences, list[np.ndarray]]:
    """Without the empty sentences, which teach nothing."""
    full = [i for i, words in enumerate(sentences) if words]
    return [sentences[i] for i in full], [numbers[i] for i in full]
