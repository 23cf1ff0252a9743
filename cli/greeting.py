"""The message that the server prints on start: its address, and the credentials of a new administrator."""

from resolvers.setup import Administrator


def greet(host: str, port: int, administrator: Administrator | None, *, graphiql: bool, token_was_given: bool) -> None:
    """Prints the message. Omits a token that comes from the environment."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    lines = [f"Serving on {address}"]
    if graphiql:
        lines.append(f"GraphiQL:  {address}/graphql")
    if administrator:
        lines += _introduce(administrator, address, token_was_given=token_was_given)
    print(*lines, sep="\n", flush=True)  # noqa: T201 - avoids loading the libraries of the commands


def _introduce(administrator: Administrator, address: str, *, token_was_given: bool) -> list[str]:
    """The administrator's credentials, and an example request."""
    token = "$EMAIL_INBOX_ADMIN_TOKEN" if token_was_given else administrator.token.reveal()
    body = """{"query": "{ viewer { username permissions } }"}"""
    user_id = administrator.user.id
    headers = f"-H 'X-User-Id: {user_id}' -H \"X-Auth-Token: {token}\" -H 'Content-Type: application/json'"
    return [
        "",
        "The first administrator was made" + (":" if token_was_given else ". The token is shown this once:"),
        f"X-User-Id:    {user_id}",
        f"X-Auth-Token: {token}",
        "",
        "Try it:",
        f"curl '{address}/graphql' {headers} -d '{body}'",
    ]
