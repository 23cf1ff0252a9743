"""What a server that starts prints: where it serves, and who its first administrator is. Knows no setting."""

from resolvers.setup import Administrator


def greet(host: str, port: int, administrator: Administrator | None, *, graphiql: bool, token_was_given: bool) -> None:
    """A token that was given in the environment is not repeated."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    lines = [f"Serving on {address}"]
    if graphiql:
        lines.append(f"GraphiQL:  {address}/graphql")
    if administrator:
        lines += _introduce(administrator, address, token_was_given=token_was_given)
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the libraries of the commands are not loaded for it


def _introduce(administrator: Administrator, address: str, *, token_was_given: bool) -> list[str]:
    """Who the administrator is, and a first call."""
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
