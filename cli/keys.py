"""`keys rotate`."""

from collections.abc import Callable
from typing import Protocol

import typer

from cli.world import World, run
from models.keyfile import KeyFile
from resolvers.keys import rotate_keys


class HasKeyFile(Protocol):
    """The settings, as far as this command needs them."""

    @property
    def key_file(self) -> KeyFile | None: ...


def commands(world: World, settings: Callable[[], HasKeyFile]) -> typer.Typer:
    """The commands about the keys that the secrets of inboxes are encrypted with."""
    app = typer.Typer(help="The keys that mail passwords and tokens are encrypted with.", no_args_is_help=True)

    @app.callback()
    def group() -> None:
        """The keys that mail passwords and tokens are encrypted with."""

    @app.command()
    def rotate() -> None:
        """Encrypt every mail password and token with a new key, while the server works.

        With a key file, a new key is made. With EMAIL_INBOX_SECRET_KEYS, put the new key in front, restart, then
        rotate. It may be interrupted: the next call goes on.
        """
        key_file = settings().key_file
        changed = run(world, lambda context: rotate_keys(context.database, context.keyring, key_file))
        typer.echo(f"{changed} inboxes were encrypted anew.")

    return app
