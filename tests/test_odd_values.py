"""Values that a database or a type can't hold, in every argument that takes text, numbers or moments: never a 500."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api import post_json
from tests.running import Running

TEXTS = ["\x00", "a\x00b", "\ud800", "\udfff", "a" * 1_000, "\U0010ffff", "\ufffe", "e\u0301" * 100]
NUMBERS = [2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, 1e308]
MOMENTS = [
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "10000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "1e308",
    "99999999999999999",
]
BY_TEXT = [
    "query ($x: ID!) { emailInbox(id: $x) { id } }",
    "query ($x: String!) { emailInbox(email: $x) { id } }",
    "query ($x: String!) { emailInboxes(filter: { search: $x }) { totalCount nodes { id } } }",
    "query ($x: String!) { emailInboxes(filter: { department: $x }) { totalCount nodes { id } } }",
    "query ($x: String!) { emailInboxes(after: $x) { nodes { id } } }",
    "query ($x: String!) { emailInboxes(before: $x, last: 2) { nodes { id } } }",
    "query ($x: String!) { users(search: $x) { totalCount nodes { id } } }",
    "query ($x: String!) { users(after: $x) { nodes { id } } }",
    "query ($x: String!) { mailServerSettings(email: $x) { smtp { server } } }",
    "mutation ($x: ID!) { deleteEmailInbox(id: $x) { userErrors { code } } }",
    "mutation ($x: ID!) { deleteUser(id: $x) { userErrors { code } } }",
    "mutation ($x: ID!) { revokeAccessToken(id: $x) { userErrors { code } } }",
    "mutation ($x: ID!) { sendTestEmail(id: $x) { userErrors { code } } }",
    'mutation ($x: String!) { sendTestEmail(id: "a", to: $x) { userErrors { code } } }',
    "mutation ($x: ID!) { updateEmailInbox(input: { id: $x }) { userErrors { code } } }",
    'mutation ($x: String!) { updateEmailInbox(input: { id: "a", department: $x }) { userErrors { code } } }',
    "mutation ($x: ID!) { updateUser(input: { id: $x }) { userErrors { code } } }",
    "mutation ($x: ID!) { checkEmailInbox(input: { id: $x }) { userErrors { code } } }",
    "mutation ($x: String!) { createAccessToken(input: { name: $x }) { userErrors { code } } }",
    "mutation ($x: String!) { createUser(input: { username: $x, permissions: [] }) { userErrors { code } } }",
    'mutation ($x: String!) { createUser(input: { username: "u", password: $x, permissions: [] }) { success } }',
    'mutation ($x: String!) { createUser(input: { username: "v", departments: [$x], permissions: [] }) { success } }',
    'mutation ($x: String!) { login(username: $x, password: "p") { token } }',
    'mutation ($x: String!) { login(username: "admin", password: $x) { token } }',
]
BY_NUMBER = [
    "query ($x: Int!) { emailInboxes(first: $x) { nodes { id } } }",
    "query ($x: Int!) { users(last: $x) { nodes { id } } }",
    'mutation ($x: Int!) { updateEmailInbox(input: { id: "a", ifVersion: $x }) { userErrors { code } } }',
    'mutation ($x: Int!) { updateEmailInbox(input: { id: "a", smtp: { port: $x } }) { userErrors { code } } }',
    'mutation ($x: Int!) { updateEmailInbox(input: { id: "a", imap: { maxRetries: $x } }) { userErrors { code } } }',
]
BY_MOMENT = [
    'mutation ($x: DateTime!) { createAccessToken(input: { name: "t", expiresAt: $x }) { userErrors { code } } }'
]


async def codes(server: Running, query: str, value: Any) -> list[str]:
    answer = await post_json(server.client, "/graphql", {"query": query, "variables": {"x": value}})
    assert answer.status_code < 500, (query, value, answer.text)
    return [error.get("extensions", {}).get("code", "") for error in answer.json().get("errors") or []]


@pytest.mark.parametrize(
    ("queries", "values"),
    [(BY_TEXT, TEXTS), (BY_NUMBER, NUMBERS), (BY_MOMENT, MOMENTS)],
    ids=["text", "number", "moment"],
)
async def test_over_graphql(server: Running, queries: list[str], values: list[Any]) -> None:
    faults = [
        (query, value)
        for query in queries
        for value in values
        if "INTERNAL_SERVER_ERROR" in await codes(server, query, value)
    ]
    assert faults == []


PATHS = [
    "/api/v1/email-inbox/{x}",
    "/api/v1/email-inbox.search?email={x}",
    "/api/v1/email-inbox.list?count={x}",
    "/api/v1/email-inbox.list?offset={x}",
    "/api/v1/email-inbox.list?sort={x}",
]


@pytest.mark.parametrize(
    "parts",
    [
        ["NAME", "a\x00", "x"],
        ["NAME", "a", "\ud800"],
        ["NAME", 10**30, "x"],
        ["NAME", None, None],
        ["NAME", {}, []],
        ["CREATED_AT", "9999-12-31T23:59:59-14:00", "x"],
        ["CREATED_AT", "0001-01-01T00:00:00Z", "x"],
        ["CREATED_AT", 5, "x"],
        "NAME",
        10**400,
    ],
    ids=repr,
)
async def test_a_forged_cursor(shared_server: Running, parts: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    for field in ("NAME", "CREATED_AT"):
        order = f"{{ field: {field}, direction: ASC }}"
        query = f"query ($x: String!) {{ emailInboxes(after: $x, orderBy: {order}) {{ nodes {{ id }} }} }}"
        assert set(await codes(shared_server, query, cursor)) <= {"BAD_USER_INPUT"}


async def test_over_rest(server: Running) -> None:
    values = [
        *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
        b"\xff\xfe",
        *(str(n).encode() for n in NUMBERS),
    ]
    for path in PATHS:
        for value in values:
            answer = await server.client.get(path.format(x=quote(value)))
            assert answer.status_code < 500, (path, value)
    bodies: list[dict[str, Any]] = [{"name": text, "email": text, "_id": text} for text in TEXTS]
    bodies += [
        {"smtp": {"port": number}, "imap": {"maxRetries": number}, "ifVersion": number} for number in NUMBERS[:-1]
    ]
    for body in bodies:
        answer = await post_json(server.client, "/api/v1/email-inbox", body)
        assert answer.status_code == 400, (body, answer.text)
    for text in TEXTS:
        for body in ({"user": text, "password": "p"}, {"user": "admin", "password": text}):
            answer = await post_json(server.client, "/api/v1/login", body)
            assert answer.status_code in (400, 401, 429), json.dumps(body)
        answer = await server.client.delete(f"/api/v1/email-inbox/{quote(text.encode('utf-8', 'surrogatepass'))}")
        assert answer.status_code in (400, 404)
