"""How many statements a request takes: as many for fifty rows as for one."""

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event, text

from models.database.sample import share
from models.inbox import EmailInbox
from models.observer import Ended
from models.user import Permission
from models.user import User as UserRow
from tests.api import INBOX_FIELDS, SET, GraphQLApi
from tests.inboxes import inbox_values
from tests.running import Running
from tests.users import CREATE_TOKEN, make_user

USER = "{ id username name email permissions departments active }"
INBOX = f"{{ {INBOX_FIELDS} creator: createdBy {USER} }}"
PAGE = "{ totalCount pageInfo { hasNextPage startCursor } edges { cursor node %s } nodes %s }"
INBOXES = f"emailInboxes(first: 50) {PAGE % (INBOX, INBOX)}"
SEARCH = f'emailInboxes(first: 50, filter: {{ search: "box" }}) {PAGE % (INBOX, INBOX)}'
USERS = f"users(first: 50) {PAGE % (USER, USER)}"
TOKENS = "accessTokens { id name createdAt lastUsedAt expiresAt permissions }"
ONE = f'emailInbox(id: "box0") {INBOX}'

CALLER, ROWS, LENGTH, CREATORS, STRETCH = 1, 1, 1, 1, 1
QUERIES = {
    f"{{ viewer {USER} }}": CALLER,
    f"{{ {TOKENS} }}": CALLER + ROWS,
    f"{{ {ONE} }}": CALLER + ROWS + CREATORS,
    f"{{ {USERS} }}": CALLER + ROWS + LENGTH,
    f"{{ {INBOXES} }}": CALLER + ROWS + LENGTH + CREATORS,
    f"{{ {SEARCH} }}": CALLER + STRETCH + ROWS + LENGTH + CREATORS,
    f"{{ a: {INBOXES} b: {USERS} c: {TOKENS} d: viewer {USER} }}": CALLER + 3 * ROWS + 2 * LENGTH + CREATORS,
}
"""What each query takes."""

REST = {
    "/api/v1/email-inbox.list?count=50": CALLER + ROWS + LENGTH + CREATORS,
    "/api/v1/email-inbox/box0": CALLER + ROWS + CREATORS,
    "/api/v1/email-inbox.search?email=box0@example.org": CALLER + ROWS + CREATORS,
    "/api/v1/me": CALLER,
}

_COUNTED: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("counted", default=None)


@contextmanager
def statements(server: Running) -> Iterator[list[str]]:
    """What is asked of the database on behalf of the block; not what the server does by itself meanwhile."""
    asked: list[str] = []

    def note(statement: str) -> None:
        counted = _COUNTED.get()
        if counted is not None and not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            counted.append(statement)

    def through_an_engine(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    def told(_system: str, statement: str) -> Ended:
        note(statement)
        return lambda _error: None

    event.listen(Engine, "before_cursor_execute", through_an_engine)
    token = _COUNTED.set(asked)
    try:
        with patch.multiple(server.context.observer, create=True, follows_statements=True, statement=told):
            yield asked
    finally:
        _COUNTED.reset(token)
        event.remove(Engine, "before_cursor_execute", through_an_engine)


async def fill(server: Running, numbers: range) -> None:
    """Inboxes, each made by a user of its own, and tokens of the caller."""
    for number in numbers:
        user_id = await make_user(server, f"user{number}", Permission.MANAGE_EMAIL_INBOX)
        values = inbox_values(id=f"box{number}", name=f"Box {number}", email=f"box{number}@example.org")
        assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id
        statement = text("UPDATE email_inbox SET created_by_id = :user WHERE id = :inbox")
        made_by = {"user": user_id, "inbox": f"box{number}"}
        await server.context.database.write(lambda session: session.connection().execute(statement, made_by))  # noqa: B023
        body = await server.graphql(CREATE_TOKEN, input={"name": f"token {number}"})
        assert body["data"]["createAccessToken"]["success"]


async def taken(server: Running) -> dict[str, int]:
    """How many statements each request takes. The rows by which searches are judged are read now and then only."""
    for table in (EmailInbox, UserRow):
        await share(server.context.database, table, "")
    found = {}
    for query in QUERIES:
        with statements(server) as asked:
            body = await server.graphql(query)
        assert "errors" not in body, body
        found[query] = len(asked)
    for path in REST:
        with statements(server) as asked:
            assert (await server.client.get(path)).status_code == 200
        found[path] = len(asked)
    return found


async def test_a_request_takes_as_many_statements_for_fifty_rows_as_for_one(server: Running) -> None:
    await fill(server, range(1))
    assert await taken(server) == {**QUERIES, **REST}
    await fill(server, range(1, 50))
    body = await server.graphql(f"{{ {INBOXES} }}")
    assert len({inbox["creator"]["id"] for inbox in body["data"]["emailInboxes"]["nodes"]}) == 50
    assert await taken(server) == {**QUERIES, **REST}


async def test_a_check_takes_few_statements(server: Running) -> None:
    """Nothing is asked of the database while mail servers are."""
    values = inbox_values(id="box", smtp__server="10.0.0.1", imap__server="10.0.0.1")
    assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id
    check = "mutation ($input: CheckEmailInboxInput!) { checkEmailInbox(input: $input) { userErrors { code } } }"
    for given, expected in (({"id": "box"}, CALLER + ROWS), ({"imap": values["imap"]}, CALLER)):
        with statements(server) as asked:
            body = await server.graphql(check, input=given)
        codes = {error["code"] for error in body["data"]["checkEmailInbox"]["userErrors"]}
        assert (codes, len(asked)) == ({"HOST_NOT_ALLOWED"}, expected), asked


async def test_setting_an_inbox_takes_few_statements(server: Running) -> None:
    # Caller; is the address taken?; the inbox; the change; who created it.
    for number in (0, 1):
        values = inbox_values(email=f"{number}@example.org")
        with statements(server) as asked:
            body = await server.graphql(SET, input=values)
        assert body["data"]["setEmailInbox"]["emailInbox"]["createdBy"]
        assert len(asked) == 5, asked
