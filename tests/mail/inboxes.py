"""An inbox at the real servers, and settings with which the server may connect to them."""

from typing import Any

from settings import Settings
from tests.inboxes import inbox_values
from tests.mail.accounts import PASSWORD, USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.postfix import Postfix


def working_inbox(dovecot: Dovecot, postfix: Postfix, **changes: Any) -> dict[str, Any]:
    """Returns the input of `setEmailInbox` for a working inbox; `changes` as in `inbox_values`."""
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
    """Returns settings that allow connections to loopback at these ports, and trust the authority of the tests."""
    changes = {"mail_hosts_allow": ["127.0.0.0/8"], "mail_ports": frozenset(ports), "ca_file": certificates.ca_file}
    return settings.model_copy(update=changes)
