"""The inputs of a check and of a test mail."""

from typing import Annotated

from pydantic import Field

from models.config import ImapConfig, SmtpConfig
from models.fields import EmailAddress
from models.validation import Input


class CheckConfig(Input):
    """A stored inbox, servers that are not saved yet, or both."""

    id: Annotated[
        str | None,
        Field(
            description="Id of a stored inbox. What else is given is checked as if it had been set on it; passwords "
            "that are left out are the stored ones, under the rule of `setEmailInbox`."
        ),
    ] = None
    email: Annotated[
        EmailAddress | None,
        Field(description="Sender address to try at the SMTP server. Required with smtp, without id."),
    ] = None
    smtp: Annotated[SmtpConfig | None, Field(description="The server for outgoing mail.")] = None
    imap: Annotated[ImapConfig | None, Field(description="The server for incoming mail.")] = None


class Recipient(Input):
    """Where a test mail goes."""

    to: Annotated[EmailAddress | None, Field(description="Address to send to. Default: the caller's own.")] = None
