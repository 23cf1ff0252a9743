"""The failures of the host policy. `mail/hosts.py` decides when to raise them."""

from collections.abc import Collection

from models.errors import ErrorCode, MailFailure


def host_not_allowed(name: str) -> MailFailure:
    return MailFailure(
        ErrorCode.HOST_NOT_ALLOWED,
        f"{name} is not a public address.",
        "server",
        hint="This server connects to public addresses only. "
        "Let its operator add the host or its network to EMAIL_INBOX_MAIL_HOSTS_ALLOW.",
    )


def neither_allowed(name: str, port: int) -> MailFailure:
    return MailFailure(
        ErrorCode.HOST_NOT_ALLOWED,
        f"{name} is not a public address, and port {port} is not a mail port that this server connects to.",
        "server",
        hint=f"Let the operator of this server add {name} to EMAIL_INBOX_MAIL_HOSTS_ALLOW, and +{port} to "
        "EMAIL_INBOX_MAIL_PORTS.",
    )


def port_not_allowed(port: int, ports: Collection[int]) -> MailFailure:
    known = ", ".join(map(str, sorted(ports)[:20]))
    return MailFailure(
        ErrorCode.HOST_NOT_ALLOWED,
        f"Port {port} is not a mail port that this server connects to.",
        "port",
        hint=f"Use one of {known}, or let the operator of this server add +{port} to EMAIL_INBOX_MAIL_PORTS.",
    )
