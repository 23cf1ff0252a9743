"""Assembles the command line: options, serving and all commands. Reads no environment."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import backup, inbox, keys, rocketchat, token, user
from cli.context import OpenContext
from cli.files import absolute

PROGRAM_NAME = "email-inbox"
_ANYWHERE = ("--env-file", "--folder")
"""The options that work before and after the command."""

HostOption = Annotated[
    str | None, typer.Option(help="Address to listen on, instead of EMAIL_INBOX_HOST.", show_default=False)
]
PortOption = Annotated[
    int | None,
    typer.Option(min=1, max=65_535, help="Port to listen on, instead of EMAIL_INBOX_PORT.", show_default=False),
]
EnvFilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        callback=absolute,
        metavar="FILE",
        help="Read settings from a file with a NAME=value a line. Can be repeated: later files win over earlier ones, "
        "and the environment wins over all. Works before and after the command.",
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        callback=absolute,
        metavar="FOLDER",
        help="Where to look for .env, and for relative paths in settings. The launcher names its own folder. "
        "Works before and after the command.",
    ),
]


@dataclass
class Options:
    """The settings given on the command line."""

    folder: Path | None = None
    env_files: list[Path] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerActions:
    """The functions of the server that the commands call, after the options are parsed."""

    settings: Callable[[], Any]
    open_context: OpenContext
    database: Callable[[], str]
    """Returns the URL of the database. Raises StartError if there is none."""
    serve: Callable[[], None]
    schema: Callable[[], str]
    version: str


def program(options: Options, server: ServerActions) -> typer.Typer:
    """Builds the application, which fills in `options` before it runs a command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    _attach_serving(app, options, server)
    app.add_typer(user.user_commands(server.open_context), name="user")
    app.add_typer(token.token_commands(server.open_context), name="token")
    app.add_typer(inbox.inbox_commands(server.open_context), name="inbox")
    app.add_typer(keys.key_commands(server.open_context, server.settings), name="keys")
    backup.add_backup(app, server.database)
    rocketchat.add_import(app, server.open_context)

    @app.command()
    def schema() -> None:
        """Print the GraphQL schema (SDL)."""
        typer.echo(server.schema())

    return app


def _attach_serving(app: typer.Typer, options: Options, server: ServerActions) -> None:
    def print_version(asked: bool) -> None:
        if asked:
            typer.echo(f"{PROGRAM_NAME} {server.version}")
            raise typer.Exit

    @app.callback(invoke_without_command=True)
    def main(
        context: typer.Context,
        host: HostOption = None,
        port: PortOption = None,
        env_file: EnvFilesOption = None,
        folder: FolderOption = None,
        version: Annotated[  # noqa: ARG001 - the callback answers
            bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """The email inbox server. Without a command, it serves: `email-inbox` is short for `email-inbox serve`."""
        options.folder, options.env_files = folder, env_file or []
        _listen(options, host, port)
        if context.invoked_subcommand is None:
            server.serve()
        elif options.environment and context.invoked_subcommand != "serve":
            raise typer.BadParameter("--host and --port are for serving.")

    @app.command()
    def serve(host: HostOption = None, port: PortOption = None) -> None:
        """Serve until SIGTERM or Ctrl+C. The first start makes the database, a key and an administrator."""
        _listen(options, host, port)
        server.serve()


def _listen(options: Options, host: str | None, port: int | None) -> None:
    if host is not None:
        options.environment["EMAIL_INBOX_HOST"] = host
    if port is not None:
        options.environment["EMAIL_INBOX_PORT"] = str(port)


def in_front(arguments: Iterable[str]) -> list[str]:
    """Moves the options in `_ANYWHERE` before the command, where typer expects them."""
    front: list[str] = []
    others: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        if argument == "--":
            others += [argument, *left]
        elif name in _ANYWHERE:
            front += [argument] if equals else [argument, *islice(left, 1)]
        else:
            others.append(argument)
    return front + others
