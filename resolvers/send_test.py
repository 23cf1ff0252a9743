"""Sends a test mail from an inbox, without storing it. Knows neither GraphQL nor REST, and no mail protocol."""

from dataclasses import dataclass

import structlog

from mail.compose import test_message
from mail.offload import import_in_thread
from mail.report import Reply
from models.check import Recipient
from models.errors import ErrorCode, MailFailure, Problem, Refused
from models.stored import StoredInbox
from models.user import Permission
from models.validation import examine
from resolvers.access import requires
from resolvers.check import stored_account, stored_inbox, with_hint
from resolvers.context import Caller, Context
from resolvers.mail_limits import CHECKS_PER_USER

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SentTest:
    """A test mail that a mail server accepted."""

    inbox: StoredInbox
    recipient: str
    reply: Reply


@requires(Permission.MANAGE_EMAIL_INBOX)
async def send_test_email(context: Context, inbox_id: str, to: str | None = None) -> SentTest:
    """Sends a mail to `to`, or to the caller, and waits for the server's reply.

    Raises Refused with every problem, RateLimited after too many checks of the user, and Unavailable if too many are
    waiting.
    """
    caller = await context.caller()
    inbox = await stored_inbox(context, inbox_id, "id")
    recipient = _choose_recipient(inbox, to, caller)
    account = stored_account(inbox, "smtp", context.keyring)
    message = test_message(inbox.sender_info, inbox.email, recipient)
    async with context.mail_quota.slot(CHECKS_PER_USER, caller.id, context.aside):
        await import_in_thread("mail.check")
        from mail.check import send

        try:
            reply = await send(context.mail, account, message, inbox.email, recipient)
        except MailFailure as failure:
            log.info("test mail refused", inbox=inbox.id, code=failure.kind)
            raise Refused([with_hint(failure, "smtp")]) from None
    log.info("test mail sent", inbox=inbox.id)
    return SentTest(inbox, recipient, reply)


def _choose_recipient(inbox: StoredInbox, to: str | None, caller: Caller) -> str:
    config, problems = examine(Recipient, {"to": to})
    if not inbox.active:
        message = "The inbox is not active: activate it, then send again."
        problems.append(Problem(ErrorCode.CONFLICT, message, ("id",)))
    recipient = caller.user.email if to is None else to
    if recipient is None:
        message = "to is required: you have no e-mail address of your own."
        problems.append(Problem(ErrorCode.REQUIRED, message, ("to",)))
    if config is None or recipient is None or problems:
        raise Refused(problems)
    return recipient
