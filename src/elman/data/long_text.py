"""Text files larger than memory, read some MiB at a time, again and again."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from elman.data.files import PathLike, check_encoding, decoded, display, is_gzip, open_bytes, with_newlines
from elman.data.pieces import ONE_BYTE_NEWLINE
from elman.errors import DataError

LARGE = 32 << 20
"""Bytes from which on a text to learn from is read in pieces: as words it would take ten times as much."""
PIECE = 4 << 20
LONGEST = 4
"""A piece ends with a line, unless the line is longer than so many pieces: then with a word, or with a character."""
FINE = 1 << 16
"""Bytes of the pieces that are looked through for the place where the held-out part begins."""
MOST_HELD = 4 << 20
"""Bytes held out for validation, at most: they stay in memory."""


@dataclass(frozen=True)
class Span:
    """A part of a file: its first byte, where it stops, and the number of its first line."""

    path: PathLike
    start: int
    stop: int
    line: int = 1


@dataclass(frozen=True)
class LongText:
    """Documents, each a text file or a part of one."""

    spans: tuple[Span, ...]
    encoding: str = "utf-8"
    errors: str = "strict"
    most_held: ClassVar[str] = f"{MOST_HELD >> 20} MiB"

    @classmethod
    def of(cls, paths: Sequence[PathLike], encoding: str = "utf-8", errors: str = "strict") -> LongText | None:
        """These files, where together they are large and can be cut; None where they are to be read whole."""
        check_encoding(encoding, errors)
        plain = all(not is_gzip(path) and Path(path).is_file() for path in paths)
        if not plain or codecs.lookup(encoding).name not in ONE_BYTE_NEWLINE:
            return None
        found = cls(tuple(Span(path, 0, Path(path).stat().st_size) for path in paths), encoding, errors)
        return found if found.size >= LARGE else None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(span.stop - span.start for span in self.spans)

    def read(self, span: Span) -> Iterator[str]:
        """A document in pieces, which joined are what `read_text` gives. DataError as from there."""
        line, at = span.line, span.start
        for data in _pieces(span, PIECE):
            text = decoded(data, display(span.path), encoding=self.encoding, errors=self.errors, first=line, before=at)
            yield with_newlines(text)
            line, at = line + data.count(b"\n"), at + len(data)

    def hold_out(self, fraction: float) -> tuple[LongText, LongText]:
        """What to learn from, and the last `fraction` of the bytes, at most MOST_HELD, cut where a line begins."""
        kept, held, wanted = list(self.spans), list[Span](), min(MOST_HELD, round(fraction * self.size))
        while kept and wanted > 0:
            last = kept.pop()
            at, line = last.start, last.line
            for data in _pieces(last, FINE) if last.stop - last.start > wanted else ():
                at, line = at + len(data), line + data.count(b"\n")
                if at >= last.stop - wanted:
                    kept.append(replace(last, stop=at))
                    break
            held.insert(0, replace(last, start=at, line=line))
            wanted -= last.stop - last.start
        if fraction and (not kept or all(span.start == span.stop for span in held)):
            raise DataError(
                "the text cannot be cut to hold out a part for validation; give --valid, or --valid-fraction 0"
            )
        return replace(self, spans=tuple(kept)), replace(self, spans=tuple(held))


def _pieces(span: Span, piece: int) -> Iterator[bytes]:
    """The bytes of a span in pieces that end where a line, a word or at least a character does."""
    left = b""
    with open_bytes(span.path) as stream:
        stream.seek(span.start)
        while block := stream.read(min(piece, span.stop - stream.tell())):
            left += block
            if end := _end(left, cut=len(left) >= LONGEST * piece):
                yield left[:end]
                left = left[end:]
    if left:
        yield left


def _end(data: bytes, *, cut: bool) -> int:
    """Where the last line of some bytes ends, 0 for none; with `cut` the last word or character."""
    end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1  # a last \r may be the first half of a line end
    if end or not cut:
        return end
    end = max(data.rfind(b" "), data.rfind(b"\t")) + 1
    if not end:
        end = len(data) - 1
        while end > len(data) - 4 and data[end] & 0xC0 == 0x80:  # inside a character of UTF-8
            end -= 1
    return end
