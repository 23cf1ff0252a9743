"""The legacy wire contract, where it is more than what both APIs share."""

import json
from typing import Any

import pytest

from models.config import INBOX_FIELDS
from tests.api import JSON_TYPE
from tests.inboxes import inbox_values
from tests.running import Running
from tests.users import caller

EXAMPLE = """{
    "_id": "JdVkn_dkOlms_", "name": "my_new_email", "email": "myinboxemail@rocket.chat", "active": false,
    "smtp": {"password": "10fae4dc374fb87d", "port": 25, "secure": true, "server": "smtp.mailtrap.io",
             "username": "b5ef5safd6cb806c"},
    "imap": {"password": "10fae4374sdfb87d", "port": 993, "secure": true, "server": "imap.mailtrap.io",
             "username": "b5ef5aafd6cb806c"}}"""


async def save(server: Running, body: Any) -> tuple[int, dict[str, Any]]:
    answer = await server.client.post("/api/v1/email-inbox", json=body)
    return answer.status_code, answer.json()


async def test_the_example_runs_and_runs_again(server: Running) -> None:
    for _ in range(2):
        answer = await server.client.post("/api/v1/email-inbox", content=EXAMPLE, headers=JSON_TYPE)
        assert answer.status_code == 200
        assert answer.json() == {"_id": "JdVkn_dkOlms_", "success": True}
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_document_is_complete_and_can_be_sent_back(server: Running) -> None:
    await save(server, {**inbox_values(description="d", senderInfo="s", department="All"), "_id": "a"})
    document = (await server.client.get("/api/v1/email-inbox/a")).json()
    of_inboxes = {"_id" if name == "id" else name for name in INBOX_FIELDS.values()}
    assert set(document) == of_inboxes | {"smtp", "imap", "_createdAt", "_updatedAt", "_createdBy", "success"}
    assert set(document["smtp"]) == {"server", "port", "username", "secure", "hasPassword"}
    assert set(document["imap"]) == {"server", "port", "username", "secure", "hasPassword", "maxRetries"}
    assert await save(server, document) == (200, {"_id": "a", "success": True})
    again = (await server.client.get("/api/v1/email-inbox/a")).json()
    assert {**again, "_updatedAt": ""} == {**document, "_updatedAt": ""}


async def test_strings_that_spell_numbers_and_booleans_are_taken(server: Running) -> None:
    values = inbox_values(
        active="true", smtp__port="587", smtp__secure="true", imap__maxRetries="-1", imap__secure="false"
    )
    status, body = await save(server, {**values, "_id": "a"})
    assert status == 200, body
    document = (await server.client.get("/api/v1/email-inbox/a")).json()
    assert (document["active"], document["smtp"]["port"], document["smtp"]["secure"]) == (True, 587, True)
    assert (document["imap"]["maxRetries"], document["imap"]["secure"]) == (-1, False)


@pytest.mark.parametrize(
    "body", [b"", b"null", b'"x"', b"[]", b"1", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 9_999]
)
async def test_what_is_no_json_object_is_an_empty_one(shared_server: Running, body: bytes) -> None:
    answer = await shared_server.client.post("/api/v1/email-inbox", content=body, headers=JSON_TYPE)
    assert answer.status_code == 400
    found = answer.json()
    assert found["errorType"] == "error-invalid-params"
    assert [detail["field"] for detail in found["details"]] == ["name", "email", "active", "smtp", "imap"]
    assert {detail["code"] for detail in found["details"]} == {"REQUIRED"}
    assert found["error"] == found["details"][0]["message"] == "name is required."


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"name": 5}, "name", "INVALID"),
        ({"name": None}, "name", "REQUIRED"),
        ({"email": ["a@b.c"]}, "email", "INVALID"),
        ({"active": 1}, "active", "INVALID"),
        ({"active": None}, "active", "REQUIRED"),
        ({"active": "yes"}, "active", "INVALID"),
        ({"description": {}}, "description", "INVALID"),
        ({"smtp": None}, "smtp", "REQUIRED"),
        ({"smtp": "x"}, "smtp", "INVALID"),
        ({"smtp": []}, "smtp", "INVALID"),
        ({"smtp__port": 1.5}, "smtp.port", "INVALID"),
        ({"smtp__port": True}, "smtp.port", "INVALID"),
        ({"smtp__port": "587x"}, "smtp.port", "INVALID"),
        ({"smtp__port": None}, "smtp.port", "REQUIRED"),
        ({"smtp__port": ...}, "smtp.port", "REQUIRED"),
        ({"smtp__port": 1e30}, "smtp.port", "INVALID"),
        ({"smtp__secure": 0}, "smtp.secure", "INVALID"),
        ({"smtp__password": 12345}, "smtp.password", "INVALID"),
        ({"imap__maxRetries": "many"}, "imap.maxRetries", "INVALID"),
        ({"_id": 5}, "_id", "INVALID"),
        ({"unknown": 1}, "unknown", "INVALID"),
        ({"unknown": None}, "unknown", "INVALID"),
        ({"smtp__unknown": 1}, "smtp.unknown", "INVALID"),
        ({"smtp__maxRetries": 1}, "smtp.maxRetries", "INVALID"),
        ({"sender_info": "x"}, "sender_info", "INVALID"),
    ],
)
async def test_a_wrong_value_is_named(shared_server: Running, changes: dict[str, Any], field: str, code: str) -> None:
    answer = await shared_server.client.post(
        "/api/v1/email-inbox", content=json.dumps(inbox_values(**changes)), headers=JSON_TYPE
    )
    details = answer.json()["details"]
    assert answer.status_code == 400
    assert [(detail["field"], detail["code"]) for detail in details] == [(field, code)]
    assert details[0]["message"].startswith(f"{field} ")


async def test_an_object_of_thousands_of_fields_is_refused_as_one_problem(server: Running) -> None:
    many = {f"x{number}": 1 for number in range(50_000)}
    for values in ({**inbox_values(), **many}, inbox_values(smtp=many)):
        status, body = await save(server, values)
        assert status == 400
        assert len(body["details"]) <= 2


async def test_max_retries_may_be_null(server: Running) -> None:
    assert (await save(server, inbox_values(imap__maxRetries=None)))[0] == 200


async def test_graphql_names_are_not_those_of_this_path(server: Running) -> None:
    status, body = await save(server, inbox_values(id="a"))
    assert status == 400
    assert "_id" in body["error"]


async def test_a_taken_address_is_told_as_mongodb_does(server: Running) -> None:
    await save(server, inbox_values())
    assert await save(server, inbox_values(email="SUPPORT@example.org")) == (
        400,
        {
            "success": False,
            "errorType": "error-duplicate-email",
            "error": 'E11000 duplicate key error: email_1 dup key: { email: "SUPPORT@example.org" }',
        },
    )


async def test_what_is_not_there_is_not_found(server: Running) -> None:
    for method, path in (("GET", "email-inbox/no"), ("DELETE", "email-inbox/no"), ("GET", "nothing"), ("PUT", "me")):
        answer = await server.client.request(method, f"/api/v1/{path}")
        assert answer.status_code == (405 if method == "PUT" else 404)
        assert answer.json()["success"] is False
    assert (await server.client.get("/api/v1/email-inbox/no")).json()["error"] == "Resource not found"


async def test_a_search_finds_the_inbox_or_null(server: Running) -> None:
    await save(server, {**inbox_values(), "_id": "a"})
    for email, inbox_id in (
        ("SUPPORT@example.org", "a"),
        ("other@example.org", None),
        ("no address", None),
        ("\0", None),
    ):
        found = (await server.client.get("/api/v1/email-inbox.search", params={"email": email})).json()
        assert found["success"]
        assert (found["emailInbox"] or {}).get("_id") == inbox_id
    missing = await server.client.get("/api/v1/email-inbox.search")
    assert (missing.status_code, missing.json()["details"][0]["field"]) == (400, "email")


async def test_a_body_over_the_limit_is_refused_after_the_caller_is_known(server: Running) -> None:
    big = b'{"name": "' + b"x" * (1024 * 1024) + b'"}'
    for client, status in (
        (server.as_caller(), 401),
        (await caller(server, "powerless"), 403),
        (server.client, 413),
    ):
        answer = await client.post("/api/v1/email-inbox", content=big, headers=JSON_TYPE)
        assert answer.status_code == status
    assert answer.json() == {"success": False, "error": "error-too-large"}


async def test_a_body_that_grows_over_the_limit_is_read_no_further(server: Running) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 50 * 1024 * 1024:
            sent += 65_536
            yield b"x" * 65_536

    answer = await server.client.post("/api/v1/email-inbox", content=endless(), headers=JSON_TYPE)
    assert answer.status_code == 413
