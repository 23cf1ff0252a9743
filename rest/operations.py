"""The parts of the OpenAPI document that can't be derived from code: parameters, examples and refusals by endpoint."""

from dataclasses import dataclass, field
from typing import Any

from models.config import InboxConfig
from models.paging import DEFAULT_SIZE, MAX_SIZE
from rest.components import JsonObject
from rest.parameters import MAX_OFFSET, SORTABLE
from rest.problems import DuplicateEmail, InvalidParams, InvalidSort, MailRefused, NotSendable

EXAMPLE: JsonObject = {
    "_id": "JdVkn_dkOlms_",
    "name": "my_new_email",
    "email": "myinboxemail@rocket.chat",
    "active": False,
    "smtp": {
        "password": "10fae4dc374fb87d",
        "port": 25,
        "secure": True,
        "server": "smtp.mailtrap.io",
        "username": "b5ef5safd6cb806c",
    },
    "imap": {
        "password": "10fae4374sdfb87d",
        "port": 993,
        "secure": True,
        "server": "imap.mailtrap.io",
        "username": "b5ef5aafd6cb806c",
    },
}


@dataclass(frozen=True, slots=True)
class DocumentedOperation:
    """An endpoint's input, and its 400 and 404 responses. `sent` names the schema of its body."""

    id: str
    tag: str
    sent: str | None = None
    example: JsonObject | None = None
    parameters: list[JsonObject] = field(default_factory=list)
    refusals: tuple[type, ...] = ()
    may_miss: bool = False
    leads_to: tuple[str, ...] = ()


def _query(name: str, description: str, schema: JsonObject, **more: Any) -> JsonObject:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


COUNT = _query(
    "count",
    f"Maximum number of inboxes. 0: {DEFAULT_SIZE}.",
    {"type": "integer", "minimum": 0, "maximum": MAX_SIZE, "default": DEFAULT_SIZE},
)
OFFSET = _query(
    "offset", "Number of inboxes to skip.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
)
SORT: JsonObject = {
    "name": "sort",
    "in": "query",
    "description": "The order, as a JSON object: 1 is ascending, -1 descending.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {name: {"enum": [1, -1]} for name in SORTABLE},
                "additionalProperties": False,
                "default": {"name": 1},
            },
            "example": {"_createdAt": -1},
        }
    },
}
EMAIL = _query("email", "The address.", {"type": "string", "minLength": 1}, required=True, example=EXAMPLE["email"])
ID: JsonObject = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The `_id` of an inbox.",
    "schema": {"type": "string", "minLength": 1},
    "example": EXAMPLE["_id"],
}

OPERATIONS = {
    "save": DocumentedOperation(
        "saveEmailInbox",
        "inboxes",
        sent=InboxConfig.__name__,
        example=EXAMPLE,
        refusals=(InvalidParams, DuplicateEmail),
        leads_to=("show", "remove", "send_test"),
    ),
    "listing": DocumentedOperation(
        "listEmailInboxes", "inboxes", parameters=[COUNT, OFFSET, SORT], refusals=(InvalidParams, InvalidSort)
    ),
    "search": DocumentedOperation("findEmailInbox", "inboxes", parameters=[EMAIL], refusals=(InvalidParams,)),
    "show": DocumentedOperation("showEmailInbox", "inboxes", parameters=[ID], may_miss=True),
    "remove": DocumentedOperation("deleteEmailInbox", "inboxes", parameters=[ID], may_miss=True),
    "send_test": DocumentedOperation("sendTestEmail", "inboxes", parameters=[ID], refusals=(NotSendable, MailRefused)),
    "login": DocumentedOperation(
        "login",
        "session",
        sent="Credentials",
        example={"user": "anna", "password": "correct horse"},
        refusals=(InvalidParams,),
    ),
    "logout": DocumentedOperation("logout", "session"),
    "me": DocumentedOperation("me", "session"),
    "openapi": DocumentedOperation("openapi", "description"),
}
