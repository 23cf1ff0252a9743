"""What is asked of the servers: each work's request, and how a right answer is known. Knows no server and no wrk.

In a body, @ID@ stands for the id of one of the inboxes that are there, and @NEW@ for text that no other request has.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

ID_OF_FIRST = "inbox-00000000"
GRAPHQL = "/graphql"
REST = "/api/v1/email-inbox"

_FIELDS = """
    id name email active description senderInfo department version createdAt updatedAt
    smtp { server port username secure hasPassword }
    imap { server port username secure hasPassword maxRetries }
"""
_PROBLEMS = "userErrors { code message field }"
_CREATE = f"""mutation Create($input: SetEmailInboxInput!) {{
    setEmailInbox(input: $input) {{ success created emailInbox {{ {_FIELDS} }} {_PROBLEMS} }}
}}"""
_UPDATE = f"""mutation Update($input: UpdateEmailInboxInput!) {{
    updateEmailInbox(input: $input) {{ success emailInbox {{ {_FIELDS} }} {_PROBLEMS} }}
}}"""
_READ = f"query Read($id: ID!) {{ emailInbox(id: $id) {{ {_FIELDS} }} }}"
_LIST = f"query List {{ emailInboxes(first: 50) {{ nodes {{ {_FIELDS} }} pageInfo {{ hasNextPage endCursor }} }} }}"
_COUNTED = f"query Counted {{ emailInboxes(first: 50) {{ totalCount nodes {{ {_FIELDS} }} }} }}"
_AUTHORS = f"query Authors {{ emailInboxes(first: 50) {{ nodes {{ {_FIELDS} createdBy {{ username }} }} }} }}"


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request. `pattern` is Lua's, and is found exactly `times` in a right answer.

    Where `key` is ID or NEW, what `capture` finds in the answer is the value that was sent for it.
    """

    name: str
    title: str
    path: str
    body: dict[str, Any]
    pattern: str
    times: int = 1
    key: str = ""
    capture: str = ""
    is_ours_alone: bool = False
    """Whether the peers lack the fields that it asks for."""

    def text(self, **values: str) -> str:
        """The body as JSON, with these values in it."""
        text = json.dumps(self.body)
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text


def values(tag: str, **more: Any) -> dict[str, Any]:
    """The input of an inbox, told from others by the tag."""
    server = {"username": f"support-{tag}", "password": "correct horse battery staple", "secure": True}
    return {
        **more,
        "name": f"Support {tag}",
        "email": f"support-{tag}@example.org",
        "active": True,
        "description": "Questions about orders, invoices and deliveries.",
        "senderInfo": "Support of Example",
        "smtp": {"server": "smtp.example.org", "port": 465, **server},
        "imap": {"server": "imap.example.org", "port": 993, **server},
    }


def _graphql(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    return {"query": " ".join(query.split()), "variables": variables}


_SUCCESS = '"success": ?true'
_CHANGE = {"id": "@ID@", "description": "Changed: @NEW@"}

FIRST = Work("first", "", GRAPHQL, _graphql(_CREATE, {"input": values("00000000", id=ID_OF_FIRST)}), _SUCCESS)
"""Makes the inbox that all the others are copied from."""

_ALL = (
    Work(
        "create",
        "Create (`setEmailInbox`)",
        GRAPHQL,
        _graphql(_CREATE, {"input": values("@NEW@")}),
        _SUCCESS,
        key="NEW",
        capture='"email": ?"support%-([^"@]+)@',
    ),
    Work(
        "update",
        "Update (`updateEmailInbox`)",
        GRAPHQL,
        _graphql(_UPDATE, {"input": _CHANGE}),
        _SUCCESS,
        key="NEW",
        capture='"description": ?"Changed: ([^"]+)"',
    ),
    Work(
        "read",
        "Read one (`emailInbox`)",
        GRAPHQL,
        _graphql(_READ, {"id": "@ID@"}),
        '"id": ?"inbox%-%d+"',
        key="ID",
        capture='"id": ?"([^"]+)"',
    ),
    Work("list", "List of 50 (`emailInboxes`)", GRAPHQL, _graphql(_LIST, {}), '"id": ?"[%w_-]+"', times=50),
    Work("rest", "Create over REST (`POST /api/v1/email-inbox`)", REST, values("@NEW@"), _SUCCESS),
)
_OURS = (
    Work("counted", "List of 50 with `totalCount`", GRAPHQL, _graphql(_COUNTED, {}), '"id": ?"[%w_-]+"', times=50),
    Work("authors", "List of 50 with `createdBy`", GRAPHQL, _graphql(_AUTHORS, {}), '"createdBy": ?{', times=50),
)
WORKS = {work.name: work for work in (*_ALL, *(replace(work, is_ours_alone=True) for work in _OURS))}
USUAL = [work.name for work in _ALL]
