"""Sentences in columns: CoNLL-U (ten tab-separated columns) and CoNLL/BIO files (token first, tag last)."""

from __future__ import annotations

from elman.data.files import brief
from elman.data.table import Table
from elman.errors import DataError

CONLLU = ("tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def read_conllu(text: str, source: str) -> Table:
    """Sentences of syntactic words: lists in each column of CONLLU, and `id` (sent_id, or a running number).

    Multiword ranges (8-9) and empty nodes (8.1) are skipped, so are comments.
    """
    columns: dict[str, list[list[str]]] = {name: [] for name in CONLLU}
    names: list[str] = []
    lines: list[int] = []
    words: list[list[str]] = []
    start, name = 0, ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.startswith("#"):
            key, equals, value = line[1:].partition("=")
            if equals and key.strip() == "sent_id":
                name = value.strip()
        elif line.strip():
            fields = line.split("\t")
            _check_word(fields, source, number)
            if fields[0].isdecimal():
                start = start or number
                words.append(fields)
        elif words:  # a blank line ends the sentence
            for column, values in zip(columns.values(), list(zip(*words))[1:]):
                column.append(list(values))
            lines.append(start)
            names.append(name or str(len(lines)))
            words, start, name = [], 0, ""
    if not lines:
        raise DataError(f"{source} holds no sentences; it needs at least one")
    return Table(source, {**columns, "id": names}, lines)


def _check_word(fields: list[str], source: str, number: int) -> None:
    if len(fields) != 10:
        raise DataError(
            f"{source}, line {number}: a line of CoNLL-U has 10 tab-separated columns, this one has {len(fields)}; "
            "a file of tokens and tags only must be named .conll"
        )
    if not fields[0].replace("-", "", 1).replace(".", "", 1).isdecimal():
        raise DataError(
            f"{source}, line {number}: expected a word's number such as 8, 8-9 or 8.1, got {brief(fields[0])}"
        )


def read_conll(text: str, source: str) -> Table:
    """Sentences, one token a line: `tokens` from the first column, `tags` from the last; a blank line ends a sentence.

    Columns are separated by tabs, or by spaces in a line without tabs. A file with one column gives only `tokens`.
    """
    sentences: list[list[list[str]]] = []
    lines: list[int] = []
    sentence: list[list[str]] = []
    width = 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        fields = line.rstrip(" ").split("\t") if "\t" in line else [field for field in line.split(" ") if field]
        if not any(fields):
            if sentence:
                sentences.append(sentence)
            sentence = []
        elif fields[0] != "-DOCSTART-":
            width = width or len(fields)
            _check_token(fields, width, source, number)
            if not sentence:
                lines.append(number)
            sentence.append(fields)
    if not sentences:
        raise DataError(f"{source} holds no sentences; it needs at least one")
    columns = {"tokens": [[fields[0] for fields in words] for words in sentences]}
    if width > 1:
        columns["tags"] = [[fields[-1] for fields in words] for words in sentences]
    return Table(source, columns, lines)


def _check_token(fields: list[str], width: int, source: str, number: int) -> None:
    if len(fields) != width:
        raise DataError(
            f"{source}, line {number}: expected {width} columns, as in the lines above, got {len(fields)}; "
            "write a token and its tag on one line, with a tab between them"
        )
    if not fields[0] or not fields[-1]:
        what = "token" if not fields[0] else "tag"
        raise DataError(
            f"{source}, line {number}: the {what} is empty; write a token and its tag, with a tab between them"
        )
