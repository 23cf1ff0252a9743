"""`token add|list|revoke`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli.context import OpenContext, acting_as, print_table, run_with_context
from cli.terminal import say
from cli.user import UsernameArgument
from models.token import AccessToken
from models.user import Permission
from resolvers import token as resolvers
from resolvers.context import Context
from resolvers.user import find_user


def token_commands(open_context: OpenContext) -> typer.Typer:
    """The commands for access tokens."""
    app = typer.Typer(help="Create, list and revoke access tokens.", no_args_is_help=True)

    @app.command()
    def add(
        user: UsernameArgument,
        name: Annotated[str, typer.Option(help="What the token is for.")] = "shell",
        days: Annotated[
            int | None, typer.Option(min=1, max=36_500, help="Days until it expires. By default, it never does.")
        ] = None,
        permission: Annotated[
            list[Permission] | None, typer.Option(help="Limit it to this permission. Can be repeated.")
        ] = None,
    ) -> None:
        """Create a token for a user and print it. It is shown only once."""
        values = {
            "name": name,
            "expiresAt": datetime.now(UTC) + timedelta(days=days) if days else None,
            "permissions": permission or None,
        }
        say(run_with_context(open_context, lambda context: _add(context, user, values)))

    @app.command("list")
    def list_(user: UsernameArgument) -> None:
        """List the active tokens of a user."""
        headers = ("id", "name", "created", "last used", "expires")
        print_table(
            headers, [_row(token) for token in run_with_context(open_context, lambda context: _tokens(context, user))]
        )

    @app.command()
    def revoke(token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
        """Revoke a token, at once."""
        run_with_context(open_context, lambda context: resolvers.revoke_any_access_token(context, token_id))

    return app


def _row(token: AccessToken) -> Sequence[str]:
    moments = (token.created_at, token.last_used_at, token.expires_at)
    return (token.id, token.name, *(moment.isoformat(" ", "minutes") if moment else "" for moment in moments))


async def _add(context: Context, user: str, values: dict[str, Any]) -> str:
    owner = await find_user(context, user)
    new = await resolvers.create_access_token(context.acting_as(acting_as(owner)), values)
    return new.token.reveal()


async def _tokens(context: Context, user: str) -> list[AccessToken]:
    owner = await find_user(context, user)
    return list(await resolvers.access_tokens(context.acting_as(acting_as(owner))))
