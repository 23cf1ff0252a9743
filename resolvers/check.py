"""Checks the mail servers of a stored inbox, or of an input that is not saved yet. Saves nothing.

Knows neither GraphQL nor REST, and no mail protocol.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from mail.offload import import_in_thread
from mail.report import ServerCheck
from models import inbox as inboxes
from models.account import Account
from models.check import CheckConfig
from models.config import InboxConfig, MailProtocol, ServerConfig
from models.errors import ErrorCode, MailFailure, Problem, Refused
from models.secrets import Keyring
from models.stored import PROTOCOLS, StoredInbox, account, lost_secrets
from models.user import Permission
from models.validation import as_far_as_valid, examine, sentence, validated_value
from resolvers.access import requires
from resolvers.context import Context
from resolvers.mail_limits import CHECKS_PER_USER

BESIDE_THE_CONFIG = ("email", "to")
"""Fields that a mail server can refuse and that are not part of its config."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result for each protocol; None if it was not checked."""

    smtp: ServerCheck | None
    imap: ServerCheck | None

    def __iter__(self) -> Iterator[tuple[MailProtocol, ServerCheck]]:
        for protocol in PROTOCOLS:
            if check := getattr(self, protocol):
                yield protocol, check

    @property
    def problems(self) -> list[Problem]:
        """What failed and how to fix it, protocol by protocol."""
        return [with_hint(check.failure, "input", protocol) for protocol, check in self if check.failure]


@requires(Permission.MANAGE_EMAIL_INBOX)
async def check_email_inbox(context: Context, values: Mapping[str, Any]) -> CheckResult:
    """Checks the mail servers of a stored inbox, or those in `values`, the input as the client sent it.

    Raises Refused with every problem of the input, RateLimited after too many checks of the user, and Unavailable if
    too many are waiting.
    """
    user_id = (await context.caller()).id
    stored = None if values.get("id") is None else await stored_inbox(context, values["id"], "input", "id")
    config = _examine(values, stored, context.keyring)
    accounts = _accounts(config, stored, context.keyring)
    async with context.mail_quota.slot(CHECKS_PER_USER, user_id, context.aside):
        checked = await _check(context, accounts, config.email or (stored.email if stored else ""))
    log.info("inbox checked", inbox=stored.id if stored else "unsaved", **dict(_log_fields(checked)))
    return checked


async def stored_inbox(context: Context, inbox_id: object, *path: str) -> StoredInbox:
    """Returns the inbox with this id. Raises Refused."""
    known_id = validated_value(InboxConfig, "id", inbox_id)
    found = await context.database.find(inboxes.BY_ID, id=known_id) if isinstance(known_id, str) else []
    if not found:
        raise Refused.because(ErrorCode.NOT_FOUND, "No inbox has this id.", *path)
    return found[0]


def stored_account(inbox: StoredInbox, protocol: MailProtocol, keyring: Keyring, *path: str) -> Account:
    """Returns the account at the server. Raises Refused if its secret can't be decrypted."""
    if lost := lost_secrets(inbox, protocol, inbox.server(protocol).secrets, keyring):
        raise Refused([inboxes.lost_problem(protocol, name, *path) for name in lost])
    return account(inbox, protocol, keyring)


def problem_of(failure: MailFailure, *path: str) -> Problem:
    """Returns the failure as a problem of the input. `path` leads to the config of the server."""
    if failure.field is None:
        return Problem(failure.kind, str(failure))
    above = path[:-1] if failure.field[0] in BESIDE_THE_CONFIG else path
    return Problem(failure.kind, str(failure), (*above, *failure.field))


def with_hint(failure: MailFailure, *path: str) -> Problem:
    """The same, with the hint in the message, for responses without a field for hints."""
    problem = problem_of(failure, *path)
    return replace(problem, message=f"{failure} {failure.hint}") if failure.hint else problem


def _examine(values: Mapping[str, Any], stored: StoredInbox | None, keyring: Keyring) -> CheckConfig:
    config, problems = examine(CheckConfig, values, "input")
    known = config or as_far_as_valid(CheckConfig, values)
    problems += inboxes.password_problems(values, known, stored, keyring)
    given = [protocol for protocol in PROTOCOLS if values.get(protocol) is not None]
    if stored is None and not given:
        problems.append(_required_problem("id", "is required where neither smtp nor imap is given"))
    if stored is None and "smtp" in given and values.get("email") is None:
        problems.append(
            _required_problem("email", "is required with smtp: it is what the server is offered as the sender")
        )
    if config is None or problems:
        raise Refused(problems)
    return config


def _required_problem(name: str, why: str) -> Problem:
    return Problem(ErrorCode.REQUIRED, sentence(("input", name), why), ("input", name))


def _accounts(config: CheckConfig, stored: StoredInbox | None, keyring: Keyring) -> dict[MailProtocol, Account]:
    """Returns the account at each server. Raises Refused with every secret that can't be decrypted."""
    accounts: dict[MailProtocol, Account] = {}
    problems: list[Problem] = []
    for protocol in PROTOCOLS:
        given: ServerConfig | None = getattr(config, protocol)
        try:
            kept = stored_account(stored, protocol, keyring, "input") if stored and not _is_whole(given) else None
            if account := given.account(kept) if given else kept:
                accounts[protocol] = account
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused(problems)
    return accounts


def _is_whole(given: ServerConfig | None) -> bool:
    """Whether the input needs no stored secret: it may replace one that can't be decrypted."""
    if given is None:
        return False
    if given.password is not None:
        return True
    consent = given.oauth2
    return consent is not None and consent.refresh_token is not None and "client_secret" in consent.model_fields_set


async def _check(context: Context, accounts: Mapping[MailProtocol, Account], sender: str) -> CheckResult:
    """Checks both protocols concurrently."""
    await import_in_thread("mail.check")
    from mail.check import check_imap, check_smtp

    smtp, imap = accounts.get("smtp"), accounts.get("imap")
    async with asyncio.TaskGroup() as group:
        of_smtp = group.create_task(check_smtp(context.mail, smtp, sender)) if smtp else None
        of_imap = group.create_task(check_imap(context.mail, imap)) if imap else None
    return CheckResult(of_smtp.result() if of_smtp else None, of_imap.result() if of_imap else None)


def _log_fields(checked: CheckResult) -> Iterator[tuple[str, str | float]]:
    """Returns the fields of the log event, without text from a server."""
    for protocol, check in checked:
        yield protocol, check.failure.kind.value if check.failure else "ok"
        yield f"{protocol}_ms", round(sum(stage.duration_ms for stage in check.stages), 1)
