"""Checks an account, and sends a message through it. A check reports which stage failed, why, and what to change.

A check stores nothing and sends no mail. At the mail server it changes at most the time of the last login.
"""

import asyncio
from contextlib import suppress

from mail import patience
from mail.connect import Connector, Progress
from mail.imap import ImapSession
from mail.report import Reply, ServerCheck, StageName
from mail.service import Mail
from mail.smtp import MAY_BE_SENT, SmtpSession
from models.account import Account
from models.errors import ErrorCode, MailFailure


async def check_smtp(mail: Mail, account: Account, sender: str) -> ServerCheck:
    """Checks that the account can send mail as `sender`. Failures are in the report, not raised."""
    progress = Progress(account)
    connector = Connector(mail, progress, SmtpSession)
    with suppress(MailFailure):
        async with connector.session() as session, progress.stage(StageName.SENDER) as stage:
            stage.hint = await session.sender(sender)
    return progress.report


async def check_imap(mail: Mail, account: Account) -> ServerCheck:
    """Checks that the account can read its mail. Failures are in the report, not raised."""
    progress = Progress(account)
    connector = Connector(mail, progress, ImapSession)
    with suppress(MailFailure):
        async with connector.session() as session, progress.stage(StageName.SELECT_INBOX) as stage:
            await session.select_inbox()
            if "IDLE" not in session.capabilities:
                stage.hint = "The server has no IDLE: new mail will be looked for every so often, not told at once."
    return progress.report


async def send(mail: Mail, account: Account, message: bytes, sender: str, recipient: str) -> Reply:
    """Sends a message through the account's server and returns the reply that accepts it. Raises MailFailure."""
    progress = Progress(account)
    async with Connector(mail, progress, SmtpSession).session() as session:
        async with progress.stage(StageName.SENDER):
            await session.envelope(sender, recipient)
        try:
            async with asyncio.timeout(patience.MESSAGE_SECONDS):
                return await session.message(message)
        except TimeoutError:
            raise MailFailure(
                ErrorCode.TIMEOUT,
                f"The SMTP server said nothing to the message for {patience.MESSAGE_SECONDS:g} s.",
                "server",
                hint=MAY_BE_SENT,
            ) from None
