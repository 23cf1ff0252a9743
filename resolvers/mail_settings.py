"""Finds mail settings for an address. Saves nothing. Knows neither GraphQL nor REST, and no mail protocol."""

from mail.offload import import_in_thread
from mail.settings.proposals import Proposals
from models.config import InboxConfig
from models.errors import BadRequest
from models.user import Permission
from models.validation import validated_value
from resolvers.access import requires
from resolvers.context import Context
from resolvers.mail_limits import LOOKUPS_PER_USER


@requires(Permission.MANAGE_EMAIL_INBOX)
async def mail_server_settings(context: Context, email: str) -> Proposals:
    """Returns SMTP and IMAP servers to try for the address.

    Raises BadRequest if it is invalid, RateLimited after too many look-ups of the user, and Unavailable if too many are
    waiting.
    """
    if validated_value(InboxConfig, "email", email) is None:
        raise BadRequest("email must be an e-mail address, such as support@example.org.")
    caller = await context.caller()
    async with context.mail_quota.slot(LOOKUPS_PER_USER, caller.id, context.aside):
        await import_in_thread("mail.settings.discovery")
        from mail.settings.discovery import settings_for

        return await settings_for(context.mail, email)
