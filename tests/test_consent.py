"""A consent (OAuth 2.0) in place of a password: its rules over both APIs, and where its secrets are and are not."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from models import stored as stored_rows
from models.account import Grant
from models.config import InboxConfig, MailProtocol
from models.inbox import BY_ID, EmailInbox, rotate_refresh_token
from models.key import known_keys, register, retire
from models.keyfile import KeyFile
from models.secrets import DecryptionError, Key, Keyring, Secret, new_key
from models.stored import PROTOCOLS, SECRETS, StoredInbox
from models.validation import validated
from resolvers.keys import rotate_keys
from tests.api import SET, Api, GraphQLApi, RestApi
from tests.inboxes import (
    CLIENT_SECRET,
    FINGERPRINT,
    IMAP_PASSWORD,
    REFRESH_TOKEN,
    SMTP_PASSWORD,
    consent,
    consenting_values,
    inbox_values,
)
from tests.running import Running
from tests.stored import stored_of

GOOGLE = {
    "provider": "GOOGLE",
    "tokenUrl": "https://oauth2.googleapis.com/token",
    "clientId": "client-1",
    "scope": "https://mail.google.com/",
    "hasClientSecret": True,
}
MICROSOFT_URL = "https://login.microsoftonline.com/common/oauth2/v2.0/token"
OWN_URL = "https://login.example.org/token"
NO_SECRETS = {"clientSecret": ..., "refreshToken": ...}
MISSING = "PASSWORD_REQUIRED"


async def row(server: Running, inbox_id: str = "a") -> StoredInbox:
    [inbox] = await server.context.database.find(BY_ID, id=inbox_id)
    return inbox


async def grant_of(server: Running, protocol: MailProtocol = "smtp") -> Grant:
    login = stored_rows.account(await row(server), protocol, server.context.keyring).login
    assert isinstance(login, Grant)
    return login


async def secrets_of(server: Running, protocol: MailProtocol = "smtp") -> tuple[str, str | None]:
    """The refresh token and the client secret, decrypted."""
    grant = await grant_of(server, protocol)
    return grant.refresh_token.reveal(), grant.client_secret.reveal() if grant.client_secret else None


async def password_of(server: Running, protocol: MailProtocol = "smtp") -> str:
    login = stored_rows.account(await row(server), protocol, server.context.keyring).login
    assert isinstance(login, Secret)
    return login.reveal()


async def consents_of(api: Api) -> Any:
    found = await api.inbox("a")
    assert found
    return found["smtp"]["oauth2"], found["imap"]["oauth2"]


# ------------------------------------------------------------------------------------------------- stored and shown


async def test_a_consent_is_stored_and_shown_without_its_secrets(api: Api, server: Running) -> None:
    own = {"provider": None, "tokenUrl": OWN_URL, "clientId": "client-2", "scope": None, "hasClientSecret": False}
    imap = consent(provider=..., tokenUrl=OWN_URL, clientId="client-2", clientSecret=..., refreshToken="other-1")
    assert (await api.set_inbox(consenting_values(id="a", imap__oauth2=imap))).inbox_id == "a"
    shown = await api.inbox("a")
    assert shown
    assert (shown["smtp"]["oauth2"], shown["smtp"]["hasPassword"]) == (GOOGLE, False)
    assert (shown["imap"]["oauth2"], shown["imap"]["hasPassword"]) == (own, False)
    assert await secrets_of(server) == (REFRESH_TOKEN, CLIENT_SECRET)
    assert await secrets_of(server, "imap") == ("other-1", None)
    assert repr(await grant_of(server)).count("***") == 2


async def test_both_apis_show_the_same_consent(server: Running) -> None:
    graphql, rest = GraphQLApi(server.client), RestApi(server.client)
    await graphql.set_inbox(consenting_values(id="a", smtp__tlsFingerprint=FINGERPRINT))
    one, other = await graphql.inbox("a"), await rest.inbox("a")
    assert one
    assert one.pop("version") == 1
    assert one == other


async def test_a_document_with_a_consent_can_be_sent_back(server: Running) -> None:
    await RestApi(server.client).set_inbox(consenting_values(id="a", smtp__tlsFingerprint=FINGERPRINT))
    document = (await server.client.get("/api/v1/email-inbox/a")).json()
    assert document["smtp"] == {
        "server": "smtp.example.org",
        "port": 465,
        "username": "support",
        "secure": True,
        "hasPassword": False,
        "tlsFingerprint": FINGERPRINT,
        "oauth2": GOOGLE,
    }
    assert (await server.client.post("/api/v1/email-inbox", json=document)).json() == {"_id": "a", "success": True}
    again = (await server.client.get("/api/v1/email-inbox/a")).json()
    assert {**again, "_updatedAt": ""} == {**document, "_updatedAt": ""}
    assert await secrets_of(server) == (REFRESH_TOKEN, CLIENT_SECRET)


async def test_a_provider_gives_what_is_left_out_and_what_is_given_goes_before_it(api: Api) -> None:
    tenant = MICROSOFT_URL.replace("common", "example.org")
    given = {"smtp__oauth2__tokenUrl": tenant, "smtp__oauth2__scope": "a b"}
    for more in ({}, {"smtp__oauth2__tokenUrl": None, "smtp__oauth2__scope": None}, given):
        values = consenting_values(id="a", **{"smtp__oauth2__provider": "MICROSOFT", **more})
        assert (await api.set_inbox(values)).inbox_id
        smtp, _ = await consents_of(api)
        if more == given:
            assert (smtp["tokenUrl"], smtp["scope"]) == (tenant, "a b")
        else:
            assert smtp["tokenUrl"] == MICROSOFT_URL
            assert smtp["scope"].split() == [
                "https://outlook.office.com/IMAP.AccessAsUser.All",
                "https://outlook.office.com/SMTP.Send",
                "offline_access",
            ]


# ------------------------------------------------------------------------------------------------------- bad input


async def problems_of(api: Api, **changes: Any) -> set[tuple[str, str]]:
    """What is wrong with the consent for SMTP."""
    found = (await api.set_inbox(consenting_values(smtp__oauth2=consent(**changes)))).problems
    assert all(field.startswith("input.smtp.oauth2.") for field, _ in found)
    return {(field.rpartition(".")[2], code) for field, code in found}


async def test_without_a_provider_the_address_is_required(api: Api) -> None:
    for provider, url in product((..., None), (..., None)):
        assert await problems_of(api, provider=provider, tokenUrl=url) == {("tokenUrl", "REQUIRED")}


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.org/token", "HTTPS://login.example.org", "ftp://a.b", "//a.b/c", "a.b", "", " ",
        "https://", "https:///token", "https://user@a.b/", "https://user:word@a.b/", "https://a.b/#c", "https://a.b#",
        "https://a b/", "https://a.b/c d", "https://a.b/\n", "\nhttps://a.b/", "https://a.b\\@c.d/", "https://a.b/ä",
        "https://ä.b/", "https://a.b:0/", "https://a.b:65536/", "https://a.b:x/", "https://a..b/", "https://-a.b/",
        "https://[a]/", "https://[::1/", "https://a.b@c.d", "https://a.b:@c.d", "https://a.b\t/",
    ],
)  # fmt: skip
async def test_an_address_is_https_and_nothing_else(shared_server: Running, url: str) -> None:
    assert await problems_of(GraphQLApi(shared_server.client), tokenUrl=url) == {("tokenUrl", "INVALID")}


async def test_usual_addresses_are_taken(server: Running) -> None:
    api = GraphQLApi(server.client)
    for url in (
        "https://a.b",
        "https://a.b/",
        "https://A.b:8443/c/d?e=f&g=%20",
        "https://localhost/",
        "https://[::1]/",
    ):
        assert await problems_of(api, tokenUrl=url) == set(), url
        await api.delete_inbox((await api.inbox_by_email("support@example.org") or {})["id"])


async def test_every_field_is_held_to_its_form(server: Running) -> None:
    api = RestApi(server.client)
    assert await problems_of(api, provider="OTHER") == {("provider", "INVALID")}
    assert await problems_of(api, provider="GOOGLE\n", tokenUrl="x") == {
        ("provider", "INVALID"),
        ("tokenUrl", "INVALID"),
    }
    for name, length in {"clientId": 1_000, "clientSecret": 1_000, "refreshToken": 10_000, "scope": 2_000}.items():
        assert await problems_of(api, **{name: "x" * (length + 1)}) == {(name, "TOO_LONG")}
        for wrong in ("a\0", "a\r\nb", "a\ud800", "a\u2028", 5, ["a"], {"a": "b"}):
            assert await problems_of(api, **{name: wrong}) >= {(name, "INVALID")}, (name, wrong)
    assert await problems_of(api, tokenUrl=f"https://a.b/{'c' * 2_000}") == {("tokenUrl", "TOO_LONG")}
    assert await problems_of(api, clientId=" ") == {("clientId", "REQUIRED")}
    assert await problems_of(api, clientId=...) == {("clientId", "REQUIRED")}
    assert await problems_of(api, clientSecret="", refreshToken="") == {
        ("clientSecret", "INVALID"),
        ("refreshToken", "INVALID"),
    }
    assert await problems_of(api, accessToken="x") == {("accessToken", "INVALID")}
    longest = {"clientId": "x" * 1_000, "clientSecret": "x" * 1_000, "refreshToken": "x" * 10_000, "scope": "x" * 2_000}
    assert await problems_of(api, **longest) == set()


async def test_what_is_no_consent_is_one_problem(server: Running) -> None:
    api = RestApi(server.client)
    not_objects: list[Any] = ["x", 5, [], True]
    for wrong in not_objects:
        outcome = await api.set_inbox(consenting_values(smtp__oauth2=wrong))
        assert outcome.problems == {("input.smtp.oauth2", "INVALID")}
    outcome = await api.set_inbox(consenting_values(smtp__oauth2={f"x{number}": 1 for number in range(50_000)}))
    assert len(outcome.problems) <= 3


async def test_a_password_and_a_consent_exclude_each_other(api: Api) -> None:
    outcome = await api.set_inbox(consenting_values(name=" ", smtp__password=SMTP_PASSWORD, smtp__oauth2__clientId=5))
    if isinstance(api, RestApi):
        assert outcome.problems == {
            ("input.name", "REQUIRED"),
            ("input.smtp.oauth2", "INVALID"),
            ("input.smtp.oauth2.clientId", "INVALID"),
        }
    outcome = await api.set_inbox(consenting_values(id="a", smtp__password=SMTP_PASSWORD))
    assert outcome.problems == {("input.smtp.oauth2", "INVALID")}
    assert await api.inbox("a") is None


# --------------------------------------------------------------------------------------- what may be left out, and when


async def test_a_first_consent_needs_its_refresh_token(api: Api) -> None:
    without = consenting_values(id="a", name=" ", smtp__oauth2=consent(**NO_SECRETS))
    expected = {("input.smtp.oauth2.refreshToken", MISSING), ("input.name", "REQUIRED")}
    assert (await api.set_inbox(without)).problems == expected
    await api.set_inbox(inbox_values(id="a"))
    assert (await api.set_inbox(without)).problems == expected


async def test_secrets_are_kept_where_everything_stays(api: Api, server: Running) -> None:
    await api.set_inbox(consenting_values(id="a"))
    nothing = consenting_values(id="a", name="Neither", smtp__oauth2=..., imap__oauth2=...)
    spelled = consent(**NO_SECRETS, provider=None, tokenUrl=GOOGLE["tokenUrl"], scope="another")
    for values in (nothing, bare_values(), consenting_values(id="a", smtp__oauth2=spelled, imap__oauth2=...)):
        assert (await api.set_inbox(values)).inbox_id == "a"
        assert await secrets_of(server) == (REFRESH_TOKEN, CLIENT_SECRET)
        assert await secrets_of(server, "imap") == (f"{REFRESH_TOKEN}-imap", CLIENT_SECRET)
    smtp, imap = await consents_of(api)
    assert (smtp["provider"], smtp["scope"], imap) == (None, "another", GOOGLE)


ELSEWHERE = {
    "server": "mail.attacker.example",
    "port": 2465,
    "username": "other",
    "secure": False,
    "tlsFingerprint": FINGERPRINT,
    "oauth2__tokenUrl": "https://attacker.example/token",
    "oauth2__clientId": "client-2",
    "oauth2__provider": "MICROSOFT",
}


def bare_values(**changes: Any) -> dict[str, Any]:
    consents = {f"{protocol}__oauth2": consent(**NO_SECRETS) for protocol in PROTOCOLS}
    return consenting_values(**{"id": "a", **consents, **changes})


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stored_secret_never_goes_to_another_place(api: Api, server: Running, protocol: MailProtocol) -> None:
    await api.set_inbox(consenting_values(id="a"))
    before = await secrets_of(server, protocol)
    for name, value in ELSEWHERE.items():
        moved = bare_values(**{f"{protocol}__{name}": value})
        missing = {(f"input.{protocol}.oauth2.{secret}", MISSING) for secret in ("refreshToken", "clientSecret")}
        assert (await api.set_inbox(moved)).problems == missing, name
        half = bare_values(**{f"{protocol}__{name}": value, f"{protocol}__oauth2__refreshToken": "x"})
        assert (await api.set_inbox(half)).problems == {(f"input.{protocol}.oauth2.clientSecret", MISSING)}
        if not name.startswith("oauth2"):
            plain = consenting_values(id="a", smtp__oauth2=..., imap__oauth2=..., **{f"{protocol}__{name}": value})
            assert (await api.set_inbox(plain)).problems == {(f"input.{protocol}.password", MISSING)}
        assert await secrets_of(server, protocol) == before
    given = consent(refreshToken="new-refresh", clientSecret=None)
    moved = consenting_values(id="a", **{f"{protocol}__oauth2": given, f"{protocol}__server": "mail.example.net"})
    assert (await api.set_inbox(moved)).inbox_id == "a"
    assert await secrets_of(server, protocol) == ("new-refresh", None)


async def test_a_missing_secret_is_reported_beside_a_wrong_field(server: Running) -> None:
    api = RestApi(server.client)
    await api.set_inbox(consenting_values(id="a"))
    wrong = consenting_values(id="a", smtp__oauth2=consent(**NO_SECRETS, tokenUrl="http://a.b"), smtp__port=0)
    assert (await api.set_inbox(wrong)).problems == {
        ("input.smtp.port", "INVALID"),
        ("input.smtp.oauth2.tokenUrl", "INVALID"),
        ("input.smtp.oauth2.refreshToken", MISSING),
        ("input.smtp.oauth2.clientSecret", MISSING),
    }


async def test_a_client_secret_that_is_null_is_none(api: Api, server: Running) -> None:
    await api.set_inbox(consenting_values(id="a"))
    assert (
        await api.set_inbox(consenting_values(id="a", smtp__oauth2=consent(clientSecret=..., refreshToken="new-1")))
    ).inbox_id
    assert await secrets_of(server) == ("new-1", CLIENT_SECRET)
    assert (
        await api.set_inbox(consenting_values(id="a", smtp__oauth2=consent(clientSecret=None, refreshToken=None)))
    ).inbox_id
    assert await secrets_of(server) == ("new-1", None)
    assert (await consents_of(api))[0] == {**GOOGLE, "hasClientSecret": False}


async def test_a_consent_and_a_password_take_each_others_place(api: Api, server: Running) -> None:
    await api.set_inbox(inbox_values(id="a"))
    assert (await api.set_inbox(consenting_values(id="a"))).inbox_id
    stored = await row(server)
    assert (stored.smtp_password, stored.imap_password) == (b"", b"")
    assert (await api.set_inbox(inbox_values(id="a", smtp__oauth2=None))).inbox_id
    stored = await row(server)
    assert await password_of(server) == SMTP_PASSWORD
    assert await password_of(server, "imap") == IMAP_PASSWORD
    assert [getattr(stored, f"{p}_{name}") for p in PROTOCOLS for name in ("oauth2", *SECRETS[1:])] == [None] * 6
    assert (await api.set_inbox(inbox_values(id="a", smtp__password=..., smtp__oauth2=None))).inbox_id
    assert await password_of(server) == SMTP_PASSWORD


async def test_a_consent_that_is_removed_leaves_a_password_to_be_given(api: Api, server: Running) -> None:
    await api.set_inbox(consenting_values(id="a"))
    outcome = await api.set_inbox(consenting_values(id="a", smtp__oauth2=None))
    assert outcome.problems == {("input.smtp.password", MISSING)}
    assert await secrets_of(server) == (REFRESH_TOKEN, CLIENT_SECRET)


# ----------------------------------------------------------------------------------------------------------- updates

UPDATE = """
    mutation ($input: UpdateEmailInboxInput!) {
        updateEmailInbox(input: $input) {
            userErrors { code field }
            emailInbox { smtp { hasPassword oauth2 { provider tokenUrl clientId scope hasClientSecret } } }
        }
    }
"""


@pytest.fixture
async def stored(server: Running) -> Running:
    """A server with an inbox that holds two consents."""
    await GraphQLApi(server.client).set_inbox(consenting_values(id="a"))
    return server


async def update(server: Running, **changes: Any) -> Any:
    """The SMTP server as it is now, or what was wrong."""
    payload = (await server.graphql(UPDATE, input={"id": "a", **changes}))["data"]["updateEmailInbox"]
    if payload["userErrors"]:
        return {(".".join(error["field"]), error["code"]) for error in payload["userErrors"]}
    return payload["emailInbox"]["smtp"]


async def test_an_update_keeps_what_it_does_not_name(stored: Running) -> None:
    expected = {"hasPassword": False, "oauth2": GOOGLE}
    assert await update(stored, name="Sales") == expected
    assert await update(stored, smtp={}) == expected
    assert await update(stored, smtp={"oauth2": {}}) == expected
    assert await update(stored, smtp={"oauth2": {"scope": "a"}}) == {**expected, "oauth2": {**GOOGLE, "scope": "a"}}
    assert await update(stored, smtp={"oauth2": {"scope": None}}) == expected
    assert await secrets_of(stored) == (REFRESH_TOKEN, CLIENT_SECRET)
    assert await secrets_of(stored, "imap") == (f"{REFRESH_TOKEN}-imap", CLIENT_SECRET)


async def test_an_update_may_give_new_secrets_alone(stored: Running) -> None:
    await update(stored, smtp={"oauth2": {"refreshToken": "new-1"}})
    assert await secrets_of(stored) == ("new-1", CLIENT_SECRET)
    await update(stored, smtp={"oauth2": {"clientSecret": "new-2"}})
    assert await secrets_of(stored) == ("new-1", "new-2")
    await update(stored, smtp={"oauth2": {"clientSecret": None}})
    assert await secrets_of(stored) == ("new-1", None)


async def test_an_update_takes_no_secret_to_another_place(stored: Running) -> None:
    missing = {(f"input.smtp.oauth2.{secret}", MISSING) for secret in ("refreshToken", "clientSecret")}
    for name, value in ELSEWHERE.items():
        change = {"oauth2": {name.removeprefix("oauth2__"): value}} if name.startswith("oauth2") else {name: value}
        assert await update(stored, smtp=change) == missing, name
    assert await secrets_of(stored) == (REFRESH_TOKEN, CLIENT_SECRET)


async def test_another_provider_brings_its_own_address_and_scope(stored: Running) -> None:
    shown = await update(stored, smtp={"oauth2": consent(provider="MICROSOFT", clientSecret=None)})
    assert shown["oauth2"]["tokenUrl"] == MICROSOFT_URL
    assert "SMTP.Send" in shown["oauth2"]["scope"]
    assert await update(stored, smtp={"oauth2": {"provider": None}}) >= {("input.smtp.oauth2.tokenUrl", "REQUIRED")}


async def test_an_update_swaps_a_consent_and_a_password(stored: Running) -> None:
    assert await update(stored, smtp={"oauth2": None}) == {("input.smtp.password", MISSING)}
    assert await update(stored, smtp={"password": "p", "oauth2": {"scope": "a"}}) == {("input.smtp.oauth2", "INVALID")}
    assert await update(stored, smtp={"password": "p"}) == {"hasPassword": True, "oauth2": None}
    assert await password_of(stored) == "p"
    assert await update(stored, smtp={"oauth2": consent(clientId=...)}) == {("input.smtp.oauth2.clientId", "REQUIRED")}
    assert await update(stored, smtp={"oauth2": consent()}) == {"hasPassword": False, "oauth2": GOOGLE}
    assert await update(stored, smtp={"password": "p", "oauth2": None}) == {"hasPassword": True, "oauth2": None}
    assert await update(stored, smtp={"oauth2": None}) == {"hasPassword": True, "oauth2": None}


# ------------------------------------------------------------------------------------------------------- encryption


async def test_secrets_are_stored_encrypted_and_bound_to_their_place(stored: Running) -> None:
    inbox = await row(stored)
    columns = [f"{protocol}_{name}" for protocol, name in product(PROTOCOLS, SECRETS[1:])]
    for column in columns:
        value = getattr(inbox, column)
        assert value.startswith(stored.context.keyring.first.id)
        assert REFRESH_TOKEN.encode() not in value
        assert CLIENT_SECRET.encode() not in value
    values = [getattr(inbox, column) for column in columns]
    for column, value in product(columns, values):
        if getattr(inbox, column) == value:
            continue
        swapped = inbox._replace(**{column: value})
        protocol: MailProtocol = "smtp" if column.startswith("smtp") else "imap"
        with pytest.raises(DecryptionError):
            stored_rows.account(swapped, protocol, stored.context.keyring)


async def test_a_secret_that_is_gone_is_no_login(stored: Running) -> None:
    inbox = await row(stored)
    gone = inbox._replace(smtp_refresh_token=None, imap_oauth2=None)
    for protocol in PROTOCOLS:
        with pytest.raises(DecryptionError):
            stored_rows.account(gone, protocol, stored.context.keyring)


async def test_keys_rotate_turns_them_over(stored: Running) -> None:
    key_file = KeyFile(stored.settings.data_dir / "secret.key")
    old = key_file.keys()[0].id
    assert await rotate_keys(replace(stored.context, keyring=Keyring(key_file.keys)), key_file) == 1
    new = key_file.keys()[0].id
    inbox = await row(stored)
    for protocol, name in product(PROTOCOLS, SECRETS[1:]):
        assert getattr(inbox, f"{protocol}_{name}")[:8] == new != old
    assert inbox.smtp_password == b""
    assert await secrets_of(stored) == (REFRESH_TOKEN, CLIENT_SECRET)
    assert await secrets_of(stored, "imap") == (f"{REFRESH_TOKEN}-imap", CLIENT_SECRET)


@pytest.mark.parametrize("name", SECRETS[1:])
async def test_a_key_that_one_of_them_needs_is_not_forgotten(stored: Running, name: str) -> None:
    older, keys = Key.parse(new_key()), KeyFile(stored.settings.data_dir / "secret.key").keys()

    def unit(session: Any) -> set[str]:
        register(session, Keyring(lambda: [older, *keys]))
        inbox = session.get(EmailInbox, "a")
        place = stored_rows.secret_place(stored_of(inbox), "imap", name)
        setattr(inbox, f"imap_{name}", older.encrypt(Secret("x"), place))
        session.flush()
        retire(session, Keyring(lambda: [*keys, older]))
        return {key.id for key in session.exec(known_keys())}

    assert older.id.hex() in await stored.context.database.write(unit)


# ------------------------------------------------------------------------------------ a refresh token that is rotated


async def test_a_rotated_token_replaces_the_one_that_it_was_given_for(stored: Running) -> None:
    async def rotate(protocol: MailProtocol, old: str, new: str) -> None:
        consent, keyring = getattr(before, f"{protocol}_consent_id"), stored.context.keyring
        await stored.context.database.write(
            lambda session: rotate_refresh_token(session, consent, Secret(old), Secret(new), keyring)
        )

    before = await row(stored)
    await rotate("smtp", "of nobody", "x")
    await rotate("imap", REFRESH_TOKEN, "x")
    assert (await row(stored)).smtp_refresh_token == before.smtp_refresh_token
    await rotate("smtp", REFRESH_TOKEN, "rotated-1")
    assert await secrets_of(stored) == ("rotated-1", CLIENT_SECRET)
    assert await secrets_of(stored, "imap") == (f"{REFRESH_TOKEN}-imap", CLIENT_SECRET)
    after = await row(stored)
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    assert after.smtp_consent_id == before.smtp_consent_id != before.imap_consent_id


async def test_a_rotated_token_replaces_the_old_one_in_every_inbox(stored: Running) -> None:
    same = {"smtp__oauth2": consent(), "imap__oauth2": consent()}
    values = [consenting_values(id=name, email=f"{name}@example.org", **same) for name in ("b", "c", "d")]
    for each in values:
        each["smtp"]["server"] = "another.example.org"
        assert (await GraphQLApi(stored.client).set_inbox(each)).inbox_id
    values[1]["smtp"]["oauth2"]["refreshToken"] = "of another consent"
    await GraphQLApi(stored.client).set_inbox(values[1])
    origin, keyring = (await grant_of(stored)).origin, stored.context.keyring
    assert origin
    await stored.context.database.write(
        lambda session: rotate_refresh_token(
            session, origin.consent_id, Secret(REFRESH_TOKEN), Secret("rotated"), keyring
        )
    )
    found = {
        (name, protocol): stored_rows.secret_of(await row(stored, name), protocol, "refresh_token", keyring).reveal()
        for name, protocol in product("abcd", PROTOCOLS)
    }
    others = {("a", "imap"): f"{REFRESH_TOKEN}-imap", ("c", "smtp"): "of another consent"}
    assert found == dict.fromkeys(found, "rotated") | others


async def test_a_password_is_no_token_to_rotate(server: Running) -> None:
    await GraphQLApi(server.client).set_inbox(inbox_values(id="a"))
    keyring = server.context.keyring
    inbox = await row(server)
    assert (inbox.smtp_consent_id, inbox.imap_consent_id) == (None, None)
    await server.context.database.write(
        lambda session: rotate_refresh_token(session, "", Secret(SMTP_PASSWORD), Secret("x"), keyring)
    )
    assert await password_of(server) == SMTP_PASSWORD


async def test_input_is_an_account_with_what_is_stored_where_it_is_left_out(stored: Running) -> None:
    kept = stored_rows.account(await row(stored), "smtp", stored.context.keyring)
    for changes in ({"smtp__oauth2": ...}, {"smtp__oauth2": consent(**NO_SECRETS)}):
        account = validated(InboxConfig, consenting_values(**changes), "input").smtp.account(kept)
        assert isinstance(account.login, Grant)
        assert account.login.refresh_token.reveal() == REFRESH_TOKEN
        assert account.login.client_secret
        assert account.login.client_secret.reveal() == CLIENT_SECRET
    public = validated(InboxConfig, consenting_values(smtp__oauth2=consent(clientSecret=None)), "input").smtp.account(
        kept
    )
    assert isinstance(public.login, Grant)
    assert public.login.client_secret is None


async def test_a_change_event_shows_no_secret(stored: Running) -> None:
    answer = await stored.graphql(SET, input=consenting_values(id="b", email="b@example.org", smtp__oauth2__scope="x"))
    text = str(answer) + str((await stored.client.get("/api/v1/email-inbox.list")).json())
    assert answer["data"]["setEmailInbox"]["success"]
    assert REFRESH_TOKEN not in text
    assert CLIENT_SECRET not in text
