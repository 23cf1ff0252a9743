"""One interface to both APIs, so that every case runs over both with the same result."""

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

JSON_TYPE = {"Content-Type": "application/json"}
SERVER_FIELDS = """
    server port username secure hasPassword tlsFingerprint
    oauth2 { provider tokenUrl clientId scope hasClientSecret }
"""
INBOX_FIELDS = f"""
    id name email active description senderInfo department version createdAt updatedAt
    createdBy {{ id username }}
    smtp {{ {SERVER_FIELDS} }}
    imap {{ {SERVER_FIELDS} maxRetries }}
"""
SET = f"""
    mutation Set($input: SetEmailInboxInput!) {{
        setEmailInbox(input: $input) {{
            success created emailInbox {{ {INBOX_FIELDS} }}
            userErrors {{ code message field }} warnings {{ code message field }}
        }}
    }}
"""
DELETE = "mutation ($id: ID!) { deleteEmailInbox(id: $id) { success deletedId userErrors { code message field } } }"
SHOW = f"query ($id: ID, $email: String) {{ emailInbox(id: $id, email: $email) {{ {INBOX_FIELDS} }} }}"


@dataclass(frozen=True)
class Outcome:
    """The result of a call: the id, every problem as `(field, code)`, or the code of the error."""

    inbox_id: str | None = None
    problems: set[tuple[str, str]] = field(default_factory=set)
    refused: str | None = None
    text: str = ""


class Api(Protocol):
    """The operations of both APIs."""

    client: httpx.AsyncClient

    async def set_inbox(self, values: dict[str, Any]) -> Outcome: ...
    async def delete_inbox(self, inbox_id: str) -> Outcome: ...
    async def inbox(self, inbox_id: str) -> dict[str, Any] | None: ...
    async def inbox_by_email(self, email: str) -> dict[str, Any] | None: ...


async def post_json(client: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
    """Posts any value that JSON can encode, including lone surrogates."""
    return await client.post(path, content=json.dumps(body), headers=JSON_TYPE)


class GraphQLApi:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def run(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = await post_json(self.client, "/graphql", {"query": query, "variables": variables})
        found: dict[str, Any] = answer.json()
        return found

    async def set_inbox(self, values: dict[str, Any]) -> Outcome:
        body = await self.run(SET, {"input": values})
        return _graphql_outcome(body, "setEmailInbox", lambda payload: payload["emailInbox"]["id"])

    async def delete_inbox(self, inbox_id: str) -> Outcome:
        return _graphql_outcome(
            await self.run(DELETE, {"id": inbox_id}), "deleteEmailInbox", lambda payload: payload["deletedId"]
        )

    async def inbox(self, inbox_id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await self.run(SHOW, {"id": inbox_id}))["data"]["emailInbox"]
        return found

    async def inbox_by_email(self, email: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await self.run(SHOW, {"email": email}))["data"]["emailInbox"]
        return found


class RestApi:
    """The same over REST. Returns documents with GraphQL's names for fields of the same meaning."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def set_inbox(self, values: dict[str, Any]) -> Outcome:
        body = {("_id" if name == "id" else name): value for name, value in values.items()}
        return _rest_outcome(await post_json(self.client, "/api/v1/email-inbox", body))

    async def delete_inbox(self, inbox_id: str) -> Outcome:
        return _rest_outcome(await self.client.delete(f"/api/v1/email-inbox/{inbox_id}"))

    async def inbox(self, inbox_id: str) -> dict[str, Any] | None:
        answer = await self.client.get(f"/api/v1/email-inbox/{inbox_id}")
        return _as_graphql(answer.json()) if answer.status_code == 200 else None

    async def inbox_by_email(self, email: str) -> dict[str, Any] | None:
        answer = await self.client.get("/api/v1/email-inbox.search", params={"email": email})
        document = answer.json()["emailInbox"]
        return _as_graphql(document) if document else None


def _graphql_outcome(body: dict[str, Any], name: str, id_of: Any) -> Outcome:
    if body.get("errors"):
        return Outcome(refused=body["errors"][0]["extensions"]["code"], text=body["errors"][0]["message"])
    payload = body["data"][name]
    if payload["success"]:
        return Outcome(inbox_id=id_of(payload))
    problems = {(".".join(error["field"] or []), error["code"]) for error in payload["userErrors"]}
    return Outcome(problems=problems, text=str(payload["userErrors"]))


_REFUSALS = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 429: "RATE_LIMITED", 503: "SERVICE_UNAVAILABLE"}


def _rest_outcome(answer: httpx.Response) -> Outcome:
    body = answer.json()
    if body["success"]:
        return Outcome(inbox_id=body["_id"])
    if answer.status_code in _REFUSALS:
        return Outcome(refused=_REFUSALS[answer.status_code], text=body["error"])
    if answer.status_code == 404:
        return Outcome(problems={("id", "NOT_FOUND")})
    if body["errorType"] == "error-duplicate-email":
        return Outcome(problems={("input.email", "TAKEN")}, text=body["error"])
    problems = {(_path(problem["field"]), problem["code"]) for problem in body["details"]}
    return Outcome(problems=problems, text=str(body))


def _path(name: str) -> str:
    return "input." + ("id" if name == "_id" else name)


def _as_graphql(document: dict[str, Any]) -> dict[str, Any]:
    document.pop("success", None)
    creator = document.pop("_createdBy")
    servers = {name: {"tlsFingerprint": None, "oauth2": None, **document[name]} for name in ("smtp", "imap")}
    return {
        **{name: value for name, value in document.items() if not name.startswith("_")},
        **servers,
        "id": document["_id"],
        "createdAt": document["_createdAt"],
        "updatedAt": document["_updatedAt"],
        "createdBy": {"id": creator["_id"], "username": creator["username"]} if creator else None,
    }
