"""`backup FILE`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol

import typer

from models.backup import back_up


class HasUrl(Protocol):
    """The settings, as far as this command needs them."""

    @property
    def url(self) -> str: ...


def attach(app: typer.Typer, settings: Callable[[], HasUrl]) -> None:
    """Adds the command."""

    @app.command()
    def backup(file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")]) -> None:
        """Copy the database, consistently, while the server works. Keep the secret keys somewhere else."""
        back_up(settings().url, file)
        typer.echo(f"{file}: {file.stat().st_size:,} bytes")
