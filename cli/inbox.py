"""`inbox list|check`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.check import print_check
from cli.context import OpenContext, all_pages, print_table, run_with_context
from models.paging import Page, Window
from models.stored import StoredInbox
from resolvers import inbox as resolvers
from resolvers.check import check_email_inbox
from resolvers.context import Context


def inbox_commands(open_context: OpenContext) -> typer.Typer:
    """The commands for inboxes."""
    app = typer.Typer(help="List and check inboxes.", no_args_is_help=True)

    @app.callback()
    def group() -> None:
        """List and check inboxes."""

    @app.command("list")
    def list_() -> None:
        """List all inboxes."""
        headers = ("id", "name", "email", "active", "department", "smtp", "imap", "version")
        print_table(headers, [_row(inbox) for inbox in run_with_context(open_context, _all)])

    @app.command()
    def check(inbox_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
        """Check the mail servers of an inbox, step by step. Sends no mail."""
        checked = run_with_context(open_context, lambda context: check_email_inbox(context, {"id": inbox_id}))
        print_check(checked)
        if checked.problems:
            raise typer.Exit(1)

    return app


def _row(inbox: StoredInbox) -> Sequence[str]:
    servers = (f"{inbox.smtp_server}:{inbox.smtp_port}", f"{inbox.imap_server}:{inbox.imap_port}")
    active = "yes" if inbox.active else "no"
    return (inbox.id, inbox.name, inbox.email, active, inbox.department or "All", *servers, str(inbox.version))


async def _all(context: Context) -> list[StoredInbox]:
    async def page_at(window: Window) -> Page[StoredInbox]:
        return (await resolvers.email_inboxes(context, window)).page

    return await all_pages(page_at)
