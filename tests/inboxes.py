"""Inputs to set inboxes from, valid until a test says otherwise."""

from typing import Any

SMTP_PASSWORD = "smtp-secret-1"
IMAP_PASSWORD = "imap-secret-1"


def inbox_values(**changes: Any) -> dict[str, Any]:
    """The input of `setEmailInbox`. `smtp__port=25` changes a field of a config; `...` leaves a field out."""
    values: dict[str, Any] = {
        "name": "Support",
        "email": "support@example.org",
        "active": True,
        "smtp": {
            "server": "smtp.example.org",
            "port": 465,
            "username": "support",
            "password": SMTP_PASSWORD,
            "secure": True,
        },
        "imap": {
            "server": "imap.example.org",
            "port": 993,
            "username": "support",
            "password": IMAP_PASSWORD,
            "secure": True,
        },
    }
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = values
        for parent in parents:
            place = place[parent]
        if value is ...:
            place.pop(name, None)
        else:
            place[name] = value
    return values
