"""`import-rocketchat FILE`."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from cli.context import OpenContext, run_with_context
from cli.files import absolute
from cli.terminal import complain, counted, say
from resolvers.mongoexport import read_documents
from resolvers.rocketchat import ImportResult, SkippedDocument, import_documents


def add_import(app: typer.Typer, open_context: OpenContext) -> None:
    """Adds the command."""

    @app.command("import-rocketchat")
    def import_rocketchat(
        file: Annotated[
            Path,
            typer.Argument(exists=True, dir_okay=False, help="What mongoexport wrote, as JSON.", callback=absolute),
        ],
    ) -> None:
        """Import the inboxes and users of a Rocket.Chat server, with their ids and login tokens.

        FILE is what `mongoexport` writes of the collections `rocketchat_email_inbox` and `users`, in any of its forms.
        A document that can't be imported is left out, with the reason on stderr, and the exit status is 1. The import
        can be repeated: what has the same id is replaced. Passwords of users can't be imported.
        """
        imported = ImportResult()
        try:
            _import(file, open_context, imported)
        except BaseException:
            if imported != ImportResult():
                _say(imported)
                complain("The import was interrupted. What is imported stays: run it again to continue.")
            raise
        _say(imported)
        if imported.refused:
            raise typer.Exit(1)


def _import(file: Path, open_context: OpenContext, imported: ImportResult) -> None:
    with file.open("rb") as source:
        documents = read_documents(source)
        first = next(documents, None)
        if first is None:  # checked before the database is created
            complain(f"{file} holds no documents. It must be what mongoexport writes.")
            raise typer.Exit(1)
        every = chain([first], documents)
        run_with_context(open_context, lambda context: import_documents(context, every, imported, _report), makes=True)


def _report(left_out: SkippedDocument) -> None:
    for reason in left_out.reasons:
        complain(f"line {left_out.line}, {left_out.id}: {reason}")


def _say(imported: ImportResult) -> None:
    parts = [
        counted(imported.inboxes, "inbox", "inboxes"),
        counted(imported.users, "user", "users"),
        counted(imported.tokens, "token", "tokens"),
    ]
    say(f"Imported: {', '.join(parts)}.")
    if left_out := imported.refused + imported.others:
        say(f"Left out: {counted(left_out, 'document', 'documents')} ({imported.refused:,} with errors).")
