"""The input of `setEmailInbox`, defined once for GraphQL and REST.

A field added here becomes a field of the GraphQL input types (`schema/inbox.py`) and of the REST body, and is stored in
a column of the same name.
Knows no stored inbox: `models/inbox.py` decides whether a password may be left out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from models.account import Account, Grant
from models.fields import (
    Boolean,
    EmailAddress,
    Fingerprint,
    Host,
    Identifier,
    Integer,
    Line,
    Name,
    Password,
    Port,
    RelayPassword,
    RelayUsername,
    Retries,
    Text,
    Username,
)
from models.oauth2 import OAuth2Config, OAuth2Patch
from models.secrets import Secret
from models.validation import Input, names_of, patch_of

MailProtocol = Literal["smtp", "imap"]
EVERY_DEPARTMENT = "All"
DEFAULT_RETRIES = 10
STARTTLS_PORTS = frozenset({25, 143, 587, 2525})
IMPLICIT_TLS_PORTS = frozenset({465, 993})
MAIL_PORTS = STARTTLS_PORTS | IMPLICIT_TLS_PORTS

IDENTITY = ("server", "port", "username", "secure")
"""The fields of a server config that determine where a password is sent."""


class ServerConfig(Input):
    """How to reach one mail server."""

    server: Annotated[Host, Field(description="Host name or IP address of the mail server, at most 253 characters.")]
    port: Annotated[Port, Field(description="Port of the mail server, 1 to 65535.")]
    username: Annotated[Username, Field(description="Login name at the mail server, at most 1,000 characters.")]
    password: Annotated[
        Password | None,
        Field(
            description="Password at the mail server; it can never be read again. Required to create, unless oauth2 is "
            "given. Left out later, the stored one is kept, which is allowed only while server, port, username and "
            "secure stay as they are and no other certificate is trusted.",
            repr=False,
        ),
    ] = None
    secure: Annotated[
        Boolean,
        Field(
            description="True: TLS is required and the certificate is verified; implicit TLS or STARTTLS, whichever "
            "the server speaks. False: TLS is used where the server offers it."
        ),
    ]
    tls_fingerprint: Annotated[
        Fingerprint | None,
        Field(
            description="SHA-256 fingerprint of the only trusted certificate, whatever its issuer: 64 hexadecimal "
            "digits, with or without colons. Null: the certificate must be verified."
        ),
    ] = None
    oauth2: Annotated[
        OAuth2Config | None,
        Field(
            description="A consent in place of a password. Left out together with password, what is stored is kept; "
            "null: none, so that a password must be given."
        ),
    ] = None

    def account(self, stored: Account | None = None) -> Account:
        """Returns the account, with the secrets of `stored` in place of those that are left out.

        `models/inbox.py:password_problems` decides whether they may be left out.
        """
        login = self._login(stored.login if stored else None)
        return Account(self.server, self.port, self.username, self.secure, login, self.tls_fingerprint)

    def _login(self, stored: Secret | Grant | None) -> Secret | Grant:
        if self.oauth2:
            return self.oauth2.grant(stored if isinstance(stored, Grant) else None)
        if self.password is not None:
            return Secret(self.password)
        assert stored, "a password that is missing was to be refused"
        return stored


_NO_LOGIN = object()


class SmtpConfig(ServerConfig):
    """How outgoing mail is sent."""

    username: Annotated[
        RelayUsername,
        Field(
            description="Login name at the mail server, at most 1,000 characters. Empty, together with an empty "
            "password: a relay that asks for no login."
        ),
    ]
    password: Annotated[
        RelayPassword | None,
        Field(
            description="Password at the mail server; it can never be read again. Required to create, unless oauth2 is "
            "given; empty together with username, for a relay that asks for no login. Left out later, the stored one "
            "is kept, which is allowed only while server, port, username and secure stay as they are and no other "
            "certificate is trusted.",
            repr=False,
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _both_empty_is_no_login(cls, values: Any) -> Any:
        """Allows username and password to be empty together: their own validators see only one of them."""
        is_relay = isinstance(values, Mapping) and values.get("username") == "" and values.get("oauth2") is None
        if not is_relay or values.get("password") not in ("", None):
            return values
        return {**values, "username": _NO_LOGIN} | ({"password": _NO_LOGIN} if values.get("password") == "" else {})

    @field_validator("username", "password", mode="wrap")
    @classmethod
    def _empty_if_no_login(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return "" if given is _NO_LOGIN else handler(given)


class ImapConfig(ServerConfig):
    """How incoming mail is fetched."""

    max_retries: Annotated[
        Retries,
        BeforeValidator(
            lambda value: DEFAULT_RETRIES if value is None else value, json_schema_input_type=Retries | None
        ),
        Field(description="Accepted for compatibility: number of retries of a failed connection; -1: forever."),
    ] = DEFAULT_RETRIES


SERVER_CONFIGS: Mapping[MailProtocol, type[ServerConfig]] = {"smtp": SmtpConfig, "imap": ImapConfig}


class InboxConfig(Input):
    """Everything that an inbox is set from."""

    id: Annotated[
        Identifier | None,
        Field(
            description="Id of the inbox to replace, or to create where none has it: 1 to 64 characters of "
            "A-Z a-z 0-9 _ and -. Left out: a new id is made."
        ),
    ] = None
    name: Annotated[Name, Field(description="Name of the inbox, at most 200 characters.")]
    email: Annotated[EmailAddress, Field(description="Address of the inbox; unique, compared without regard to case.")]
    active: Annotated[Boolean, Field(description="Whether mail is fetched and sent.")]
    description: Annotated[
        Text | None, Field(description="Description of the inbox, at most 2,000 characters; may contain line breaks.")
    ] = None
    sender_info: Annotated[
        Line | None, Field(description="Display name of the sender on outgoing mail, at most 200 characters.")
    ] = None
    department: Annotated[
        Line | None, Field(description='Department that serves the inbox. Null or "All": every department.')
    ] = None
    smtp: Annotated[SmtpConfig, Field(description="The server for outgoing mail.")]
    imap: Annotated[ImapConfig, Field(description="The server for incoming mail.")]
    if_version: Annotated[
        Integer | None, Field(description="Refuse with CONFLICT unless the stored version is this one.")
    ] = None


_OAUTH2_CHANGES = (
    Annotated[
        OAuth2Patch | None,
        Field(description="Changes of the consent, or a first one; null removes it: a password must then be given."),
    ],
    None,
)
SmtpConfigPatch = patch_of(
    SmtpConfig,
    "SmtpConfigPatch",
    "Changes to how outgoing mail is sent. Fields that are left out stay as they are.",
    oauth2=_OAUTH2_CHANGES,
)
ImapConfigPatch = patch_of(
    ImapConfig,
    "ImapConfigPatch",
    "Changes to how incoming mail is fetched. Fields that are left out stay as they are.",
    oauth2=_OAUTH2_CHANGES,
)
InboxPatch = patch_of(
    InboxConfig,
    "InboxPatch",
    "Changes to an inbox.",
    id=(Annotated[str, Field(description="Id of the inbox to change.")], ...),
    smtp=(Annotated[SmtpConfigPatch | None, Field(description="Changes to the server for outgoing mail.")], None),
    imap=(Annotated[ImapConfigPatch | None, Field(description="Changes to the server for incoming mail.")], None),
)

INBOX_FIELDS = names_of(InboxConfig, but=("smtp", "imap", "if_version"))
"""The fields that are columns of an inbox, each with its name in the API."""
SERVER_FIELDS = {protocol: names_of(config, but=("password", "oauth2")) for protocol, config in SERVER_CONFIGS.items()}
"""The same for a server, whose columns begin with its protocol. Secrets and consents have columns of their own."""
