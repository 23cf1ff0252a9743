"""`import-rocketchat FILE`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.world import World, run
from resolvers.rocketchat import import_documents, read_documents


def attach(app: typer.Typer, world: World) -> None:
    """Adds the command."""

    @app.command("import-rocketchat")
    def import_rocketchat(
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="From mongoexport, JSON lines or array.")
        ],
    ) -> None:
        """Take over the inboxes and users of a Rocket.Chat server, with their ids and login tokens: all, or none.

        FILE is what `mongoexport` writes of the collections `rocketchat_email_inbox` and `users`. Passwords of users
        are hashed in another way there and can't be taken over: set new ones, or go on with the tokens.
        """
        imported = run(world, lambda context: import_documents(context, read_documents(file.read_bytes())))
        typer.echo(f"{imported.inboxes} inboxes and {imported.users} users, {imported.tokens} tokens.")
