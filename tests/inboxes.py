"""Inputs that set inboxes, valid unless a test changes them."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

SMTP_PASSWORD = "smtp-secret-1"
IMAP_PASSWORD = "imap-secret-1"
REFRESH_TOKEN = "refresh-secret-1"
CLIENT_SECRET = "client-secret-1"
FINGERPRINT = "0123456789abcdef" * 4


def inbox_values(**changes: Any) -> dict[str, Any]:
    """Returns the input of `setEmailInbox`. `smtp__port=25` changes a field of a config; `...` leaves a field out."""
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
            place = place.setdefault(parent, {})
        if value is ...:
            place.pop(name, None)
        else:
            place[name] = value
    return values


def leaves(model: type[BaseModel], above: str = "", between: str = ".") -> Iterator[str]:
    """Yields the paths of the fields of an input, with their names in the API."""
    for info in model.model_fields.values():
        nested = [part for part in (info.annotation, *get_args(info.annotation)) if _is_model(part)]
        if nested:
            yield from leaves(nested[0], f"{above}{info.alias}{between}", between)
        else:
            yield f"{above}{info.alias}"


def lengths(model: type[BaseModel]) -> dict[str, int]:
    """Returns the maximum length of each text field, except ids and fingerprints, which have a fixed form."""
    return {
        name: kind["maxLength"]
        for name, info in model.model_json_schema()["properties"].items()
        for kind in (info, *info.get("anyOf", []))
        if "maxLength" in kind and name not in ("id", "tlsFingerprint")
    }


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def consent(**changes: Any) -> dict[str, Any]:
    """Returns the input of `oauth2`. `...` leaves a field out."""
    values = {
        "provider": "GOOGLE",
        "clientId": "client-1",
        "clientSecret": CLIENT_SECRET,
        "refreshToken": REFRESH_TOKEN,
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}


def consenting_values(**changes: Any) -> dict[str, Any]:
    """Returns the input of `setEmailInbox` with consents in place of both passwords."""
    consents = {"smtp__oauth2": consent(), "imap__oauth2": consent(refreshToken=f"{REFRESH_TOKEN}-imap")}
    return inbox_values(**{"smtp__password": ..., "imap__password": ..., **consents, **changes})
