"""Warns of unusual inbox settings, without network access. The inbox is saved all the same.

Reads only the input: a password that it omits is not checked.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from mail.hosts import as_address, canonical, embedded, is_public
from mail.settings.providers import MailLogin, Provider, UsernameKind, provider_of_server
from models.blanks import has_hidden, has_outer
from models.config import IMPLICIT_TLS_PORTS, InboxConfig, MailProtocol, ServerConfig
from models.errors import ErrorCode, Problem
from models.fields import address_key
from models.oauth2 import OAuth2Provider
from models.validation import sentence

_Warning = tuple[tuple[str, ...], str]
"""A field of the config, and the rest of the sentence about it."""

_FOREIGN_PORTS: Mapping[MailProtocol, Mapping[int, str]] = {
    "smtp": dict.fromkeys((143, 993), "is a port of IMAP: SMTP is on 465 or 587"),
    "imap": dict.fromkeys((25, 465, 587, 2525), "is a port of SMTP: IMAP is on 993 or 143"),
}
_OTHER_ADDRESS: Mapping[MailProtocol, str] = {
    "smtp": "is another address than the inbox's, which the server may refuse as the sender",
    "imap": "is another address than the inbox's: what is fetched is the mail of that account",
}
_CONSENT_OF = {"Google": OAuth2Provider.GOOGLE} | dict.fromkeys(
    ("Microsoft 365", "Outlook.com"), OAuth2Provider.MICROSOFT
)
_PASTED = "which pasting may have left: set it without, unless it belongs there"
_PRIVATE_NAMES = ("localhost", "local", "lan", "internal", "home.arpa", "test")
# App passwords are generated, with at least 16 letters and digits.
_APP_PASSWORD = re.compile("[A-Za-z0-9]{16,}")


def warnings(config: InboxConfig, ports: Collection[int]) -> list[Problem]:
    """Returns at most one warning for each field. `ports` are those that this server connects to."""
    return [
        *_of_server("smtp", config.smtp, config.email, ports),
        *_of_server("imap", config.imap, config.email, ports),
    ]


def _of_server(protocol: MailProtocol, server: ServerConfig, email: str, ports: Collection[int]) -> Iterator[Problem]:
    provider = provider_of_server(server.server)
    found = [*_pasted(server), *_server(server), *_port(protocol, server, ports), *_secure(server)]
    found += [*_username(protocol, server, email, provider), *_login(server, provider)]
    first = dict(reversed(found))  # of each field
    for field, rest in ((field, first.pop(field)) for field, _ in found if field in first):
        path = ("input", protocol, *field)
        yield Problem(ErrorCode.UNUSUAL, sentence(path, rest), path)


def _pasted(server: ServerConfig) -> Iterator[_Warning]:
    values: dict[tuple[str, ...], str | None] = {("username",): server.username, ("password",): server.password}
    if consent := server.oauth2:
        values["oauth2", "clientId"] = consent.client_id
        values["oauth2", "clientSecret"] = consent.client_secret
        values["oauth2", "refreshToken"] = consent.refresh_token
    for field, value in values.items():
        if value and has_outer(value):
            yield field, f"begins or ends with a blank, {_PASTED}"
        elif value and has_hidden(value):
            yield field, f"holds a no-break space or another invisible character, {_PASTED}"


def _server(server: ServerConfig) -> Iterator[_Warning]:
    if server.secure and server.tls_fingerprint is None and as_address(canonical(server.server)):
        yield ("server",), "is an IP address, which few certificates name: give the host name, or tlsFingerprint"


def _port(protocol: MailProtocol, server: ServerConfig, ports: Collection[int]) -> Iterator[_Warning]:
    port = server.port
    if port not in ports:
        known = ", ".join(map(str, sorted(ports)[:20]))
        ask = f"let the operator of this server add +{port} to EMAIL_INBOX_MAIL_PORTS"
        yield ("port",), f"{port} is not one that this server connects to: choose from {known}, or {ask}"
    elif wrong := _FOREIGN_PORTS[protocol].get(port):
        yield ("port",), f"{port} {wrong}"
    elif server.secure and port == 25:
        yield (
            ("port",),
            "25 with secure: true will use STARTTLS, and many networks block it: 587 and 465 are for sending",
        )
    elif not server.secure and port in IMPLICIT_TLS_PORTS:
        yield ("port",), f"{port} is for TLS from the first byte: set secure to true"


def _secure(server: ServerConfig) -> Iterator[_Warning]:
    if server.secure or server.port in IMPLICIT_TLS_PORTS or not server.username:
        return
    if server.tls_fingerprint is not None:
        yield ("tlsFingerprint",), "protects nothing while secure is false: a login in clear is then taken, too"
    elif _is_public(server.server):
        yield ("secure",), "false sends the login in clear wherever the server offers no TLS: set it to true"


def _username(
    protocol: MailProtocol, server: ServerConfig, email: str, provider: Provider | None
) -> Iterator[_Warning]:
    if not server.username:
        yield ("username",), "is empty: mail is sent without a login, which servers take from networks they trust only"
        return
    kind = provider.username if provider else None
    is_address = "@" in server.username
    if provider and kind is UsernameKind.FULL_ADDRESS and not is_address:
        yield ("username",), f"is to be the whole e-mail address at {provider.name}"
    elif provider and kind is UsernameKind.LOCAL_PART and is_address:
        yield ("username",), f"is to be the part before the @ alone at {provider.name}"
    elif is_address and kind is not UsernameKind.OTHER and not _is_same_address(server.username, email):
        yield ("username",), _OTHER_ADDRESS[protocol]


def _login(server: ServerConfig, provider: Provider | None) -> Iterator[_Warning]:
    if provider is None or not server.username:
        return
    consent = server.oauth2.provider if server.oauth2 else None
    if consent and consent is not _CONSENT_OF.get(provider.name):
        yield ("oauth2", "provider"), f"does not go with the server, which is {provider.name}'s"
    elif server.password is not None and provider.login is MailLogin.OAUTH2:
        yield ("password",), f"is refused by {provider.name}, which wants a consent: give oauth2 in its place"
    elif (
        server.password is not None
        and provider.login is MailLogin.APP_PASSWORD
        and not _is_app_password(server.password)
    ):
        yield ("password",), f"is to be an app password: {provider.name} refuses the one of the account"


def _is_app_password(password: str) -> bool:
    return _APP_PASSWORD.fullmatch(re.sub("[ -]", "", password)) is not None


def _is_same_address(username: str, email: str) -> bool:
    try:
        return address_key(username) == address_key(email)
    except ValueError:
        return False


def _is_public(server: str) -> bool:
    if address := as_address(canonical(server)):
        return is_public(embedded(address))
    labels = server.lower().removesuffix(".").split(".")
    return len(labels) > 1 and not any(".".join(labels[-size:]) in _PRIVATE_NAMES for size in (1, 2))
