"""Tables from files of every format: what comes out, and one sentence for every way a record can be wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.data import Table, read_table, series, wide_series
from elman.data.delimited import read_csv, read_tsv
from elman.data.readers import SUFFIXES
from elman.errors import DataError


def table(folder: Path, name: str, content: str | bytes, **options: Any) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, **options)


def refused(folder: Path, name: str, content: str | bytes, *words: str, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        table(folder, name, content, **options)
    for word in (name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


# tables


def test_table(tmp_path: Path) -> None:
    data = table(tmp_path, "a.csv", "text,label\nx,1\n\ny,2\nz,3\n")
    assert (len(data), data.names, data.column("label")) == (3, ["text", "label"], ["1", "2", "3"])
    assert data.lines == [2, 4, 5]
    assert data.place(1) == f"{tmp_path / 'a.csv'}, line 4"
    chosen = data.select(np.array([2, 0, 2]))
    assert (chosen.column("text"), chosen.lines, chosen.source) == (["z", "x", "z"], [5, 2, 5], data.source)
    assert len(data.select([])) == 0


def test_a_missing_column_is_named_with_those_there(tmp_path: Path) -> None:
    data = table(tmp_path, "a.csv", "text,label\nx,1\n")
    with pytest.raises(
        DataError, match=r"a\.csv has no column 'txt' \(did you mean 'text'\?\); its columns are: text, label"
    ):
        data.column("txt")
    with pytest.raises(DataError, match=r"no column 'zzz'; its columns are: text, label$"):
        data.column("zzz")
    wide = Table("w", {f"c{i}": [] for i in range(500)}, [])
    with pytest.raises(DataError, match=r"c19 and 480 more"):
        wide.column("?")
    with pytest.raises(DataError, match=r"column 'a' has 1 values for 2 records"):
        Table("t", {"a": [1]}, [1, 2])


# CSV and TSV


def test_csv_with_quotes_commas_and_line_ends(tmp_path: Path) -> None:
    data = table(tmp_path, "a.csv", 'text,label\r\n"a, ""b""\nc",1\r\nplain,"2"\r\n')
    assert data.columns == {"text": ['a, "b"\nc', "plain"], "label": ["1", "2"]}
    assert data.lines == [2, 4]


def test_csv_and_tsv_without_a_header(tmp_path: Path) -> None:
    data = table(tmp_path, "a.csv", "x,1\ny,2", columns=["text", "label"])
    assert (data.columns, data.lines) == ({"text": ["x", "y"], "label": ["1", "2"]}, [1, 2])
    data = table(tmp_path, "a.tsv", "Nahas\tArabic\r\nO'Neal \tIrish\r\n", columns=["name", "label"])
    assert data.columns == {"name": ["Nahas", "O'Neal "], "label": ["Arabic", "Irish"]}


def test_tsv_quotes_are_text_unless_around_a_whole_field(tmp_path: Path) -> None:
    data = table(tmp_path, "a.tsv", 't\tl\n"no" he said\t"\nan 8" disk\t""\n"so ""it"" is"\t"a"b"\n')
    assert data.columns == {"t": ['"no" he said', 'an 8" disk', 'so "it" is'], "l": ['"', "", '"a"b"']}


def test_csv_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    assert table(tmp_path, "a.csv.gz", gzip.compress(b"\xef\xbb\xbftext\nx\n")).columns == {"text": ["x"]}


def test_a_line_of_10_megabytes(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    before = csv.field_size_limit()
    assert table(tmp_path, "a.csv", f"text,label\n{long},1\n").column("text") == [long]
    assert csv.field_size_limit() == before
    assert table(tmp_path, "a.tsv", f"text\tlabel\n{long}\t1\n").column("text") == [long]
    assert table(tmp_path, "a.jsonl", json.dumps({"text": long})).column("text") == [long]
    refused(tmp_path, "a.jsonl", json.dumps(long), "line 1", "a string")
    refused(tmp_path, "a.conllu", long, "line 1", "has 1")
    refused(tmp_path, "b.csv", f"{long},{long}\n1,2\n", "two columns")


def test_csv_refusals(tmp_path: Path) -> None:
    refused(
        tmp_path, "a.csv", "text,label\nx,1\ny\n", "line 3", "expected 2 fields, as the header has, got 1", "quotes"
    )
    refused(tmp_path, "a.csv", 'text,label\n"x\ny",1\nz,1,2\n', "line 4", "expected 2 fields", "got 3")
    refused(tmp_path, "a.csv", "x,1\ny\n", "line 2", "as --columns names, got 1", columns=["text", "label"])
    refused(tmp_path, "a.csv", "x,y,x\n1,2,3\n", "line 1", "two columns are named 'x'", "--columns")
    refused(tmp_path, "a.csv", "x,y\n1,2\n", "two columns are named 'a'", columns=["a", "a"])
    refused(tmp_path, "a.csv", 'text,label\nx,1\n"y,2\nz,3\n', "line 3", "never closed")
    refused(tmp_path, "a.csv", 'text,label\n"x"y,1\n', "line 2", "closing double quote")
    refused(tmp_path, "a.csv", "text,label\n", "no records but its header")
    refused(tmp_path, "a.csv", "\n\n", "holds no records")
    refused(tmp_path, "a.csv", "text\nx\0y\n", "line 2", "NUL")
    refused(tmp_path, "a.csv", b"text\nx\n\xff\n", "line 3, byte 1", "--errors replace")
    refused(tmp_path, "a.tsv", "a\tb\nx\n", "line 2", "expected 2 fields", "tab")


FIELD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1, max_size=6)
)


@given(ROWS)
def test_any_csv_comes_back(rows: list[list[str]]) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    data = read_csv(stream.getvalue(), "x.csv", [str(i) for i in range(len(rows[0]))])
    assert [list(row) for row in zip(*data.columns.values())] == rows


@given(ROWS)
def test_any_tsv_of_spreadsheets_comes_back(rows: list[list[str]]) -> None:
    rows = [[field.translate(dict.fromkeys(map(ord, "\t\r\n"), " ")) for field in row] for row in rows]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(rows)
    data = read_tsv(stream.getvalue(), "x.tsv", [str(i) for i in range(len(rows[0]))])
    assert [list(row) for row in zip(*data.columns.values())] == rows


@given(st.text(max_size=60))
def test_any_text_is_a_csv_or_refused(text: str) -> None:
    for read in (read_csv, read_tsv):
        try:
            data = read(text, "x", None)
        except DataError:
            continue
        assert all(len(column) == len(data) for column in data.columns.values())


# JSON Lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    data = table(tmp_path, name, '{"x": [1, 2.5], "label": "é"}\r\n\n{"label": "b", "x": []}')
    assert (data.columns, data.lines) == ({"x": [[1, 2.5], []], "label": ["é", "b"]}, [1, 3])


def test_json_refusals(tmp_path: Path) -> None:
    refused(tmp_path, "a.jsonl", '{"a": 1}\n{"a": 1,}\n', "line 2", "not valid JSON", "whole JSON object")
    refused(tmp_path, "a.jsonl", '{"a": NaN}\n', "line 1", "not valid JSON")
    refused(tmp_path, "a.jsonl", '{"a": 1}\n[1, 2]\n', "line 2", "expected a JSON object", "got an array")
    refused(tmp_path, "a.jsonl", "5\n", "line 1", "got a number")
    refused(tmp_path, "a.jsonl", "null\n", "line 1", "got null")
    refused(tmp_path, "a.jsonl", '{"a": 1, "b": 2}\n\n{"a": 1}\n', "line 3", "'b'", "line 1 is missing")
    refused(tmp_path, "a.jsonl", '{"a": 1}\n{"a": 1, "b": 2}\n', "line 2", "'b' is not in line 1")
    refused(tmp_path, "a.jsonl", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1", "not valid JSON")
    refused(tmp_path, "a.jsonl", '{"a": "\\ud800"}', "line 1", "not valid JSON")
    refused(tmp_path, "a.jsonl", '{"a": ' + "9" * 10_000 + "}", "line 1", "not valid JSON")
    refused(tmp_path, "a.jsonl", " \n\n", "holds no records")


def test_records_without_keys(tmp_path: Path) -> None:
    data = table(tmp_path, "a.jsonl", "{}\n{}\n")
    assert (len(data), data.names) == (2, [])


# lines, standard input


def test_lines_of_text(tmp_path: Path) -> None:
    data = table(tmp_path, "a.txt", "one \r\n\n  \ntwo\u2028three")
    assert (data.columns, data.lines) == ({"text": ["one ", "two\u2028three"]}, [1, 4])
    refused(tmp_path, "a.txt", "\n \n", "no records")


def test_standard_input_is_json_lines_or_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: bytes, **options: Any) -> Table:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return read_table("-", **options)

    assert read(b'\n{"a": 1}\n').columns == {"a": [1]}
    assert read(b"one\n{two}\n").columns == {"text": ["one", "{two}"]}
    with pytest.raises(DataError, match="standard input, line 1: not valid JSON"):
        read(b"{two}\n")
    with pytest.raises(DataError, match="--columns"):
        read(b"a\n", columns=["a"])


# CoNLL-U and CoNLL

WORD = "{}\t{}\tl\tNOUN\tNN\tNumber=Sing\t0\troot\t_\t_"


def test_conllu(tmp_path: Path) -> None:
    lines = ["# sent_id = s-1", "# text = a", WORD.format(1, "a"), WORD.format("2-3", "don't"), WORD.format(2, "do")]
    lines += [WORD.format(3, "n't"), WORD.format("3.1", "ghost"), "", "", "# no id", WORD.format(1, "b c"), ""]
    data = table(tmp_path, "a.conllu", "\r\n".join(lines))
    assert data.column("tokens") == [["a", "do", "n't"], ["b c"]]
    assert data.column("id") == ["s-1", "2"]
    assert data.lines == [3, 11]
    assert data.column("upos") == [["NOUN"] * 3, ["NOUN"]]
    assert data.column("feats")[1] == ["Number=Sing"]
    assert data.names == ["tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc", "id"]


def test_conllu_refusals(tmp_path: Path) -> None:
    refused(
        tmp_path, "a.conllu", "# c\n" + WORD.format(1, "a") + "\nb\tNOUN\n", "line 3", "10", "this one has 2", ".conll"
    )
    refused(tmp_path, "a.conllu", WORD.format("one", "a"), "line 1", "'one'")
    refused(tmp_path, "a.conllu", WORD.format("1-2-3", "a"), "line 1", "'1-2-3'")
    refused(tmp_path, "a.conllu", "# only a comment\n\n", "no sentences")


@pytest.mark.parametrize("suffix", ["conll", "bio", "iob"])
def test_conll(tmp_path: Path, suffix: str) -> None:
    text = "-DOCSTART- O\n\nJohn B-PER\nran O\n \n\n\nOslo B-LOC"
    data = table(tmp_path, f"a.{suffix}", text)
    assert data.columns == {"tokens": [["John", "ran"], ["Oslo"]], "tags": [["B-PER", "O"], ["B-LOC"]]}
    assert data.lines == [3, 8]


def test_conll_columns_and_odd_tokens(tmp_path: Path) -> None:
    assert table(tmp_path, "a.conll", "EU NNP B-NP B-ORG\nwins VB  B-VP O\n").columns == {
        "tokens": [["EU", "wins"]],
        "tags": [["B-ORG", "O"]],
    }
    # a byte-order mark, a no-break space and a blank inside a token are text
    odd = ["Dubbz\ufeff", "a\xa0b", "a b", "\ufeffx"]
    data = table(tmp_path, "a.conll", "first\tO\n" + "".join(f"{token}\tO\n" for token in odd))
    assert data.column("tokens") == [["first", *odd]]
    assert table(tmp_path, "a.conll", "only\ntokens\n\nhere\n").columns == {"tokens": [["only", "tokens"], ["here"]]}


def test_conll_refusals(tmp_path: Path) -> None:
    refused(tmp_path, "a.conll", "a O\nb\n", "line 2", "expected 2 columns", "got 1")
    refused(tmp_path, "a.conll", "a\tO\nb\t\n", "line 2", "the tag is empty")
    refused(tmp_path, "a.conll", "a\tO\n\tO\n", "line 2", "the token is empty")
    refused(tmp_path, "a.conll", "-DOCSTART- O\n\n", "no sentences")


# folders


def test_a_folder_of_labelled_documents(tmp_path: Path) -> None:
    for name, text in (
        ("pos/b.txt", "good"),
        ("pos/a.txt", "fine"),
        ("neg/c.txt", "bad"),
        ("README", "x"),
        (".x/y", ""),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "neg" / "d.txt.gz").write_bytes(gzip.compress(b"worse"))
    data = read_table(tmp_path)
    assert data.columns == {
        "text": ["bad", "worse", "fine", "good"],
        "label": ["neg", "neg", "pos", "pos"],
        "file": ["neg/c.txt", "neg/d.txt.gz", "pos/a.txt", "pos/b.txt"],
    }
    assert data.place(2) == f"{tmp_path}, record 3"
    (tmp_path / "pos" / "deep").mkdir()
    with pytest.raises(DataError, match=r"pos/deep is a folder inside a label's folder"):
        read_table(tmp_path)


def test_a_folder_of_documents(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no documents"):
        read_table(tmp_path)
    (tmp_path / "b.txt").write_text("two\nlines")
    (tmp_path / "a").write_text("one")
    assert read_table(tmp_path).columns == {"text": ["one", "two\nlines"], "file": ["a", "b.txt"]}
    (tmp_path / "c").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"/c, line 1, byte 1"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="--columns"):
        read_table(tmp_path, columns=["a"])


# suffixes


def test_unknown_suffixes(tmp_path: Path) -> None:
    for name in ("a.json", "a.xlsx", "a", "a.gz", ".csv"):
        refused(tmp_path, name, "x", *SUFFIXES)
    refused(tmp_path, "a.jsnl", "x", "did you mean '.jsonl'?")
    assert len(table(tmp_path, "A.CSV", "text\nx\n")) == 1
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / "missing.json")
    refused(tmp_path, "a.txt", "x", "--columns", columns=["text"])
    with pytest.raises(DataError, match="'utf-9' is not a text encoding"):
        table(tmp_path, "a.csv", "x", encoding="utf-9")


# .npz


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_npz(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    data = table(tmp_path, "a.npz", npz(x=x, label=np.array(["a", "b"]), n=np.array([1, 2])))
    assert data.names == ["x", "label", "n"]
    assert (data.column("label"), data.column("n"), data.lines) == (["a", "b"], [1, 2], [1, 2])
    np.testing.assert_array_equal(data.column("x")[1], x[1])
    assert data.place(1).endswith("a.npz, record 2")


def test_npz_refusals(tmp_path: Path) -> None:
    ragged = np.array([[1], [1, 2]], dtype=object)
    refused(tmp_path, "a.npz", npz(x=ragged), "'x'", "Python objects")
    refused(tmp_path, "a.npz", npz(x=np.zeros(2), y=np.zeros(3)), "'y' has 3 records and 'x' has 2")
    refused(tmp_path, "a.npz", npz(x=np.float64(3)), "'x' is a single number")
    refused(tmp_path, "a.npz", npz(x=np.zeros((0, 3))), "no records")
    refused(tmp_path, "a.npz", npz(), "no arrays")
    refused(tmp_path, "a.npz", b"not a zip", "not a whole .npz file")
    refused(tmp_path, "a.npz", b"", "is empty")


def test_an_npz_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"12345678")
    refused(tmp_path, "a.npz", stream.getvalue(), "not as long as its shape (100000000000000,)")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    refused(tmp_path, "b.npz", stream.getvalue(), "unpacks to", "more than")


def test_a_damaged_npz_is_refused_or_right(tmp_path: Path) -> None:
    good = npz(x=np.arange(20.0).reshape(4, 5), label=np.array(["a", "b", "a", "b"]))
    generator = random.Random(0)
    path = tmp_path / "a.npz"
    messages = []
    for _ in range(400):
        data = bytearray(good)
        for _ in range(generator.randint(1, 3)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        cut = generator.randrange(len(data)) if generator.random() < 0.2 else len(data)
        path.write_bytes(bytes(data[:cut]))
        try:
            assert len(read_table(path)) == 4
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert all("a.npz" in message for message in messages)


# series


def test_series_of_lists_and_arrays() -> None:
    result = series([[[1, 2], [3, 4.5], [5, 6]], np.ones((1, 2)), np.array([[True, False]])], "x")
    assert [array.dtype for array in result] == [np.float32] * 3
    np.testing.assert_array_equal(result[0], np.array([[1, 2], [3, 4.5], [5, 6]], np.float32))
    np.testing.assert_array_equal(result[2], [[1, 0]])
    flat = series([[1, 2, 3], np.array([4]), 5], "x")
    assert [array.shape for array in flat] == [(3, 1), (1, 1), (1, 1)]
    assert series([], "x") == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1, 2], [3]], ["step 2 of the series has 1 channels and step 1 has 2"]),
        ([[1, 2], 3], ["step 2"]),
        ([[1, 2], [[3], 4]], ["same channels"]),
        ([[1, "a"]], ["a value in it is not a number"]),
        ("0.5", ["'0.5' is not a number", "[[0.1"]),
        (None, ["not a number"]),
        ([[1, None]], ["not a number"]),
        ({"a": 1}, ["not a number"]),
        ([[10**400]], ["not a number"]),
        (np.array([1j]), ["not a number"]),
        ([[1, 2], [3, float("nan")]], ["step 2, channel 2 of the series is NaN"]),
        ([[1, -float("inf")]], ["step 1, channel 2", "infinite"]),
        ([[1e300, 1]], ["infinite (as float32)"]),
        ([], ["is empty"]),
        ([[], []], ["is empty"]),
        ([[[1, 2]]], ["3 dimensions"]),
        ([[1, 2, 3]], ["3 channels and the first one 2"]),
    ],
)
def test_series_refusals_name_the_place(value: Any, words: list[str]) -> None:
    data = Table("a.jsonl", {"x": [[[1, 2]], value]}, [3, 7])
    for where, place in ((data, "a.jsonl, line 7: "), ("train X", "train X, record 2: ")):
        with pytest.raises(DataError) as caught:
            series(data.column("x"), where)
        assert str(caught.value).startswith(place)
        assert all(word in str(caught.value) for word in words)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=8)
)
def test_any_json_value_is_a_series_or_refused(value: Any) -> None:
    try:
        (array,) = series([value], "x")
    except DataError:
        return
    assert array.ndim == 2
    assert array.dtype == np.float32
    assert np.isfinite(array).all()
    assert array.size > 0


def test_wide_series(tmp_path: Path) -> None:
    data = table(tmp_path, "a.csv", "label,t0,t1,t2\na,1,2.5,-3\nb,4, 5 ,6e2\n")
    result = wide_series(data, ["t0", "t1", "t2"])
    assert [array.shape for array in result] == [(3, 1), (3, 1)]
    assert result[0].dtype == np.float32
    np.testing.assert_array_equal(result[1][:, 0], [4, 5, 600])
    for bad, words in {
        "": "line 2: column 't1' is empty",
        "x": "line 2: column 't1' holds 'x', which is not a number",
        "nan": "line 2: column 't1' is nan",
        "1e39": "line 2: column 't1' is 1e+39",
    }.items():
        data = table(tmp_path, "b.csv", f"t0,t1\n1,{bad}\n")
        with pytest.raises(DataError) as caught:
            wide_series(data, ["t0", "t1"])
        assert words in str(caught.value)
    with pytest.raises(DataError, match="no column 't9'"):
        wide_series(data, ["t9"])
    with pytest.raises(DataError, match="at least one column"):
        wide_series(data, [])
    largest = Table("x", {"a": [float(np.finfo(np.float32).max)], "b": [None]}, [1])
    assert wide_series(largest, ["a"])[0][0, 0] == np.finfo(np.float32).max
    with pytest.raises(DataError, match="'b' is empty"):
        wide_series(largest, ["b"])


# whatever is in a file

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\t",
        b",",
        b'"',
        b"{",
        b"}",
        b"[",
        b":",
        b"1",
        b"# sent_id = ",
        b" ",
        b"a",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.binary(max_size=40) | st.lists(PIECES, max_size=40).map(b"".join))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, data: bytes) -> None:
    for suffix in SUFFIXES:
        for name, content in ((f"a{suffix}", data), (f"a{suffix}.gz", data), (f"b{suffix}.gz", gzip.compress(data))):
            try:
                result = table(tmp_path, name, content, errors="replace")
            except DataError as error:
                text = str(error)
                assert "\n" not in text
                continue
            assert len(result) > 0
            assert all(len(column) == len(result) for column in result.columns.values())
