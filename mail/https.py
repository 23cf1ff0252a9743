"""Sends one HTTPS request to a host that a client entered, under the host policy.

The policy that holds for SMTP and IMAP holds here: the name is resolved once, only the resolved addresses are connected
to, the certificate must match the name, and redirects to another host are not followed.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx

from mail.hosts import HostPolicy, IPAddress, canonical
from mail.offload import in_thread
from mail.tls import EXPIRED, OF_ANOTHER_NAME, SELF_SIGNED, Trust, weakness
from models.config import MAIL_PORTS
from models.errors import ErrorCode, MailFailure

PORT = 443
HTTPS_SECONDS = 10.0
HTTPS_CONNECT_SECONDS = 3.0
"""Connect timeout of one address before the next is tried."""
MAX_RESPONSE_BYTES = 65_536
MAX_URL_LENGTH = 2_000
REQUEST_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "email-inbox-server"}


async def fetch(
    hosts: HostPolicy,
    trust: Trust,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    seconds: float = HTTPS_SECONDS,
    limit: int = MAX_RESPONSE_BYTES,
    redirects: int = 0,
) -> tuple[int, bytes]:
    """Sends a GET, or a POST of the form, and returns the status and the body of the response.

    Follows at most `redirects` redirects of a GET, to the same host and port only, and checks the policy again.
    Raises MailFailure without a field and without any text of the host.
    """
    request = _Request(_permit_url(hosts, url), form, limit, redirects if form is None else 0)
    try:
        async with asyncio.timeout(seconds):
            return await _fetch(hosts, trust, request)
    except TimeoutError:
        message = f"{request.name} did not answer within {seconds:g} seconds."
        raise MailFailure(ErrorCode.TIMEOUT, message, hint="Try again later.") from None


@dataclass(frozen=True, slots=True)
class _Request:
    """The request, the largest response in bytes, and how many redirects may still be followed."""

    target: httpx.URL
    form: Mapping[str, str] | None
    limit: int
    redirects: int = 0

    @property
    def name(self) -> str:
        return canonical(_host(self.target))

    def to_httpx(self, client: httpx.AsyncClient, address: IPAddress) -> httpx.Request:
        """Builds the request to the address, with the Host header and SNI of the host."""
        return client.build_request(
            "GET" if self.form is None else "POST",
            self.target.copy_with(host=str(address), fragment=None),
            data=self.form,
            headers={**REQUEST_HEADERS, "Host": self.target.netloc.decode("ascii")},
            extensions={"sni_hostname": self.name},
        )

    def protocol_error(self, rest: str) -> MailFailure:
        return MailFailure(
            ErrorCode.PROTOCOL_ERROR, f"{self.name} {rest}.", hint="Check that the address is the right one."
        )


class _Redirected(Exception):
    """The response redirects to `location`."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


async def _fetch(hosts: HostPolicy, trust: Trust, request: _Request) -> tuple[int, bytes]:
    addresses = await _resolve(hosts, request.name)
    try:
        return await _send_to_any(addresses, trust, request)
    except _Redirected as redirected:
        location = redirected.location
    return await _fetch(hosts, trust, _follow(hosts, request, location))


def _follow(hosts: HostPolicy, request: _Request, location: str) -> _Request:
    """Returns the redirected request. Raises MailFailure if it leaves the host or exceeds the redirect limit."""
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        target = request.target.join(location[:MAX_URL_LENGTH])
        if location and request.redirects > 0 and _origin_of(target) == _origin_of(request.target):
            return replace(request, target=_permit_url(hosts, str(target)), redirects=request.redirects - 1)
    raise request.protocol_error("answers with a redirect, which is not followed")


def _origin_of(target: httpx.URL) -> tuple[str, str, int | None]:
    return target.scheme, canonical(_host(target)), target.port


def _permit_url(hosts: HostPolicy, url: str) -> httpx.URL:
    """Parses the URL and checks it against the policy. Raises MailFailure."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise _host_not_allowed("The address can't be understood.", "It must start with https://.") from None
    if target.scheme != "https" or target.userinfo or not target.raw_host:
        raise _host_not_allowed("Only https addresses are connected to.", "It must be https:// and the name of a host.")
    port = target.port or PORT
    # Ports that the operator added to the mail ports, such as 8443, are allowed here too.
    if port != PORT and port not in hosts.ports - MAIL_PORTS:
        hint = f"Use 443, or let the operator of this server add +{port} to EMAIL_INBOX_MAIL_PORTS."
        raise _host_not_allowed(f"Port {port} may not be connected to over HTTPS.", hint)
    try:
        hosts.permit_host(_host(target))
    except MailFailure as failure:
        raise MailFailure(failure.kind, str(failure), hint=failure.hint) from None
    return target


def _host(target: httpx.URL) -> str:
    """Returns the host as the URL spells it. `target.host` decodes IDNA, and fails on an invalid form."""
    return target.raw_host.decode("ascii")


async def _resolve(hosts: HostPolicy, host: str) -> Sequence[IPAddress]:
    try:
        return await hosts.resolve(host)
    except MailFailure as failure:
        misspelt = failure.kind is ErrorCode.DNS_FAILED
        hint = "Check the spelling of the host's name." if misspelt else failure.hint
        raise MailFailure(failure.kind, str(failure), hint=hint) from None


async def _send_to_any(addresses: Sequence[IPAddress], trust: Trust, request: _Request) -> tuple[int, bytes]:
    """Sends the request to the first address that accepts a connection."""
    kind = ErrorCode.CONNECTION_REFUSED
    async with await in_thread(_new_client, trust) as client:
        for address in addresses:
            try:
                return await _send(client, request.to_httpx(client, address), request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if found := _tls_error(error):
                    raise _tls_failure(found, request.name) from None
                kind = ErrorCode.TIMEOUT if isinstance(error, httpx.ConnectTimeout) else ErrorCode.CONNECTION_REFUSED
            except ssl.SSLError as error:  # after the handshake, such as a missing client certificate
                raise _tls_failure(error, request.name) from None
            except (httpx.InvalidURL, UnicodeError):  # httpx parses the redirect's target even if told not to follow it
                raise request.protocol_error("answers with a redirect, which is not followed") from None
            except httpx.HTTPError:
                raise request.protocol_error("does not answer as an HTTPS server does") from None
    raise MailFailure(
        kind, f"{request.name} can't be reached.", hint="Check the name and the port, or try again later."
    )


def _new_client(trust: Trust) -> httpx.AsyncClient:
    """Run in a thread: the first call loads every CA of the machine, too slow for the event loop."""
    timeout = httpx.Timeout(None, connect=HTTPS_CONNECT_SECONDS)
    return httpx.AsyncClient(verify=trust.https, trust_env=False, follow_redirects=False, timeout=timeout)


async def _send(client: httpx.AsyncClient, outgoing: httpx.Request, request: _Request) -> tuple[int, bytes]:
    response = await client.send(outgoing, stream=True)
    try:
        if 300 <= response.status_code < 400:
            raise _Redirected(response.headers.get("Location", ""))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise request.protocol_error("compresses its answer without being asked to")
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > request.limit:
                raise request.protocol_error("answers with more than is read")
        return response.status_code, bytes(body)
    finally:
        await response.aclose()


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Finds the TLS error in the chain of causes, if there is one."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _tls_failure(error: ssl.SSLError, name: str) -> MailFailure:
    if not isinstance(error, ssl.SSLCertVerificationError):
        weak = weakness(error)
        rest = weak.rest if weak else "and this server could not agree on TLS"
        hint = weak.hint if weak else "Check the port of the address."
        return MailFailure(ErrorCode.TLS_FAILED, f"{name} {rest}.", hint=hint)
    if error.verify_code in OF_ANOTHER_NAME:
        why, hint = f"is not for {name}", "Use the name that the certificate is for."
    elif error.verify_code == EXPIRED:
        why, hint = "has expired", "The operator of that server must renew it."
    elif error.verify_code == SELF_SIGNED:
        why, hint = "is self-signed", "The operator can name it in EMAIL_INBOX_CA_FILE."
    else:
        why = "is not trusted here"
        hint = "The operator of this server can name its authority in EMAIL_INBOX_CA_FILE. Or that server sends no "
        hint += "intermediate certificate."
    return MailFailure(ErrorCode.CERTIFICATE_INVALID, f"The certificate of {name} {why}.", hint=hint)


def _host_not_allowed(message: str, hint: str) -> MailFailure:
    return MailFailure(ErrorCode.HOST_NOT_ALLOWED, message, hint=hint)
