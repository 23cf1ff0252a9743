"""GraphQL over HTTP: what is understood, what is refused and how, and what no answer may hold."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.answers import to_iso
from schema import build_schema
from schema.http import page as page_module
from tests.inboxes import inbox_values
from tests.running import ADMIN_HEADERS, Running
from tests.users import ask, codes

JSON = {"Content-Type": "application/json"}
EAST = timezone(timedelta(hours=2))
BOTH = ["application/json", "application/graphql-response+json"]
SET = "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { success } }"


async def post(server: Running, body: Any, accept: str = "*/*", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.client.post("/graphql", content=content, headers={"Accept": accept, **JSON, **headers})


def test_the_schema_on_file_is_the_schema() -> None:
    assert Path("schema/schema.graphql").read_text("utf-8") == build_schema().as_str() + "\n", "run make schema"


@pytest.mark.parametrize("accept", BOTH)
async def test_a_query_is_answered_in_the_media_type_that_is_asked_for(shared_server: Running, accept: str) -> None:
    answer = await post(shared_server, {"query": "{ __typename }"}, accept)
    assert answer.status_code == 200
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert answer.headers["Content-Type"] == f"{accept}; charset=utf-8"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/graphql-response+json, application/json;q=0.9", "application/graphql-response+json"),
        ("application/json, application/graphql-response+json;q=0.9", "application/json"),
        ("application/graphql-response+json, application/graphql+json, text/event-stream, */*;q=0.1", BOTH[1]),
        ("text/html, application/json;q=0.1", "application/json"),
        ("text/html", None),
        ("application/json;q=0", None),
    ],
)
async def test_accept_is_heeded(shared_server: Running, accept: str, media: str | None) -> None:
    answer = await post(shared_server, {"query": "{ __typename }"}, accept)
    if media is None:
        assert answer.status_code == 406
        assert codes(answer.json()) == ["BAD_USER_INPUT"]
    else:
        assert answer.headers["Content-Type"] == f"{media}; charset=utf-8"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BAD_USER_INPUT"),
        (b"null", "BAD_USER_INPUT"),
        (b'"x"', "BAD_USER_INPUT"),
        (b"[]", "BAD_USER_INPUT"),
        (b"\xff\xfe{", "BAD_USER_INPUT"),
        (b"[" * 200_000, "BAD_USER_INPUT"),
        (b'{"query": NaN}', "BAD_USER_INPUT"),
        (b'{"query": ' + b"9" * 5_000 + b"}", "BAD_USER_INPUT"),
        ({}, "BAD_USER_INPUT"),
        ({"query": ""}, "BAD_USER_INPUT"),
        ({"query": 5}, "BAD_USER_INPUT"),
        ({"query": "{ __typename }", "variables": []}, "BAD_USER_INPUT"),
        ({"query": "{ __typename }", "operationName": {}}, "BAD_USER_INPUT"),
        ({"query": "{ __typename }", "extensions": 1}, "BAD_USER_INPUT"),
    ],
)
async def test_what_is_no_request_is_refused(shared_server: Running, body: Any, code: str) -> None:
    for accept in BOTH:
        answer = await post(shared_server, body, accept)
        assert answer.status_code == 400
        assert set(answer.json()) == {"errors"}
        assert codes(answer.json()) == [code]
        assert answer.json()["errors"][0]["extensions"]["requestId"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ }", "GRAPHQL_PARSE_FAILED"),
        ("{ unknown }", "GRAPHQL_VALIDATION_FAILED"),
        ("\ud800", "GRAPHQL_PARSE_FAILED"),
        ("{ emailInboxes(first: " + "9" * 5_000 + ") { totalCount } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{" * 5_000, "GRAPHQL_PARSE_FAILED"),
        ("fragment A on Query { ...A } { ...A }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("query ($a: Int!) { emailInboxes(first: $a) { totalCount } }", "BAD_USER_INPUT"),
        ("{ emailInboxes(first: 1000) { totalCount } }", "BAD_USER_INPUT"),
    ],
)
async def test_what_is_no_document_is_refused(shared_server: Running, query: str, code: str) -> None:
    legacy, strict = [await post(shared_server, {"query": query}, accept) for accept in BOTH]
    assert codes(legacy.json()) == codes(strict.json()) == [code]
    assert legacy.status_code == 200
    ran = "data" in strict.json()
    assert strict.status_code == (200 if ran else 400)


async def test_the_operation_is_chosen_by_name(shared_server: Running) -> None:
    query = "query A { __typename } mutation B { logout { success } }"
    answer = await post(shared_server, {"query": query, "operationName": "A"})
    assert answer.json()["data"] == {"__typename": "Query"}
    unknown = await post(shared_server, {"query": query, "operationName": "\ud800"})
    assert unknown.status_code == 400
    assert codes(unknown.json()) == ["BAD_USER_INPUT"]


async def test_get_reads_and_never_writes(shared_server: Running) -> None:
    read = await shared_server.client.get(
        "/graphql", params={"query": "query ($a: Int) { __typename @skip(if: false) }"}
    )
    assert read.status_code == 200 or codes(read.json()) == ["GRAPHQL_VALIDATION_FAILED"]
    query = "query ($first: Int) { emailInboxes(first: $first) { totalCount } }"
    counted = await shared_server.client.get("/graphql", params={"query": query, "variables": '{"first": 1}'})
    assert counted.json() == {"data": {"emailInboxes": {"totalCount": 0}}}
    written = await shared_server.client.get("/graphql", params={"query": "mutation { logout { success } }"})
    assert (written.status_code, written.headers["Allow"]) == (405, "POST")
    assert (
        await shared_server.client.get("/graphql", params={"query": "{__typename}", "variables": "x"})
    ).status_code == 400
    assert (await shared_server.client.get("/graphql")).status_code == 400


async def test_other_methods_and_other_content_types_are_refused(shared_server: Running) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = await shared_server.client.request(method, "/graphql")
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, POST"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "",
    ):
        answer = await shared_server.client.post(
            "/graphql", content=b'{"query":"{__typename}"}', headers={"Content-Type": kind}
        )
        assert answer.status_code == 415, kind
        assert codes(answer.json()) == ["BAD_USER_INPUT"]


async def test_a_subscription_is_not_run_over_post(shared_server: Running) -> None:
    answer = await post(shared_server, {"query": "subscription { emailInboxChanged { id } }"})
    assert answer.status_code == 400
    assert "WebSocket" in answer.json()["errors"][0]["message"]


async def test_a_body_over_the_limit_is_refused(shared_server: Running) -> None:
    body = {"query": "{ __typename }", "variables": {"a": "x" * (1024 * 1024)}}
    assert (await post(shared_server, body)).status_code == 413
    body["variables"] = {"a": "x" * (1024 * 1024 - 200)}
    assert (await post(shared_server, body)).status_code == 200


# ------------------------------------------------------------------------------------------------------ no values


CANARY = "canary-Zq7"
LEAKY: list[dict[str, Any]] = [
    {"query": SET, "variables": {"input": inbox_values(smtp__port=CANARY)}},
    {"query": SET, "variables": {"input": inbox_values(smtp=CANARY)}},
    {"query": SET, "variables": {"input": inbox_values(smtp__password=[CANARY])}},
    {"query": SET, "variables": {"input": inbox_values(smtp__password={"x": CANARY}, active=CANARY)}},
    {"query": SET, "variables": {"input": inbox_values(smtp__unknown=CANARY)}},
    {"query": SET, "variables": {"input": inbox_values(smtp__password=CANARY, name=...)}},
    {"query": SET, "variables": {"input": inbox_values(smtp__password=f"at '{CANARY}'; x: {CANARY}", imap=None)}},
    {"query": SET, "variables": {"input": CANARY}},
    {"query": f'mutation {{ setEmailInbox(input: {{ smtp: {{ port: "{CANARY}" }} }}) {{ success }} }}'},
    {"query": f'mutation {{ setEmailInbox(input: "{CANARY}") {{ success }} }}'},
    {"query": f'mutation {{ setEmailInbox(input: {{ smtp: {{ password: ["{CANARY}"] }} }}) {{ success }} }}'},
    {"query": f'mutation {{ setEmailInbox(input: {{ active: "{CANARY}" }}) {{ success }} }}'},
    {"query": f'mutation {{ login(username: "a" "{CANARY}") {{ success }} }}'},
    {"query": f'mutation {{ login(username: """{CANARY}""" """{CANARY}""") {{ success }} }}'},
    {"query": f'query ($a: Int = "{CANARY}") {{ emailInboxes(first: $a) {{ totalCount }} }}'},
    {"query": f'{{ emailInboxes(orderBy: {{ field: "{CANARY}", direction: ASC }}) {{ totalCount }} }}'},
    {"query": f'mutation {{ createAccessToken(input: {{ name: "a", expiresAt: "{CANARY}" }}) {{ success }} }}'},
    {
        "query": "mutation ($i: CreateAccessTokenInput!) { createAccessToken(input: $i) { success } }",
        "variables": {"i": {"name": "a", "expiresAt": CANARY, "permissions": [CANARY]}},
    },
]


@pytest.mark.parametrize("body", LEAKY)
async def test_no_error_repeats_what_was_typed(
    shared_server: Running, body: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = await post(shared_server, body)
    assert answer.json()["errors"] or not answer.json()["data"]["setEmailInbox"]["success"]
    printed = capfd.readouterr()
    for text in (answer.text, caplog.text, printed.out, printed.err):
        assert CANARY not in text


async def test_a_wrongly_typed_variable_is_named_by_its_path(shared_server: Running) -> None:
    body = {"query": SET, "variables": {"input": inbox_values(smtp__port="x", imap__unknown=1, name=...)}}
    messages = [error["message"] for error in (await post(shared_server, body)).json()["errors"]]
    start = "Variable '$input' has invalid value"
    assert messages == [
        f"{start}: Expected value of type 'SetEmailInboxInput' to include required field 'name'.",
        f"{start} at .smtp.port: Int cannot represent non-integer value.",
        f"{start} at .imap: Expected value of type 'ImapConfigInput' not to include unknown field 'unknown'.",
    ]


async def test_what_nobody_foresaw_is_masked(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(type(server.context.database), "read", fail)
    answer = await post(server, {"query": "{ emailInboxes { totalCount } }"})
    [error] = answer.json()["errors"]
    assert error["message"] == "Internal server error"
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert error["extensions"]["requestId"] == answer.headers["X-Request-Id"]
    rest = await server.client.get("/api/v1/email-inbox.list")
    assert rest.status_code == 500
    assert rest.json() == {
        "success": False,
        "error": "Internal server error",
        "requestId": rest.headers["X-Request-Id"],
    }
    assert CANARY not in answer.text + rest.text


# ---------------------------------------------------------------------------------------------------------- limits


def aliases(count: int) -> str:
    return "{" + " ".join(f"a{number}: __typename" for number in range(count)) + "}"


def tokens(count: int) -> str:
    permissions = " READ_EMAIL" * (count - 20)
    return f'mutation {{ createAccessToken(input: {{ name: "", permissions: [{permissions}] }}) {{ success }} }}'


async def test_fragments_spread_again_and_again_are_measured_once(shared_server: Running) -> None:
    doubled = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    query = "{ ...F0 } " + doubled + "fragment F60 on Query { __typename }"
    assert (await ask(shared_server.client, query))["data"] == {"__typename": "Query"}
    bomb = query.replace("{ ...F0 }", "mutation { ...F0 }").replace("on Query", "on Mutation")
    assert codes(await ask(shared_server.client, bomb.replace("__typename", "logout { success }"))) != []


async def test_a_fragment_that_is_not_there_is_named(shared_server: Running) -> None:
    body = await ask(shared_server.as_caller(), "{ ...Missing }")
    assert codes(body) == ["GRAPHQL_VALIDATION_FAILED"]
    assert "Missing" in body["errors"][0]["message"]


def logouts(count: int) -> str:
    return "mutation {" + " ".join(f"a{number}: logout {{ success }}" for number in range(count)) + "}"


@pytest.mark.parametrize(
    ("under", "over"),
    [
        (aliases(30), aliases(31)),
        (tokens(2_000), tokens(2_001)),
        (logouts(5), logouts(6)),
        ("{" + " __typename" * 30 + "}", "{" + " __typename" * 31 + "}"),
        (
            "fragment L on Mutation { logout { success } } mutation { ...L }",
            "fragment L on Mutation {" + logouts(6).removeprefix("mutation {") + " mutation { ... { ...L } }",
        ),
        ("#\n" * 200 + "{ __typename }", "#\n" * 201 + "{ __typename }"),
    ],
)
async def test_limits_of_a_document(server: Running, under: str, over: str) -> None:
    assert not codes(await ask(server.client, under))
    assert codes(await ask(server.client, over))[0] in ("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED")


async def test_a_request_id_that_was_sent_is_kept_where_it_is_harmless(shared_server: Running) -> None:
    assert (await post(shared_server, {"query": "{ __typename }"}, **{"X-Request-Id": "abc-1"})).headers[
        "X-Request-Id"
    ] == "abc-1"
    strange = await post(shared_server, {"query": "{ __typename }"}, **{"X-Request-Id": "a b"})
    assert strange.headers["X-Request-Id"] != "a b"


async def test_a_browser_is_shown_graphiql(shared_server: Running) -> None:
    page = await shared_server.client.get("/graphql", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "graphiql" in page.text.lower()
    assert ADMIN_HEADERS["X-Auth-Token"] not in page.text


def test_the_stock_page_says_what_to_do_where_it_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "BUNDLE", tmp_path / "missing")
    page = page_module.load_page()
    head, _, body = page.html.partition("<body>")
    assert not page.bundled
    assert head.index("GraphiQL could not be loaded") < head.index("https://unpkg.com")
    assert "make install" in head
    assert "curl ADDRESS" in head
    assert body.lstrip().startswith("<noscript><p>GraphiQL needs JavaScript.")
    assert "Loading..." in body


@given(moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from([UTC, EAST])))  # noqa: DTZ001
def test_a_point_in_time_has_milliseconds_in_utc(moment: datetime) -> None:
    assert to_iso(moment) == moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
