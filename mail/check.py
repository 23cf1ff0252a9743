"""Proves an account, and sends a message by it. A check says which stage broke, why, and what to change.

Knows no inbox. A check saves nothing and sends no mail; what it changes at a server is, at most, when an account last
logged in.
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
    """Whether mail can be sent by this account as `sender`. What breaks is in the report."""
    progress = Progress(account)
    connector = Connector(mail, progress, SmtpSession)
    with suppress(MailFailure):
        async with connector.session() as session, progress.stage(StageName.SENDER) as stage:
            stage.hint = await session.sender(sender)
    return progress.report


async def check_imap(mail: Mail, account: Account) -> ServerCheck:
    """Whether the mail of this account can be read. What breaks is in the report."""
    progress = Progress(account)
    connector = Connector(mail, progress, ImapSession)
    with suppress(MailFailure):
        async with connector.session() as session, progress.stage(StageName.SELECT_INBOX) as stage:
            await session.select_inbox()
            if "IDLE" not in session.capabilities:
                stage.hint = "The server has no IDLE: new mail will be looked for every so often, not told at once."
    return progress.report


async def send(mail: Mail, account: Account, message: bytes, sender: str, recipient: str) -> Reply:
    """Hands a message to the account's server and returns the reply that takes it. Raises MailFailure."""
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
