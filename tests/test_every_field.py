"""Every field of an input, by name: it is stored, shown by both APIs, and kept by an update of another one.

A field that is added needs a value here, or the first test of its kind names it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from models.config import INBOX_FIELDS, SERVER_CONFIGS, SERVER_FIELDS, InboxConfig
from models.inbox import BY_ID, EmailInbox
from models.oauth2 import OAuth2Config as OAuth2Input
from models.stored import PROTOCOLS, SECRETS, StoredInbox, StoredServer, secret_of
from models.token import TokenConfig
from models.user import User, UserConfig
from models.validation import names_of
from rest.document import Consent, Document, ImapServer, Server
from schema.inbox import EmailInbox as EmailInboxType
from schema.inbox import ImapConfig, OAuth2Config, SmtpConfig
from tests.api import Api, GraphQLApi, RestApi
from tests.inboxes import FINGERPRINT, leaves
from tests.running import Running
from tests.users import CREATE_TOKEN, CREATE_USER

OF_INBOXES: Mapping[str, Any] = {
    "name": "Sales",
    "email": "sales@example.org",
    "active": False,
    "description": "Two\nlines",
    "senderInfo": "Sales of Example",
    "department": "North",
    **{
        f"{protocol}.{name}": value
        for number, protocol in enumerate(PROTOCOLS, 1)
        for name, value in {
            "server": f"{protocol}.example.org",
            "port": 1_000 + number,
            "username": f"user-{protocol}",
            "secure": protocol == "imap",
            "tlsFingerprint": FINGERPRINT.replace("0", str(number)),
            "oauth2.provider": ["GOOGLE", "MICROSOFT"][number - 1],
            "oauth2.tokenUrl": f"https://{protocol}.example.org/token",
            "oauth2.clientId": f"client-{protocol}",
            "oauth2.scope": f"scope-{protocol}",
            "oauth2.clientSecret": f"client-secret-{protocol}",
            "oauth2.refreshToken": f"refresh-{protocol}",
        }.items()
    },
    "imap.maxRetries": 3,
}
"""A value for each field that is not its default, and not the same for SMTP and IMAP."""
OF_USERS: Mapping[str, Any] = {
    "username": "anna",
    "name": "Anna",
    "email": "anna@example.org",
    "permissions": ["READ_EMAIL"],
    "departments": ["North"],
    "active": False,
}
OF_TOKENS: Mapping[str, Any] = {
    "name": "mine",
    "expiresAt": "2100-01-31T12:00:00.000Z",
    "permissions": ["MANAGE_USERS"],
}
SECRET_FIELDS = {"oauth2.refreshToken": "refresh_token", "oauth2.clientSecret": "client_secret"}
UPDATE = """
    mutation ($input: UpdateEmailInboxInput!) { updateEmailInbox(input: $input) { success userErrors { message } } }
"""
TOKENS = "{ accessTokens { id name expiresAt permissions } }"
UPDATE_USER = """
    mutation ($input: UpdateUserInput!) {
        updateUser(input: $input) { success user { username name email permissions departments active } }
    }
"""


@pytest.mark.parametrize(
    ("model", "values", "elsewhere"),
    [
        # What names the inbox and its version is no field of it, and a password excludes a consent.
        (InboxConfig, OF_INBOXES, {"id", "ifVersion", "smtp.password", "imap.password"}),
        (UserConfig, OF_USERS, {"id", "password"}),
        (TokenConfig, OF_TOKENS, set()),
    ],
    ids=["inbox", "user", "token"],
)
def test_every_field_has_a_value_here(model: type[BaseModel], values: Mapping[str, Any], elsewhere: set[str]) -> None:
    assert set(leaves(model)) - elsewhere == set(values)


# ----------------------------------------------------------------------------------------------------------- columns


def test_every_field_of_an_inbox_has_its_column() -> None:
    columns = set(EmailInbox.model_fields)
    of_inboxes = set(InboxConfig.model_fields) - {"smtp", "imap", "if_version"}
    of_servers = {f"{protocol}_{name}" for protocol, config in SERVER_CONFIGS.items() for name in config.model_fields}
    secrets = {f"{protocol}_{name}" for protocol in PROTOCOLS for name in (*SECRETS, "consent_id")}
    of_the_server = {"name_key", "email_key", "search_key", "version", "created_at", "updated_at", "created_by_id"}
    assert columns == of_inboxes | of_servers | secrets | of_the_server
    assert set(StoredInbox._fields) == columns - {"search_key"}


def test_a_stored_server_has_every_field_of_its_config_in_its_place() -> None:
    computed = ("has_password", "oauth2")
    assert StoredServer._fields == (*computed, *SERVER_FIELDS["imap"])
    assert StoredServer._fields[: -len(StoredServer._field_defaults)] == (*computed, *SERVER_FIELDS["smtp"])


def test_every_field_of_an_inbox_has_a_place_in_the_types_of_both_apis() -> None:
    """The secrets have none, and what the types hold beside the fields is not asked for here."""
    graphql = {"inbox": EmailInboxType, "smtp": SmtpConfig, "imap": ImapConfig, "consent": OAuth2Config}
    rest = {"inbox": Document, "smtp": Server, "imap": ImapServer, "consent": Consent}
    consent = names_of(OAuth2Input, but=SECRETS)
    inputs = {"inbox": INBOX_FIELDS, "smtp": SERVER_FIELDS["smtp"], "imap": SERVER_FIELDS["imap"], "consent": consent}
    for kind, fields in inputs.items():
        assert set(fields) - {found.name for found in dataclasses.fields(graphql[kind])} == set()
        assert set(fields.values()) - {"id"} - set(get_type_hints(rest[kind])) == set()


def test_every_secret_of_a_consent_has_its_column() -> None:
    public = {"provider", "token_url", "client_id", "scope"}
    assert set(OAuth2Input.model_fields) == public | set(SECRETS[1:])


def test_every_field_of_a_user_has_its_column() -> None:
    renamed = {"password": "password_hash", "permissions": "permission_names"}
    fields = {renamed.get(name, name) for name in UserConfig.model_fields}
    assert set(User.model_fields) == fields | {"username_key", "email_key", "search_key", "created_at"}


# ---------------------------------------------------------------------------------------------- stored and shown


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The input that the paths spell."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return found


def at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


@pytest.fixture(params=[GraphQLApi, RestApi], ids=["set over graphql", "set over rest"])
async def filled(request: pytest.FixtureRequest, server: Running) -> Running:
    """A server with an inbox that has a value in every field, one of which was changed since."""
    api: Api = request.param(server.client)
    outcome = await api.set_inbox({"id": "a", **nested(OF_INBOXES)})
    assert outcome.inbox_id == "a", outcome
    return server


@pytest.mark.parametrize("path", OF_INBOXES)
async def test_a_field_is_kept_by_an_update_of_another(filled: Running, path: str) -> None:
    other = {"name": "Other"} if path != "name" else {"description": "Other"}
    payload = (await filled.graphql(UPDATE, input={"id": "a", **other}))["data"]["updateEmailInbox"]
    assert payload["success"], payload
    protocol, _, name = path.partition(".")
    if name in SECRET_FIELDS:
        [inbox] = await filled.context.database.find(BY_ID, id="a")
        secret = secret_of(inbox, "smtp" if protocol == "smtp" else "imap", SECRET_FIELDS[name], filled.context.keyring)
        assert secret.reveal() == OF_INBOXES[path]
        return
    for api in (GraphQLApi(filled.client), RestApi(filled.client)):
        assert at(await api.inbox("a"), path) == OF_INBOXES[path], f"{path} is lost, or {type(api).__name__} hides it"


@pytest.mark.parametrize("path", OF_USERS)
async def test_a_field_of_a_user_is_kept_by_an_update_of_another(server: Running, path: str) -> None:
    values = {name: value for name, value in OF_USERS.items() if name != "active"}
    created = (await server.graphql(CREATE_USER, input=values))["data"]["createUser"]["user"]
    await server.graphql(UPDATE_USER, input={"id": created["id"], "active": False})
    other: dict[str, Any] = {"name": "Other"} if path != "name" else {"departments": []}
    answer = await server.graphql(UPDATE_USER, input={"id": created["id"], **other})
    assert answer["data"]["updateUser"]["user"][path] == OF_USERS[path]


@pytest.mark.parametrize("path", OF_TOKENS)
async def test_a_field_of_a_token_is_stored_and_shown(server: Running, path: str) -> None:
    made = (await server.graphql(CREATE_TOKEN, input=dict(OF_TOKENS)))["data"]["createAccessToken"]["accessToken"]
    tokens = (await server.graphql(TOKENS))["data"]["accessTokens"]
    [stored] = [token for token in tokens if token["id"] == made["id"]]
    assert stored[path] == made[path] == OF_TOKENS[path]
