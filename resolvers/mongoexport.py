"""Reads the output of `mongoexport`, a document at a time. Knows no collection.

The format is MongoDB Extended JSON (v2), canonical or relaxed, and the dates of v1: one document a line, an array, or
documents over several lines (`--pretty`), and any sequence of these. An invalid document is skipped, and reading
continues at the next one. Memory holds no more than one document and one piece of the file.
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
"""Characters read at once."""
MAX_DOCUMENT_BYTES = 64 << 20
"""In characters. MongoDB stores at most 16 MiB a document, which takes more space as text."""

_BETWEEN = re.compile(r"[\s\[\],]*")
_BEGINS = re.compile(r"\n(?=[\[,]?\{)")
"""The end of a line before a document. Lines within a document are indented."""
_CUT = 16
"""This near the end of the text, an error may come from a token that is cut off."""


@dataclass(frozen=True, slots=True)
class ExportReader:
    """A document and its first line, counted from 1; or the problem if it is invalid."""

    line: int
    content: Mapping[str, Any]
    problem: str | None = None


def read_documents(file: io.BufferedReader) -> Iterator[ExportReader]:
    """Yields the documents in order. Raises OSError."""
    is_utf16 = file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")  # as redirected by a Windows shell
    encoding, errors = ("utf-16", "replace") if is_utf16 else ("utf-8-sig", "surrogateescape")
    return iter(_Reader(io.TextIOWrapper(file, encoding, errors)))


class _Reader:
    """`_text` from `_at` on has been read but not parsed; `_at` is on line `_line`."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._line = 1

    def __iter__(self) -> Iterator[ExportReader]:
        while self._find_document():
            yield self._parse_next()

    def _find_document(self) -> bool:
        while True:
            between = _BETWEEN.match(self._text, self._at)
            self._go_to(between.end() if between else self._at)
            if self._at < len(self._text):
                return True
            if not self._read():
                return False

    def _parse_next(self) -> ExportReader:
        line = self._line
        while True:
            try:
                content, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._read():
                    continue
                return self._skip(line, f"not valid JSON: {error.msg}")
            except (ValueError, RecursionError):
                return self._skip(line, "not valid JSON: a number or the nesting is out of bounds")
            if not isinstance(content, dict) and end == len(self._text) and self._read():
                continue
            self._go_to(end)
            return (
                ExportReader(line, content)
                if isinstance(content, dict)
                else ExportReader(line, {}, "not a JSON object")
            )

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more of the file may make the document valid."""
        if len(self._text) - self._at > MAX_DOCUMENT_BYTES:
            return False
        return error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")

    def _skip(self, line: int, problem: str) -> ExportReader:
        found = _BEGINS.search(self._text, self._at)
        while not found:
            self._go_to(max(self._at, len(self._text) - 2))  # a line may end here, and the next piece begin a document
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
        """Reads the next piece, and doubles the text for a large document. False at the end of the file."""
        self._text, self._at = self._text[self._at :], 0
        piece = self._file.read(max(READ_BYTES, len(self._text)))
        self._text += piece
        return bool(piece)


# ----------------------------------------------------------------------------------------------------- extended JSON


def _to_plain(document: dict[str, Any]) -> Any:
    """Converts a value of a type that JSON lacks, such as `{"$oid": "..."}`; returns any other object unchanged."""
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
    """Returns 465 for 465.0, because JavaScript has only one type of number."""
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
_DECODER = json.JSONDecoder(object_hook=_to_plain, parse_float=_number, parse_constant=_refuse)
