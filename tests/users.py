"""Creates users and clients with their credentials."""

from typing import Any

import httpx

from models.secrets import Secret
from models.user import Permission
from resolvers.session import login
from tests.running import Running

CREATE_USER = """
    mutation ($input: CreateUserInput!) {
        createUser(input: $input) {
            success userErrors { code message field }
            user { id username name email permissions departments active }
        }
    }
"""
CREATE_TOKEN = """
    mutation ($input: CreateAccessTokenInput!) {
        createAccessToken(input: $input) {
            success token userErrors { code message field } accessToken { id name permissions expiresAt }
        }
    }
"""
REVOKE = "mutation ($id: ID!) { revokeAccessToken(id: $id) { success revokedId userErrors { code field } } }"
PASSWORD = "correct horse 1"


async def make_user(server: Running, username: str, *permissions: Permission, **more: Any) -> str:
    """Creates a user and returns the id."""
    values = {"username": username, "permissions": [permission.name for permission in permissions], **more}
    payload = (await server.graphql(CREATE_USER, input=values))["data"]["createUser"]
    assert payload["success"], payload
    user_id: str = payload["user"]["id"]
    return user_id


async def caller(server: Running, username: str, *permissions: Permission, **more: Any) -> httpx.AsyncClient:
    """Returns a client with the token of a new user."""
    await make_user(server, username, *permissions, password=PASSWORD, **more)
    found = await login(server.context, username, PASSWORD)
    return server.as_caller(**{"X-User-Id": found.user.id, "X-Auth-Token": Secret.reveal(found.token)})


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    """Returns the whole body of the response."""
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    body: dict[str, Any] = answer.json()
    return body


def codes(body: dict[str, Any]) -> list[str]:
    """Returns the codes of the top-level errors."""
    return [error["extensions"]["code"] for error in body.get("errors", [])]
