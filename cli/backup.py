"""`backup FILE`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.files import absolute
from cli.terminal import say
from resolvers.backup import back_up_database


def add_backup(app: typer.Typer, database: Callable[[], str]) -> None:
    """Adds the command. `database` returns the URL of an existing database."""

    @app.command()
    def backup(
        file: Annotated[Path, typer.Argument(help="File to write. It must not exist.", callback=absolute)],
    ) -> None:
        """Copy the database to a file, while the server runs. Back up the secret keys separately."""
        back_up_database(database(), file)
        say(f"{file}: {file.stat().st_size:,} bytes")
