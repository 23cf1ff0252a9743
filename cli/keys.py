"""`keys rotate`."""

from collections.abc import Callable
from typing import Protocol

import typer

from cli.context import OpenContext, run_with_context
from cli.terminal import counted, say
from models.keyfile import KeyFile
from resolvers.keys import rotate_keys


class HasKeyFile(Protocol):
    """The part of the settings that this command needs."""

    @property
    def key_file(self) -> KeyFile | None: ...


def key_commands(open_context: OpenContext, settings: Callable[[], HasKeyFile]) -> typer.Typer:
    """The commands for the keys that encrypt the secrets of inboxes."""
    app = typer.Typer(help="The keys that mail passwords and tokens are encrypted with.", no_args_is_help=True)

    @app.callback()
    def group() -> None:
        """The keys that mail passwords and tokens are encrypted with."""

    @app.command()
    def rotate() -> None:
        """Re-encrypt every mail password and token with a new key, while the server runs.

        With a key file, this makes the new key. With EMAIL_INBOX_SECRET_KEYS, put the new key first, restart the
        server, then rotate. If the command is interrupted, run it again: it continues.
        """
        key_file = settings().key_file
        changed = run_with_context(open_context, lambda context: rotate_keys(context, key_file))
        say(f"{counted(changed, 'inbox', 'inboxes')} re-encrypted.")

    return app
