"""`EMAIL_INBOX_TRUSTED_DOCUMENTS`: only the documents of a list are run, sent or named, over every transport."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from settings import Settings
from tests.process import run
from tests.running import Running
from tests.sockets import connected, listening

VIEWER = "query Me { viewer { username } }"
OTHER = "query Other { viewer { id } }"
ME = {"data": {"viewer": {"username": "admin"}}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def apollo(text: str) -> dict[str, Any]:
    """How Apollo's clients name a document."""
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}


@pytest.fixture
async def trusting(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Running, str]]:
    """A server that runs one document, and the address of its WebSocket."""
    path = tmp_path / "documents.json"
    path.write_text(json.dumps({sha256(VIEWER): VIEWER}))
    async with listening(settings.model_copy(update={"trusted_documents": path})) as found:
        yield found


async def answer(server: Running, **body: Any) -> tuple[int, dict[str, Any]]:
    found = await server.client.post("/graphql", json=body)
    return found.status_code, found.json()


@pytest.mark.parametrize(
    "named",
    [
        {"query": VIEWER},
        {"documentId": sha256(VIEWER)},
        {"documentId": f"sha256:{sha256(VIEWER)}"},
        {"extensions": apollo(VIEWER)},
        {"query": VIEWER, "extensions": apollo(VIEWER)},
    ],
)
async def test_a_document_of_the_list_is_run(trusting: tuple[Running, str], named: dict[str, Any]) -> None:
    server, url = trusting
    assert await answer(server, **named) == (200, ME)
    async with connected(url) as subscriber:
        await subscriber.send({"id": "1", "type": "subscribe", "payload": named})
        assert (await subscriber.receive())["payload"] == ME


async def test_a_document_is_named_in_a_url(trusting: tuple[Running, str]) -> None:
    server, _ = trusting
    for parameters in ({"documentId": sha256(VIEWER)}, {"extensions": json.dumps(apollo(VIEWER))}):
        found = await server.client.get("/graphql", params=parameters, headers={"Accept": "application/json"})
        assert found.json() == ME


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"query": OTHER}, "This document is not on the server's list of trusted documents."),
        ({"query": VIEWER + " "}, "This document is not on the server's list of trusted documents."),
        ({"documentId": sha256(OTHER)}, "PersistedQueryNotFound"),
        ({"extensions": apollo(OTHER)}, "PersistedQueryNotFound"),
        (
            {"query": OTHER, "extensions": apollo(VIEWER)},
            "This document is not on the server's list of trusted documents.",
        ),
        ({}, "`query` must be a string that holds a GraphQL document."),
    ],
)
async def test_any_other_document_is_refused(
    trusting: tuple[Running, str], asked: dict[str, Any], message: str
) -> None:
    server, url = trusting
    status, body = await answer(server, **asked)
    assert status == 400
    assert body["errors"][0]["message"] == message
    async with connected(url) as subscriber:
        await subscriber.send({"id": "1", "type": "subscribe", "payload": asked})
        refused = await subscriber.receive()
    assert (refused["type"], refused["payload"][0]["message"]) == ("error", message)


async def test_without_a_list_a_name_is_nothing_and_clients_fall_back(server: Running) -> None:
    status, body = await answer(server, extensions=apollo(VIEWER))
    assert (status, body["errors"][0]["message"]) == (400, "PersistedQueryNotSupported")
    assert await answer(server, query=VIEWER, extensions=apollo(VIEWER)) == (200, ME)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "can't be read: No such file or directory"),
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"a": 1}', "must hold a JSON object"),
        (json.dumps({sha256(OTHER): VIEWER}), "is not the SHA-256 of its document"),
    ],
)
def test_a_wrong_list_ends_the_start(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_text(content)
    data = tmp_path / "data"
    environment = {"EMAIL_INBOX_DATA_DIR": str(data), "EMAIL_INBOX_TRUSTED_DOCUMENTS": str(path)}
    status, printed, complaints = run([], environment, tmp_path)
    assert (status, printed) == (1, "")
    assert complaints.startswith("EMAIL_INBOX_TRUSTED_DOCUMENTS: ")
    assert complaint in complaints
    assert len(complaints.splitlines()) == 1
    assert not data.exists()
