"""`user add|list|disable|set-password`."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.context import OpenContext, all_pages, print_table, run_with_context
from cli.terminal import say
from models.paging import Page, Window
from models.user import Permission, User
from resolvers import user as resolvers
from resolvers.context import Context

UsernameArgument = Annotated[str, typer.Argument(help="Username, email address or id.")]


def user_commands(open_context: OpenContext) -> typer.Typer:
    """The commands for users."""
    app = typer.Typer(help="Create, list and disable users.", no_args_is_help=True)

    @app.command()
    def add(
        username: Annotated[str, typer.Argument(help="Login name.")],
        name: Annotated[str | None, typer.Option(help="Full name.")] = None,
        email: Annotated[str | None, typer.Option(help="Email address.")] = None,
        permission: Annotated[list[Permission] | None, typer.Option(help="Can be repeated.")] = None,
        department: Annotated[list[str] | None, typer.Option(help="Can be repeated.")] = None,
        password: Annotated[
            bool, typer.Option("--password", help="Prompt for a password, or read it from a pipe.")
        ] = False,
    ) -> None:
        """Create a user and print its id."""
        values = {
            "username": username,
            "name": name,
            "email": email,
            "permissions": permission or [],
            "departments": department or [],
            "password": ask_password() if password else None,
        }
        say(run_with_context(open_context, lambda context: resolvers.create_user(context, values), makes=True).id)

    @app.command("list")
    def list_() -> None:
        """List all users."""
        headers = ("id", "username", "name", "email", "permissions", "departments", "active")
        print_table(headers, [_row(user) for user in run_with_context(open_context, _all)])

    @app.command()
    def disable(user: UsernameArgument) -> None:
        """Disable a user. Tokens stop working, and open subscriptions end within seconds."""
        run_with_context(open_context, lambda context: _update(context, user, {"active": False}))

    @app.command("set-password")
    def set_password(user: UsernameArgument) -> None:
        """Prompt for a new password, or read it from a pipe, and revoke the user's tokens."""
        password = ask_password()
        run_with_context(open_context, lambda context: _update(context, user, {"password": password}))

    return app


def _row(user: User) -> Sequence[str]:
    permissions, departments = ", ".join(user.permissions), ", ".join(user.departments)
    active = "yes" if user.active else "no"
    return (user.id, user.username, user.name or "", user.email or "", permissions, departments, active)


def ask_password() -> str:
    """Prompts twice for a password, or reads a line from a pipe. It is never an argument, which other users can see."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


async def _update(context: Context, name: str, changes: dict[str, Any]) -> User:
    user = await resolvers.find_user(context, name)
    return await resolvers.update_user(context, {"id": user.id, **changes})


async def _all(context: Context) -> list[User]:
    async def page_at(window: Window) -> Page[User]:
        return (await resolvers.users(context, window)).page

    return await all_pages(page_at)
