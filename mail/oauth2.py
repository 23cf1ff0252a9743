"""Access tokens for mail servers: fetched with an inbox's grant and cached while valid (RFC 6749, 5 and 6).

A revoked grant is distinguished from temporary failures: only the token endpoint can report the former.
`mail/refusals/tokens.py` interprets its refusals.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog
from cachetools import LRUCache

from mail import pasted
from mail.hosts import HostPolicy
from mail.offload import import_in_thread
from mail.refusals.token_meanings import NO_TOKEN, TOKEN_UNREADABLE
from mail.refusals.tokens import token_failure
from mail.tls import Trust
from models.account import Grant
from models.errors import ErrorCode, MailFailure, where
from models.secrets import Secret

TOKEN_ENDPOINT_SECONDS = 6.0
"""Timeout of the token endpoint: shorter than the stage of a check that waits for it, so that the mail server is not
blamed."""
EXPIRY_MARGIN_SECONDS = 60.0
"""A token is not used in its last minute: the login takes time."""
DEFAULT_LIFETIME_SECONDS = 300.0
"""Lifetime of a token without `expires_in`."""
MAX_LIFETIME_SECONDS = 86_400.0
MAX_TOKEN_CHARACTERS = 8_192
GRANTS = 20_000
"""How many grants are cached; the least recently used is evicted first."""

OnRotation = Callable[[Grant, Secret], Awaitable[None]]
"""Stores the new refresh token in place of the one in the grant. It may be called twice with the same token."""
Alone = Callable[[Grant], AbstractAsyncContextManager[Grant]]
"""Locks the consent against other processes, and yields the grant as it is now stored."""

log = structlog.get_logger()


class AccessTokens:
    """The access tokens of this process."""

    def __init__(
        self,
        hosts: HostPolicy,
        trust: Trust,
        clock: Callable[[], float] = time.monotonic,
        on_rotation: OnRotation | None = None,
    ) -> None:
        self.on_rotation = on_rotation
        self.alone: Alone = nullcontext
        self._hosts = hosts
        self._trust = trust
        self._clock = clock
        self._salt = secrets.token_bytes(32)
        self._consents: LRUCache[bytes, _Consent] = LRUCache(GRANTS)
        self._tasks: set[asyncio.Task[Secret]] = set()

    async def token(self, grant: Grant) -> Secret:
        """Returns a valid access token. Concurrent callers share one fetch. Raises MailFailure.

        If a newer refresh token than the one in `grant` is known, stores it before returning, even if it was fetched
        for another caller: two inboxes may share a consent, and an earlier attempt to store it may have failed.
        """
        consent = self._consent(grant)
        if consent.token and self._clock() < consent.good_until and not consent.has_rotated(grant):
            return consent.token
        # A cancelled caller must neither cancel the fetch for the others nor lose the new refresh token.
        return await asyncio.shield(self._start(self._obtain(grant, consent)))

    def kept(self, grant: Grant) -> Secret | None:
        """Returns the cached token, if it is still valid."""
        consent = self._consent(grant)
        return consent.token if self._clock() < consent.good_until else None

    def forget(self, grant: Grant, refused: Secret | None = None) -> None:
        """Drops a token that the mail server refused, unless a newer one has replaced it."""
        consent = self._consent(grant)
        if refused is None or consent.token is refused:
            consent.token = None

    async def finish(self) -> None:
        """Waits for running fetches and stores: a single-use refresh token must not be lost."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _consent(self, grant: Grant) -> "_Consent":
        key = self._key(grant)
        found = self._consents.get(key)
        if found is None:
            found = self._consents[key] = _Consent(grant)
        return found

    def _key(self, grant: Grant) -> bytes:
        """Hashes the grant: refresh tokens must not be cache keys in cleartext."""
        secret = grant.client_secret.reveal() if grant.client_secret else None
        parts = [grant.token_url, grant.client_id, secret, grant.refresh_token.reveal(), grant.scope]
        return hashlib.blake2b(orjson.dumps(parts), key=self._salt, digest_size=32).digest()

    def _start(self, work: Coroutine[None, None, Secret]) -> asyncio.Task[Secret]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Secret]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may be gone: asyncio would log an exception never retrieved

    async def _obtain(self, grant: Grant, consent: "_Consent") -> Secret:
        token, has_fetched = consent.token, False
        if token is None or self._clock() >= consent.good_until:
            if consent.fetching is None or consent.fetching.done():
                consent.fetching, has_fetched = self._start(self._renew(grant, consent)), True
            token = await consent.fetching
        if consent.has_rotated(grant) and not has_fetched and not consent.is_stored_for(grant):
            await self._store(grant, consent)
        return token

    async def _renew(self, grant: Grant, consent: "_Consent") -> Secret:
        """Fetches a token, and stores a rotated refresh token before another process may use the consent."""
        async with self.alone(grant) as stored:
            # The stored token is older than the cached one if that could not be stored.
            newest = consent.grant if self._consents.get(self._key(stored)) is consent else stored
            answer = await self._request_token(newest)
            token = _parse_token(answer.get("access_token"))
            if token is None or str(answer.get("token_type", "bearer")).lower() != "bearer":
                raise NO_TOKEN.failure()
            self._remember(consent, newest)
            if rotated := _parse_token(answer.get("refresh_token")):
                self._remember(consent, replace(newest, refresh_token=rotated))
            if consent.has_rotated(stored):
                await self._store(stored, consent)
            consent.token, consent.good_until = token, self._clock() + _parse_lifetime(answer.get("expires_in"))
        return token

    def _remember(self, consent: "_Consent", newer: Grant) -> None:
        """Adds the newer grant as a key, so that the old and the new refresh token find the same consent."""
        consent.grant = newer
        self._consents[self._key(newer)] = consent

    async def _request_token(self, grant: Grant) -> Mapping[str, Any]:
        await import_in_thread("mail.https")
        from mail.https import fetch

        try:
            status, body = await fetch(
                self._hosts, self._trust, grant.token_url, form=_form(grant), seconds=TOKEN_ENDPOINT_SECONDS
            )
        except MailFailure as failure:
            raise MailFailure(failure.kind, str(failure), "oauth2", "tokenUrl", hint=failure.hint) from None
        answer = _parse_object(body)
        if status != 200 or "error" in answer:
            raise _refusal(status, answer, grant)
        return answer

    async def _store(self, grant: Grant, consent: "_Consent") -> None:
        if self.on_rotation is None:
            return
        try:
            await self.on_rotation(grant, consent.grant.refresh_token)
            consent.stored = (grant, consent.grant)
        except Exception as error:  # the new token works until the next start, which is better than failing
            log.error("refresh token not stored", error=type(error).__name__, where=where(error))


@dataclass(slots=True)
class _Consent:
    """A consent with its newest refresh token and its latest access token."""

    grant: Grant
    token: Secret | None = None
    good_until: float = 0.0
    fetching: asyncio.Task[Secret] | None = None
    stored: tuple[Grant, Grant] | None = None
    """The last grant whose refresh token was replaced in the store, and its replacement."""

    def has_rotated(self, grant: Grant) -> bool:
        """Whether a newer refresh token has replaced the one in the grant."""
        return self.grant.refresh_token.reveal() != grant.refresh_token.reveal()

    def is_stored_for(self, grant: Grant) -> bool:
        """Whether the newest refresh token was stored in place of the one in the grant."""
        return self.stored is not None and _is_same(self.stored[0], grant) and _is_same(self.stored[1], self.grant)


def _is_same(grant: Grant, other: Grant) -> bool:
    ids = [each.origin.consent_id if each.origin else None for each in (grant, other)]
    return ids[0] == ids[1] and grant.refresh_token.reveal() == other.refresh_token.reveal()


def _form(grant: Grant) -> dict[str, str]:
    """Builds the request (RFC 6749, 6). Client credentials are in the body (2.3.1), as Google and Microsoft require."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": grant.refresh_token.reveal(),
        "client_id": grant.client_id,
    }
    if grant.client_secret:
        form["client_secret"] = grant.client_secret.reveal()
    if grant.scope:
        form["scope"] = grant.scope
    return form


def _parse_object(body: bytes) -> Mapping[str, Any]:
    """Parses the JSON object of the response; empty if there is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _parse_token(value: object) -> Secret | None:
    """Returns the token if it is safe in a login: visible ASCII (RFC 6750, 2.1), of limited length."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_CHARACTERS:
        return None
    return Secret(value) if all("!" <= character <= "~" for character in value) else None


def _parse_lifetime(expires_in: object) -> float:
    """Returns for how many seconds a token is used. Microsoft has sent `expires_in` as a string."""
    try:
        seconds = float(expires_in)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = DEFAULT_LIFETIME_SECONDS
    seconds = min(seconds, MAX_LIFETIME_SECONDS) if seconds > 0 else 0.0
    return max(seconds - EXPIRY_MARGIN_SECONDS, seconds / 2)


def _refusal(status: int, answer: Mapping[str, Any], grant: Grant) -> MailFailure:
    """Interprets the refusal. If the refused value looks badly pasted, the hint says so first."""
    failure = token_failure(status, answer, has_secret=grant.client_secret is not None)
    field = failure.field[-1] if failure.field else ""
    values = {
        "clientId": grant.client_id,
        "clientSecret": grant.client_secret.reveal() if grant.client_secret else "",
        "refreshToken": grant.refresh_token.reveal(),
        "scope": grant.scope or "",
    }
    if field in values and (odd := pasted.about(field, values[field])):
        if (
            failure.kind is ErrorCode.CONSENT_REQUIRED
        ):  # a badly pasted refresh token does not mean that the consent ended
            failure = TOKEN_UNREADABLE.failure()
        failure.hint = f"{odd} {failure.hint}"
    return failure
