"""Administration from the shell: each command calls a resolver and prints what it gives. Reads no environment."""

from collections.abc import Callable
from typing import Any

import typer

from cli import backup, inbox, keys, rocketchat, token, user
from cli.world import World


def attach(app: typer.Typer, world: World, settings: Callable[[], Any]) -> None:
    """Adds the commands to the application."""
    app.add_typer(user.commands(world), name="user")
    app.add_typer(token.commands(world), name="token")
    app.add_typer(inbox.commands(world), name="inbox")
    app.add_typer(keys.commands(world, settings), name="keys")
    backup.attach(app, settings)
    rocketchat.attach(app, world)
