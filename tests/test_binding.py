"""What a secret is bound to by its encryption, where somebody writes the database past the server."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from models.account import Grant
from models.config import MailProtocol
from models.inbox import BY_ID
from models.secrets import DecryptionError
from models.stored import PROTOCOLS, SECRETS, StoredInbox, account
from settings import Settings
from tests.api import Api
from tests.inboxes import FINGERPRINT, consent, consenting_values, inbox_values
from tests.mail.certificates import Certificates
from tests.mail.inboxes import may_connect
from tests.mail.scripted import Scripted, hang, scripted
from tests.process import environment_of, run
from tests.running import Running, running
from tests.test_check import CHECK
from tests.test_send_test import SEND, send_over_rest

UPDATE = """
    mutation ($input: UpdateEmailInboxInput!) {
        updateEmailInbox(input: $input) { success userErrors { code message field } }
    }
"""
OTHER_FINGERPRINT = "fedcba9876543210" * 4
OF_A_SERVER = ("server", "port", "username", "secure", "tls_fingerprint", "no tls_fingerprint")
OF_A_CONSENT = ("token_url", "client_id")
EVERYTHING = [("password", name) for name in OF_A_SERVER] + [
    ("consent", name) for name in (*OF_A_SERVER, *OF_A_CONSENT, "no consent")
]


@pytest.fixture
def other(certificates: Certificates) -> Iterator[Scripted]:
    """A server that nobody is to come to."""
    with scripted(certificates.server_context(), hang()) as started:
        yield started


@pytest.fixture
def home(certificates: Certificates) -> Iterator[Scripted]:
    """The server that the secrets are set for, to which nothing goes either once they do not fit."""
    with scripted(certificates.server_context(), hang()) as started:
        yield started


@pytest.fixture
async def server(
    settings: Settings, certificates: Certificates, other: Scripted, home: Scripted
) -> AsyncIterator[Running]:
    async with running(may_connect(settings, certificates, home.port, other.port)) as started:
        async with started.context.database.engine.begin() as connection:
            await connection.execute(text("""UPDATE "user" SET email = 'admin@example.org'"""))
        yield started


def values_of(kind: str, home: Scripted, inbox_id: str = "a", **changes: Any) -> dict[str, Any]:
    """An inbox at `home`, with passwords or with consents."""
    values = inbox_values() if kind == "password" else consenting_values()
    values |= {"id": inbox_id, "email": f"{inbox_id}@example.org"}
    for protocol in PROTOCOLS:
        values[protocol] |= {"server": "localhost", "port": home.port, "tlsFingerprint": FINGERPRINT}
        if kind == "consent":
            address = f"https://localhost:{home.port}/token"
            values[protocol]["oauth2"] = consent(provider=None, tokenUrl=address, scope="mail")
    return {**values, **changes}


def without_secrets(values: dict[str, Any]) -> dict[str, Any]:
    values = json.loads(json.dumps(values))
    for protocol in PROTOCOLS:
        values[protocol].pop("password", None)
        for name in ("refreshToken", "clientSecret"):
            values[protocol].get("oauth2", {}).pop(name, None)
    return values


def elsewhere(protocol: MailProtocol, name: str, other: Scripted, home: Scripted) -> dict[str, Any]:
    """The columns by which somebody leads the secrets away."""
    there = {"provider": None, "token_url": f"https://localhost:{home.port}/token", "client_id": "client-1"}
    there |= {"scope": "mail"}
    changes: dict[str, Any] = {
        "server": {"server": "127.0.0.1"},
        "port": {"port": other.port},
        "username": {"username": "other"},
        "secure": {"secure": False},
        "tls_fingerprint": {"tls_fingerprint": OTHER_FINGERPRINT},
        "no tls_fingerprint": {"tls_fingerprint": None},
        "token_url": {"oauth2": json.dumps(there | {"token_url": f"https://localhost:{other.port}/token"})},
        "client_id": {"oauth2": json.dumps(there | {"client_id": "other"})},
        "no consent": {"oauth2": None},
    }
    return {f"{protocol}_{column}": value for column, value in changes[name].items()}


async def write(server: Running, inbox_id: str = "a", **columns: Any) -> None:
    """Past the server."""
    places = ", ".join(
        f"{name} = CAST(:{name} AS JSONB)"
        if name.endswith("oauth2") and server.context.database.notifies
        else f"{name} = :{name}"
        for name in columns
    )
    async with server.context.database.engine.begin() as connection:
        await connection.execute(text(f"UPDATE email_inbox SET {places} WHERE id = :id"), {**columns, "id": inbox_id})


async def row(server: Running, inbox_id: str = "a") -> StoredInbox:
    [inbox] = await server.context.database.find(BY_ID, id=inbox_id)
    return inbox


async def problems(server: Running, query: str, **variables: Any) -> set[tuple[str, str]]:
    body = await server.graphql(query, **variables)
    assert "errors" not in body, body
    [payload] = body["data"].values()
    assert payload["success"] == (not payload["userErrors"])
    return {(".".join(problem["field"]), problem["code"]) for problem in payload["userErrors"]}


def lost(kind: str, name: str, path: str) -> set[tuple[str, str]]:
    """What is to be set again."""
    if kind == "password" or name == "no consent":
        return {(f"{path}.password", "PASSWORD_REQUIRED")}
    return {(f"{path}.oauth2.{secret}", "PASSWORD_REQUIRED") for secret in ("refreshToken", "clientSecret")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
async def test_a_secret_goes_nowhere_else(
    server: Running, other: Scripted, home: Scripted, protocol: MailProtocol, kind: str, name: str
) -> None:
    values = values_of(kind, home)
    assert (await problems(server, SET_ONE, input=values)) == set()
    account(await row(server), protocol, server.context.keyring)
    columns = elsewhere(protocol, name, other, home)
    before = {column: getattr(await row(server), column) for column in columns}
    await write(server, **columns)

    with pytest.raises(DecryptionError):
        account(await row(server), protocol, server.context.keyring)
    assert await problems(server, CHECK, input={"id": "a"}) == lost(kind, name, f"input.{protocol}")
    if protocol == "smtp":
        assert await problems(server, SEND, id="a", to="b@example.org") == lost(kind, name, "smtp")
        status, body = await send_over_rest(server.client, "a")
        assert (status, body["errorType"]) == (400, "error-smtp-password-required")
    tampered = await row(server)
    assert await problems(server, UPDATE, input={"id": "a", "name": "b"}) == lost(kind, name, f"input.{protocol}")
    assert await row(server) == tampered
    assert (home.connections, other.connections) == (0, 0)

    # Put back as it was, or set again, it works.
    restored = {column: json.dumps(value) if isinstance(value, dict) else value for column, value in before.items()}
    await write(server, **restored)
    assert await problems(server, UPDATE, input={"id": "a", "name": "b"}) == set()
    await write(server, **columns)
    assert await problems(server, SET_ONE, input=values) == set()
    account(await row(server), protocol, server.context.keyring)


SET_ONE = (
    "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { success userErrors { code field } } }"
)


@pytest.mark.parametrize("kind", ["password", "consent"])
async def test_it_must_be_given_again_to_be_kept(api: Api, server: Running, home: Scripted, kind: str) -> None:
    """What is sent is what is stored by now, so that nothing seems to have moved."""
    values = values_of(kind, home)
    assert (await api.set_inbox(values)).inbox_id == "a"
    await write(server, smtp_server="127.0.0.1", imap_username="other")
    values["smtp"]["server"], values["imap"]["username"] = "127.0.0.1", "other"
    tampered = await row(server)
    outcome = await api.set_inbox(without_secrets(values))
    assert outcome.problems == {*lost(kind, "", "input.smtp"), *lost(kind, "", "input.imap")}
    assert "set it again" in outcome.text
    assert await row(server) == tampered
    assert (await api.set_inbox(values)).inbox_id == "a"
    assert (await api.set_inbox(without_secrets(values))).inbox_id == "a"


async def test_a_part_that_is_given_again_is_all_that_was_lost(server: Running, home: Scripted) -> None:
    assert await problems(server, SET_ONE, input=values_of("consent", home)) == set()
    inbox = await row(server)
    await write(server, smtp_client_secret=inbox.imap_client_secret)
    given = {"id": "a", "smtp": {"oauth2": {"refreshToken": "new"}}}
    assert await problems(server, UPDATE, input=given) == {("input.smtp.oauth2.clientSecret", "PASSWORD_REQUIRED")}
    given["smtp"]["oauth2"] = {"clientSecret": "new"}  # type: ignore[index]
    assert await problems(server, UPDATE, input=given) == set()
    account(await row(server), "smtp", server.context.keyring)


@pytest.mark.parametrize("kind", ["password", "consent"])
async def test_no_secret_is_worth_anything_in_another_row_or_field(server: Running, home: Scripted, kind: str) -> None:
    """Not even with all that it is bound to beside it."""
    for inbox_id in ("a", "b"):
        assert await problems(server, SET_ONE, input=values_of(kind, home, inbox_id)) == set()
    rows = {inbox_id: await row(server, inbox_id) for inbox_id in ("a", "b")}
    used = SECRETS[:1] if kind == "password" else SECRETS[1:]
    places = list(itertools.product(rows, PROTOCOLS, used))
    for (to, protocol, name), (of, other_protocol, other_name) in itertools.product(places, places):
        swapped = rows[to]._replace(**{f"{protocol}_{name}": getattr(rows[of], f"{other_protocol}_{other_name}")})
        if (to, protocol, name) == (of, other_protocol, other_name):
            account(swapped, protocol, server.context.keyring)
            continue
        with pytest.raises(DecryptionError):
            account(swapped, protocol, server.context.keyring)


async def test_it_follows_where_the_rules_let_it_go(api: Api, server: Running, home: Scripted) -> None:
    """No certificate is trusted by itself any more: the secrets stay, for the server without one."""
    for kind in ("password", "consent"):
        values = values_of(kind, home)
        assert (await api.set_inbox(values)).inbox_id == "a"
        kept = without_secrets(values)
        for protocol in PROTOCOLS:
            del kept[protocol]["tlsFingerprint"]
        assert (await api.set_inbox(kept)).inbox_id == "a"
        for protocol in PROTOCOLS:
            assert account(await row(server), protocol, server.context.keyring).tls_fingerprint is None
        await write(server, smtp_tls_fingerprint=FINGERPRINT)
        with pytest.raises(DecryptionError):
            account(await row(server), "smtp", server.context.keyring)


async def test_nothing_is_left_of_a_consent_that_was_taken_away(server: Running, home: Scripted) -> None:
    values = values_of("consent", home)
    assert await problems(server, SET_ONE, input=values) == set()
    await write(server, smtp_oauth2=None)
    del values["smtp"]["oauth2"]["clientSecret"]
    assert await problems(server, SET_ONE, input=values) == set()
    login = account(await row(server), "smtp", server.context.keyring).login
    assert isinstance(login, Grant)
    assert login.client_secret is None


@pytest.mark.parametrize("stored", ["null", "[]", "{}", '"x"', "5", '{"provider": ["x"], "token_url": null}'])
async def test_a_consent_of_another_form_is_none(server: Running, home: Scripted, stored: str) -> None:
    assert await problems(server, SET_ONE, input=values_of("consent", home)) == set()
    await write(server, smtp_oauth2=stored)
    found = {code for _, code in await problems(server, CHECK, input={"id": "a"})}
    assert found == {"PASSWORD_REQUIRED"}
    assert (await server.client.get("/api/v1/email-inbox/a")).status_code == 200


async def test_a_shell_check_says_so(server: Running, home: Scripted, settings: Settings, tmp_path: Any) -> None:
    assert await problems(server, SET_ONE, input=values_of("password", home)) == set()
    await write(server, smtp_port=2526)
    status, _, err = run(["inbox", "check", "a"], environment_of(settings), tmp_path)
    assert status == 1
    assert "smtp.password is stored, but can't be decrypted" in err
