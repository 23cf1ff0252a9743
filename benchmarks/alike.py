"""Whether servers answer a request alike, which is what makes their speed worth comparing. Measures nothing."""

import json
import re
from collections.abc import Sequence
from typing import Any

from benchmarks.failure import Failure
from benchmarks.servers import Server
from benchmarks.work import ID_OF_FIRST, Work

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_KNOWN_ID = re.compile(r"inbox-\d{8}")


def check_alike(servers: Sequence[Server], work: Work) -> None:
    """Asks each of them once: the same fields with the same values must come. Raises Failure."""
    answers = [_answer(server, work) for server in servers]
    for server, answer in zip(servers, answers, strict=True):
        if answer != answers[0]:
            raise Failure(f"{work.name}: {server.kind.name} answers {answer}, {servers[0].kind.name} {answers[0]}")


def _answer(server: Server, work: Work) -> Any:
    status, text = server.post(work, ID=ID_OF_FIRST, NEW="checked")
    answer = json.loads(text)
    if status != 200 or "errors" in answer:
        raise Failure(f"{server.kind.name}, {work.name}: {status} {text}")
    return _comparable(answer)


def _comparable(value: Any, name: str = "") -> Any:
    """The value without what no two servers have in common: times, of which only the form stays, and new ids."""
    if isinstance(value, dict):
        return {key: _comparable(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if name in ("createdAt", "updatedAt"):
        return bool(_TIME.fullmatch(value))
    if name in ("id", "_id") and not _KNOWN_ID.fullmatch(value):
        return "new"
    return value
