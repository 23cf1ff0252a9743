"""The OpenAPI document of the REST path: valid, complete, and what the server does."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from models.errors import Unavailable
from resolvers import inbox as resolvers
from rest import ROUTES, openapi_document
from rest.operations import OPERATIONS
from tests.api import JSON_TYPE
from tests.inboxes import FINGERPRINT, consent, consenting_values, inbox_values
from tests.running import Running
from tests.test_rest import EXAMPLE
from tests.test_schemathesis import METHODS, closed
from tests.users import PASSWORD, caller

DOCUMENT = openapi_document()
CLOSED = closed(json.loads(json.dumps(DOCUMENT)))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of the document, with its method and path."""
    for path, item in DOCUMENT["paths"].items():
        yield from ((method.upper(), path, item[method]) for method in METHODS & set(item))


def resolved(part: Any) -> Any:
    """The part of the closed document that it is, or that it refers to."""
    if "$ref" not in part:
        return part
    found: Any = CLOSED
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def errors_of(schema: Any, value: Any) -> list[str]:
    """What is wrong with the value."""
    whole = {"allOf": [schema], "components": CLOSED["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [error.message for error in validator.iter_errors(value)]


def hold(answer: httpx.Response, told: Any) -> None:
    """Holds an answer against what the document tells of its status."""
    response = resolved(told)
    assert answer.headers["Content-Type"] == "application/json"
    assert errors_of(response["content"]["application/json"]["schema"], answer.json()) == []
    for name, part in response["headers"].items():
        value: Any = answer.headers[name]
        schema = resolved(part)["schema"]
        assert errors_of(schema, int(value) if schema["type"] == "integer" else value) == [], name


# ------------------------------------------------------------------------------------------------------- the document


def test_the_document_is_valid_openapi_3_1() -> None:
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for name in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert resolved({"$ref": name})


def test_every_route_has_an_entry_and_every_entry_a_route() -> None:
    routes = [(method, route.path) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}]
    assert sorted((method, path) for method, path, _ in operations()) == sorted(routes)
    assert set(OPERATIONS) == {route.name for route in ROUTES}
    assert len({operation["operationId"] for _, _, operation in operations()}) == len(ROUTES)


def test_everything_is_described() -> None:
    for _, _, operation in operations():
        assert operation["summary"]
        assert operation["description"]
        assert all(parameter["description"] for parameter in operation.get("parameters", []))
    assert all(schema.get("description") for schema in DOCUMENT["components"]["schemas"].values())


def test_every_example_is_valid() -> None:
    media = [operation["requestBody"]["content"] for _, _, operation in operations() if "requestBody" in operation]
    media += [response["content"] for response in DOCUMENT["components"]["responses"].values()]
    for content in media:
        assert errors_of(content["application/json"]["schema"], content["application/json"]["example"]) == []
    [save] = [operation for _, _, operation in operations() if operation["operationId"] == "saveEmailInbox"]
    assert save["requestBody"]["content"]["application/json"]["example"] == json.loads(EXAMPLE)


def test_the_version_is_that_of_the_product() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


# --------------------------------------------------------------------------------------------------------- the server


async def test_anybody_may_read_the_document(server: Running) -> None:
    answer = await server.as_caller().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(DOCUMENT))
    hold(answer, DOCUMENT["paths"]["/openapi.json"]["get"]["responses"]["200"])


CALLS: list[tuple[str, str, Any, int]] = [
    ("POST", "/email-inbox", {**inbox_values(), "_id": "a"}, 200),
    (
        "POST",
        "/email-inbox",
        {**consenting_values(email="c@example.org", smtp__tlsFingerprint=FINGERPRINT), "_id": "c"},
        200,
    ),
    ("POST", "/email-inbox", inbox_values(), 400),
    ("POST", "/email-inbox", {}, 400),
    ("GET", "/email-inbox.list", None, 200),
    ("GET", "/email-inbox.list?count=x", None, 400),
    ("GET", "/email-inbox.list?sort=x", None, 400),
    ("GET", "/email-inbox.search?email=support@example.org", None, 200),
    ("GET", "/email-inbox.search?email=nobody@example.org", None, 200),
    ("GET", "/email-inbox.search", None, 400),
    ("GET", "/email-inbox/a", None, 200),
    ("GET", "/email-inbox/c", None, 200),
    ("GET", "/email-inbox/b", None, 404),
    ("POST", "/email-inbox.send-test/a", None, 400),
    ("POST", "/email-inbox.send-test/b", {"to": "anna@example.org"}, 400),
    ("DELETE", "/email-inbox/a", None, 200),
    ("DELETE", "/email-inbox/a", None, 404),
    ("POST", "/login", {"user": "anna", "password": PASSWORD}, 200),
    ("POST", "/login", {"user": "anna"}, 400),
    ("POST", "/login", {"user": "anna", "password": "wrong"}, 401),
    ("GET", "/me", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("POST", "/logout", None, 200),
]


def told_of(method: str, path: str) -> dict[str, Any]:
    """The responses of the operation, by status."""
    known = path.partition("?")[0]
    place = known if known in CLOSED["paths"] else f"{known.rpartition('/')[0]}/{{id}}"
    responses: dict[str, Any] = CLOSED["paths"][place][method.lower()]["responses"]
    return responses


async def test_every_endpoint_answers_as_told(server: Running) -> None:
    await caller(server, "anna", email="anna@example.org")
    for method, path, body, status in CALLS:
        answer = await server.client.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == status, (path, answer.text)
        hold(answer, told_of(method, path)[str(status)])
    called = {
        (method, path.partition("?")[0].replace("/a", "/{id}").replace("/b", "/{id}").replace("/c", "/{id}"))
        for method, path, *_ in CALLS
    }
    assert called == {(method, path) for method, path, _ in operations()}


@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for method, path, *_ in CALLS}))
async def test_every_endpoint_refuses_callers_as_told(server: Running, method: str, path: str) -> None:
    told = told_of(method, path)
    powerless = await caller(server, "powerless")
    for client, status, public in ((server.as_caller(), 401, ["/login"]), (powerless, 403, ["/login", "/logout"])):
        answer = await client.request(method, f"/api/v1{path}")
        assert (answer.status_code == status) is (str(status) in told and path not in public), answer.text
        if answer.status_code == status:
            hold(answer, told[str(status)])


@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for method, path, *_ in CALLS}))
async def test_every_endpoint_refuses_web_pages_of_others_as_told(
    shared_server: Running, method: str, path: str
) -> None:
    told = told_of(method, path)
    foreign: list[tuple[dict[str, str], int]] = [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
    ]
    if method == "POST":
        foreign.append(({"Content-Type": "text/plain"}, 415))
    for headers, status in foreign:
        answer = await shared_server.client.request(method, f"/api/v1{path}", content=b"{}", headers=headers)
        refused = status != 403 or method in ("POST", "DELETE")
        assert (answer.status_code == status) is refused, answer.text
        if refused:
            hold(answer, told[str(status)])


async def test_a_method_that_an_endpoint_does_not_have_is_answered_as_told(server: Running) -> None:
    for path in CLOSED["paths"]:
        answer = await server.client.put(f"/api/v1{path}", json={})
        assert answer.status_code == 405
        hold(answer, CLOSED["components"]["responses"]["NotAllowed"])
        has = {method for method, known, _ in operations() if known == path}
        assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == has


async def test_a_large_body_is_refused_as_told(server: Running) -> None:
    for method, path in (
        ("POST", "/email-inbox"),
        ("POST", "/email-inbox.send-test/a"),
        ("POST", "/login"),
        ("POST", "/logout"),
    ):
        answer = await server.client.post(f"/api/v1{path}", content=b" " * (1024 * 1024 + 1), headers=JSON_TYPE)
        assert answer.status_code == 413
        hold(answer, told_of(method, path)["413"])


async def test_too_many_attempts_are_refused_as_told(server: Running) -> None:
    stranger = server.as_caller(Authorization="Bearer guessed")
    statuses = [(await stranger.get("/api/v1/me")).status_code for _ in range(31)]
    assert statuses[-1] == 429
    hold(await stranger.get("/api/v1/me"), told_of("GET", "/me")["429"])


@pytest.mark.parametrize(("error", "status"), [(Unavailable(), 503), (RuntimeError("secret"), 500)])
async def test_a_server_in_trouble_answers_as_told(
    server: Running, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fails(*_args: Any) -> None:
        raise error

    monkeypatch.setattr(resolvers, "set_email_inbox", fails)
    answer = await server.client.post("/api/v1/email-inbox", json=inbox_values())
    assert answer.status_code == status
    assert "secret" not in answer.text
    hold(answer, told_of("POST", "/email-inbox")[str(status)])


# ---------------------------------------------------------------------------------------------------------- the input


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"active": "true", "smtp__port": "587", "smtp__secure": "false", "imap__maxRetries": "-1"}, True),
        ({"imap__maxRetries": None, "description": None, "senderInfo": None, "department": None}, True),
        ({"_createdAt": 1, "_updatedAt": None, "_createdBy": {}, "success": False, "smtp__hasPassword": 1}, True),
        ({"smtp__port": 587.0}, True),
        ({"smtp__tlsFingerprint": None, "imap__tlsFingerprint": "AB:" * 31 + "AB", "imap__oauth2": None}, True),
        ({"smtp__password": None, "smtp__oauth2": consent(hasClientSecret=True, clientSecret=None)}, True),
        ({"smtp__password": None, "smtp__oauth2": consent(provider=None, tokenUrl="https://a.b/c")}, True),
        ({"smtp__tlsFingerprint": "AB"}, False),
        ({"smtp__oauth2": consent(clientId=...)}, False),
        ({"smtp__oauth2": consent(provider="OTHER")}, False),
        ({"smtp__oauth2": consent(tokenUrl="http://a.b/c")}, False),
        ({"smtp__oauth2": consent(hasPassword=False)}, False),
        ({"imap__maxRetries": ...}, True),
        ({"id": "a"}, False),
        ({"unknown": None}, False),
        ({"smtp__maxRetries": 1}, False),
        ({"hasPassword": True}, False),
        ({"active": 1}, False),
        ({"active": "yes"}, False),
        ({"smtp__port": 0}, False),
        ({"smtp__port": "587x"}, False),
        ({"smtp__port": None}, False),
        ({"smtp__secure": ...}, False),
        ({"name": "a\nb"}, False),
        ({"name": "a" * 201}, False),
        ({"_id": "a b"}, False),
        ({"imap": ...}, False),
    ],
)
async def test_the_schema_of_an_inbox_is_the_rule_of_the_server(
    server: Running, changes: dict[str, Any], valid: bool
) -> None:
    values = inbox_values(**changes)
    answer = await server.client.post("/api/v1/email-inbox", content=json.dumps(values), headers=JSON_TYPE)
    assert (answer.status_code == 200) is valid, answer.text
    assert (errors_of({"$ref": "#/components/schemas/InboxConfig"}, values) == []) is valid
