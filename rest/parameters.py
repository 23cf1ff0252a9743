"""Converts bodies and query strings of the REST API to the input of the resolvers. Raises Refused, field by field."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edge.body import parse_json
from models.errors import ErrorCode, Refused
from models.inbox import InboxOrder
from models.paging import DEFAULT_SIZE, MAX_SIZE, Order
from models.validation import sentence
from rest.problems import BadSort

READ_ONLY = ("_createdAt", "_updatedAt", "_createdBy", "success")
READ_ONLY_OF_SERVER = ("hasPassword",)
READ_ONLY_OF_OAUTH2 = ("hasClientSecret",)
SORTABLE = {
    "name": InboxOrder.NAME,
    "email": InboxOrder.EMAIL,
    "active": InboxOrder.ACTIVE,
    "_createdAt": InboxOrder.CREATED_AT,
    "_updatedAt": InboxOrder.UPDATED_AT,
}
MAX_OFFSET = 2**31


def as_input(body: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a body to the input of `setEmailInbox`. Drops read-only fields, so that clients can send back a GET."""
    values = _without(READ_ONLY, body)
    for protocol in ("smtp", "imap"):
        if isinstance(server := values.get(protocol), Mapping):
            values[protocol] = server = _without(READ_ONLY_OF_SERVER, server)
            if isinstance(consent := server.get("oauth2"), Mapping):
                server["oauth2"] = _without(READ_ONLY_OF_OAUTH2, consent)
    if "id" in values:
        values["id (write _id)"] = values.pop("id")
    if "_id" in values:
        values["id"] = values.pop("_id")
    return values


def _without(names: Collection[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def count_of(query: Mapping[str, str]) -> int:
    return _number(query, "count", MAX_SIZE) or DEFAULT_SIZE


def offset_of(query: Mapping[str, str]) -> int:
    return _number(query, "offset", MAX_OFFSET)


def email_of(query: Mapping[str, str]) -> str:
    email = query.get("email")
    if not email:
        raise Refused.because(ErrorCode.REQUIRED, sentence(("email",), "is required"), "email")
    return email


def orders_of(query: Mapping[str, str]) -> Sequence[tuple[InboxOrder, Order]]:
    """Parses `sort`, a JSON object of 1 and -1. Raises BadSort."""
    text = query.get("sort")
    if not text:
        return [(InboxOrder.NAME, Order.ASC)]
    try:
        sort = parse_json(text)
    except ValueError:
        raise BadSort(text) from None
    if not isinstance(sort, dict) or not all(_is_order(name, way) for name, way in sort.items()):
        raise BadSort(text)
    orders = [(SORTABLE[name], Order.ASC if way == 1 else Order.DESC) for name, way in sort.items()]
    return orders or [(InboxOrder.NAME, Order.ASC)]


def _is_order(name: str, way: object) -> bool:
    return name in SORTABLE and way in (1, -1) and not isinstance(way, bool)


def _number(query: Mapping[str, str], name: str, maximum: int) -> int:
    text = query.get(name) or "0"
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= maximum:
        return int(text)
    raise Refused.because(ErrorCode.INVALID, sentence((name,), f"must be a whole number from 0 to {maximum}"), name)
