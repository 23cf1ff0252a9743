"""Reads what `mongoexport` writes, a document at a time. Knows no collection.

The text is MongoDB Extended JSON (v2), canonical or relaxed, and the dates of v1: one document a line, an array, or
documents over several lines (`--pretty`), and any of these one after the other. What can't be read is left out, and
reading goes on where the next document begins. No more is kept in memory than one document and a piece of the file.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

READ_BYTES = 1 << 20
"""Characters that are read at once."""
MAX_DOCUMENT_BYTES = 64 << 20
"""Characters of a document. MongoDB stores 16 MiB at most, which take more room as text."""

_BETWEEN = re.compile(r"[\s\[\],]*")
_BEGINS = re.compile(r"\n(?=[\[,]?\{)")
"""The end of a line before a document. What lies within one is indented."""
_CUT = 16
"""So near the end of the text, an error may be that of a word that is cut."""


@dataclass(frozen=True, slots=True)
class ExportReader:
    """A document and the line on which it begins, from 1 on; or the problem with what is there instead."""

    line: int
    content: Mapping[str, Any]
    problem: str | None = None


def read_documents(file: io.BufferedReader) -> Iterator[ExportReader]:
    """The documents, in their order. Raises OSError."""
    is_utf16 = file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")  # what a shell of Windows makes of it
    encoding, errors = ("utf-16", "replace") if is_utf16 else ("utf-8-sig", "surrogateescape")
    return iter(_Reader(io.TextIOWrapper(file, encoding, errors)))


class _Reader:
    """`_text` from `_at` on is what was read and not handed out yet; `_at` is on line `_line`."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._line = 1

    def __iter__(self) -> Iterator[ExportReader]:
        while self._finds_a_document():
            yield self._next()

    def _finds_a_document(self) -> bool:
        while True:
            between = _BETWEEN.match(self._text, self._at)
            self._go_to(between.end() if between else self._at)
            if self._at < len(self._text):
                return True
            if not self._read():
                return False

    def _next(self) -> ExportReader:
        line = self._line
        while True:
            try:
                content, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._read():
                    continue
                return self._passed_over(line, f"not valid JSON: {error.msg}")
            except (ValueError, RecursionError):
                return self._passed_over(line, "not valid JSON: a number or the nesting is out of bounds")
            if not isinstance(content, dict) and end == len(self._text) and self._read():
                continue
            self._go_to(end)
            return (
                ExportReader(line, content)
                if isinstance(content, dict)
                else ExportReader(line, {}, "not a JSON object")
            )

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether it may be valid with what follows in the file."""
        if len(self._text) - self._at > MAX_DOCUMENT_BYTES:
            return False
        return error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")

    def _passed_over(self, line: int, problem: str) -> ExportReader:
        found = _BEGINS.search(self._text, self._at)
        while not found:
            self._go_to(max(self._at, len(self._text) - 2))  # the end of a line may be cut off from what follows
            if not self._read():
                self._go_to(len(self._text))
                break
            found = _BEGINS.search(self._text, self._at)
        if found:
            self._go_to(found.end())
        return ExportReader(line, {}, problem)

    def _go_to(self, place: int) -> None:
        self._line += self._text.count("\n", self._at, place)
        self._at = place

    def _read(self) -> bool:
        """Reads on, twice as much where a document is large. False at the end of the file."""
        self._text, self._at = self._text[self._at :], 0
        piece = self._file.read(max(READ_BYTES, len(self._text)))
        self._text += piece
        return bool(piece)


# ----------------------------------------------------------------------------------------------------- extended JSON


def _plain(document: dict[str, Any]) -> Any:
    """A value of a type that JSON has no word for, such as `{"$oid": "..."}`; any other object stays what it is."""
    [kind, *others] = document or ("",)
    if others or kind not in _TYPES:
        return document
    try:
        return _TYPES[kind](document[kind])
    except (ValueError, TypeError, OverflowError, OSError):
        return document


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    """JavaScript knows one kind of number only: 465.0 is 465."""
    number = float(value)
    return int(number) if number.is_integer() else number


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return datetime.fromtimestamp(value / 1_000, UTC)


def _refuse(name: str) -> float:
    raise ValueError(name)


_TYPES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "$oid": _text,
        "$symbol": _text,
        "$uuid": _text,
        "$numberInt": int,
        "$numberLong": int,
        "$numberDouble": _number,
        "$numberDecimal": _number,
        "$date": _moment,
        "$undefined": lambda _: None,
    }
)
_DECODER = json.JSONDecoder(object_hook=_plain, parse_float=_number, parse_constant=_refuse)
