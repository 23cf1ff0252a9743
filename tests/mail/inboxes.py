"""An inbox at the real servers, and a server of ours that may connect to them. Knows no test."""

from typing import Any

from settings import Settings
from tests.inboxes import inbox_values
from tests.mail.accounts import PASSWORD, USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.postfix import Postfix


def working_inbox(dovecot: Dovecot, postfix: Postfix, **changes: Any) -> dict[str, Any]:
    """The input of `setEmailInbox` for an inbox that works; `changes` as in `inbox_values`."""
    account = {"server": At.GOOD.value, "username": USER, "password": PASSWORD, "secure": True}
    values = {
        "id": "works",
        "email": USER,
        "senderInfo": "Example Support",
        "smtp": {**account, "port": postfix.submission},
        "imap": {**account, "port": dovecot.imaps},
    }
    return inbox_values(**{**values, **changes})


def may_connect(settings: Settings, certificates: Certificates, *ports: int) -> Settings:
    """The settings of a server that may connect to loopback at these ports, and trusts the authority of the tests."""
    changes = {"mail_hosts_allow": ["127.0.0.0/8"], "mail_ports": frozenset(ports), "ca_file": certificates.ca_file}
    return settings.model_copy(update=changes)
