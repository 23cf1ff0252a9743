"""Every form in which `mongoexport` writes documents, and what is not one of them."""

import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from resolvers.mongoexport import ExportReader, read_documents

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLAIN: list[dict[str, Any]] = [
    {"_id": "65b0f1", "port": 465, "retries": -1, "ratio": 0.5, "secure": True, "at": MOMENT, "none": None},
    {"_id": "two", "emails": [{"address": "a@b.example", "verified": False}], "text": '"}{\\ [é] \n{'},
]
CANONICAL: list[dict[str, Any]] = [
    {
        "_id": {"$oid": "65b0f1"},
        "port": {"$numberInt": "465"},
        "retries": {"$numberLong": "-1"},
        "ratio": {"$numberDouble": "0.5"},
        "secure": True,
        "at": {"$date": {"$numberLong": "1769860800000"}},
        "none": {"$undefined": True},
    },
    {**PLAIN[1]},
]
RELAXED: list[dict[str, Any]] = [
    {
        "_id": {"$oid": "65b0f1"},
        "port": 465.0,
        "retries": {"$numberDouble": "-1.0"},
        "ratio": {"$numberDecimal": "0.5"},
        "secure": True,
        "at": {"$date": "2026-01-31T12:00:00Z"},
        "none": None,
    },
    {**PLAIN[1]},
]
OF_V1 = [{**RELAXED[0], "at": {"$date": "2026-01-31T13:00:00.000+0100"}}, RELAXED[1]]


def lines(documents: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)


def array(documents: list[dict[str, Any]]) -> str:
    return "[" + ",\n".join(json.dumps(document) for document in documents) + "]\n"


def pretty(documents: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(document, indent="\t") + "\n" for document in documents)


def pretty_array(documents: list[dict[str, Any]]) -> str:
    return "[" + ",\n".join(json.dumps(document, indent="\t") for document in documents) + "]\n"


def read(exported: str | bytes) -> list[ExportReader]:
    content = exported.encode() if isinstance(exported, str) else exported
    return list(read_documents(io.BufferedReader(io.BytesIO(content))))


def contents(exported: str | bytes) -> list[Any]:
    found = read(exported)
    assert [document.problem for document in found] == [None] * len(found)
    return [document.content for document in found]


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("documents", [CANONICAL, RELAXED, OF_V1], ids=["canonical", "relaxed", "v1"])
@pytest.mark.parametrize("form", [lines, array, pretty, pretty_array])
def test_every_form_is_read(
    form: Callable[[list[dict[str, Any]]], str],
    documents: list[dict[str, Any]],
    piece: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resolvers.mongoexport.READ_BYTES", piece)
    exported = form(documents)
    assert contents(exported) == PLAIN
    assert contents(exported + exported) == PLAIN * 2
    assert contents(exported.replace("\n", "\r\n")) == PLAIN
    for encoding in ("utf-8-sig", "utf-16"):
        assert contents(exported.encode(encoding)) == PLAIN


def test_the_line_is_that_on_which_a_document_begins() -> None:
    assert [found.line for found in read(lines(PLAIN_TEXT) + "\n\n" + pretty(PLAIN_TEXT))] == [1, 2, 5, 8]


PLAIN_TEXT: list[dict[str, Any]] = [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ('{"a": 1', "not valid JSON"),
        ('{"a": "', "not valid JSON"),
        ('{"a": 1}}', "not valid JSON"),
        ("what mongoexport says", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": ' + "9" * 5_000 + "}", "not valid JSON"),
        ('{"a":' * 20_000 + "}" * 20_000, "not valid JSON"),
        ("7", "not a JSON object"),
        ('"seven"', "not a JSON object"),
        ("null", "not a JSON object"),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_odd_keeps_nothing_else_out(odd: str, said: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.mongoexport.READ_BYTES", piece if len(odd) < 100 else 1 << 20)
    found = read(f'{{"n": 1}}\n{odd}\n{{"n": 2}}\n{odd}')
    assert [document.content["n"] for document in found if document.problem is None and "n" in document.content] == [
        1,
        2,
    ]
    problems = [document for document in found if document.problem]
    assert [document.line for document in problems] == [2, 4]
    assert all(said in (document.problem or "") for document in problems)


def test_a_byte_that_is_no_text_spoils_its_document_alone() -> None:
    found = read(b'{"n": "\xff"}\n{"n": "two"}\n')
    assert [document.content["n"] for document in found] == ["\udcff", "two"]


def test_a_type_that_is_spelled_wrong_stays_an_object() -> None:
    odd = [
        {"$numberInt": "x"},
        {"$oid": 7},
        {"$date": {"$numberLong": "9" * 30}},
        {"$date": "soon"},
        {"$oid": "1", "b": 2},
    ]
    assert contents(lines([{"odd": odd}]))[0]["odd"][:2] == odd[:2]
    assert contents(lines([{"odd": odd}]))[0]["odd"][3:] == odd[3:]


class Endless(io.RawIOBase):
    """So many bytes of documents, made while they are read."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._document = lines([{"text": "x" * 999}]).encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._document if self._left > 0 and len(buffer) >= len(self._document) else b""
        self._left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def test_no_more_than_a_piece_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.mongoexport.READ_BYTES", 1 << 16)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_documents(io.BufferedReader(Endless(20 << 20))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count > 20_000
    assert peak < 2 << 20


def test_a_document_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.mongoexport.READ_BYTES", 1 << 10)
    monkeypatch.setattr("resolvers.mongoexport.MAX_DOCUMENT_BYTES", 1 << 14)
    found = read('{"a": "' + "x" * (1 << 16) + '\n{"n": 1}\n')
    assert [bool(document.problem) for document in found] == [True, False]
