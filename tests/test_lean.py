"""What is done in a fast way has the outcome of the slow one: ids, JSON, routes, the caller, lines of the log."""

import asyncio
import gc
import json
import math
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.body import _parse_slowly, parse_json
from edge.static_routes import StaticRoutes
from models.errors import Unauthenticated
from models.fields import ID_ALPHABET, ID_LENGTH, random_id
from resolvers.access import CachedCaller
from schema.http import negotiation
from settings import Settings
from tests.process import ROOT
from tests.running import ADMIN_HEADERS, Running
from tests.sockets import listening
from tests.test_metrics import scrape

CALLER: Any = object()

# ---------------------------------------------------------------------------------------------------------------- ids


def test_every_character_is_as_likely_as_any_other_at_every_place() -> None:
    count = 20_000
    ids = [random_id() for _ in range(count)]
    assert len(set(ids)) == count
    assert {len(found) for found in ids} == {ID_LENGTH}
    for place in (0, ID_LENGTH // 2, ID_LENGTH - 1):
        often = Counter(found[place] for found in ids)
        assert set(often) == set(ID_ALPHABET)
        expected = count / len(ID_ALPHABET)
        # Chi-squared with 54 degrees of freedom is over 130 once in ten million times.
        assert sum((often[character] - expected) ** 2 / expected for character in ID_ALPHABET) < 130


# --------------------------------------------------------------------------------------------------------------- JSON

PIECES = st.sampled_from(
    [*'[]{},:"\\ \t\n\0\x7f-+.eE019', "\\u", "d83d", "\\ude00", "NaN", "Infinity", "null", "true", "é", "😀", "\ud800"]
)
NUMBERS = st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(st.lists(PIECES).map("".join) | NUMBERS | VALUES.map(json.dumps) | VALUES.map(json.dumps).map(lambda x: x[1:]))
@example('{"a": 1, "a": 2}')
@example("18446744073709551616")
@example("1" * 4_301)
@example("1E400")
@example('"\\ud800"')
@example("[" * 190 + "]" * 190)
@example("[" * 300 + "]" * 300)
@example("[" * 100_000)
def test_json_is_parsed_as_by_the_library_of_python(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    for spelled in (text, raw, b"\xef\xbb\xbf" + raw, raw + b"\xff"):
        assert _outcome(parse_json, spelled) == _outcome(_parse_slowly, spelled)


def _outcome(parse: Any, text: str | bytes) -> str:
    """The value with its types and its order, or what the refusal says."""
    try:
        return repr(parse(text))
    except ValueError as error:
        return f"refused: {error}"


# ------------------------------------------------------------------------------------------------------------- routes

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND")
PATHS = (
    *("/graphql", "/graphql/", "/%67raphql", "/", "//graphql", "/health/live", "/metrics", "/api/v1", "/api/v1/"),
    *("/api/v1/email-inbox", "/api/v1/email-inbox/", "/api/v1/email-inbox/x", "/api/v1/me", "/api/v1/login", "/me"),
    *("/api/v1/email-inbox.list", "/api/v1/nothing", "/api/v1/graphql", "/email-inbox"),
)


async def test_what_is_found_at_once_is_what_starlette_finds(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [await _answers(server)]
    with monkeypatch.context() as patched:
        patched.setattr(StaticRoutes, "__call__", lambda self, *given: self.app(*given))
        answers.append(await _answers(server))
    assert answers[0] == answers[1]


async def _answers(server: Running) -> tuple[list[Any], dict[Any, float]]:
    before, found = await scrape(server.client), []
    for method in METHODS:
        for path in PATHS:
            answer = await server.client.request(method, path, headers={"X-Request-Id": "same"})
            text = "" if path == "/metrics" else answer.text
            found.append((method, path, answer.status_code, dict(answer.headers) if text else {}, text))
    after = await scrape(server.client)
    counted = {key: value - before[key] for key, value in after.items() if key[0] == "http_requests_total"}
    return found, {key: value for key, value in counted.items() if value}


# --------------------------------------------------------------------------------------------------------- the caller


class Finding:
    """Finds out who the caller is, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> Any:
        self.asked += 1
        await self.go_on.wait()
        if self.error:
            raise self.error
        return CALLER


async def test_who_asks_at_the_same_time_shares_the_answer() -> None:
    finding = Finding()
    remembered = CachedCaller(finding, math.inf)
    asking = [asyncio.ensure_future(remembered()) for _ in range(3)]
    await asyncio.sleep(0)
    finding.go_on.set()
    assert await asyncio.gather(*asking) == [CALLER] * 3
    assert await remembered() is CALLER
    assert finding.asked == 1


async def test_a_refusal_is_remembered_too() -> None:
    finding = Finding()
    finding.error = Unauthenticated()
    finding.go_on.set()
    remembered = CachedCaller(finding, math.inf)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await remembered()
    assert finding.asked == 1


async def test_who_no_longer_waits_keeps_the_answer_from_nobody() -> None:
    finding = Finding()
    remembered = CachedCaller(finding, math.inf)
    first, second = (asyncio.ensure_future(remembered()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    finding.go_on.set()
    assert await second is CALLER
    assert first.cancelled()


async def test_what_is_old_is_asked_anew() -> None:
    finding = Finding()
    finding.go_on.set()
    remembered = CachedCaller(finding, 0)
    assert [await remembered() for _ in range(2)] == [CALLER] * 2
    assert finding.asked == 2


# ---------------------------------------------------------------------------------------------------------- the Accept


def test_only_so_much_of_what_clients_accept_is_remembered() -> None:
    negotiation._cached.cache_clear()
    long = f"{negotiation.GRAPHQL};q=0.5, {'x' * negotiation.MAX_CACHED_HEADER_LENGTH}/y"
    assert negotiation.negotiate(long).media == negotiation.GRAPHQL
    for number in range(negotiation.MAX_CACHED_HEADERS + 50):
        assert negotiation.negotiate(f"text/{number}").media is None
    assert negotiation._cached.cache_info().currsize == negotiation.MAX_CACHED_HEADERS


# ------------------------------------------------------------------------------------------------------------- garbage

REQUESTS = 100
HEAD = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **ADMIN_HEADERS}.items())
QUERY = json.dumps({"query": "{ viewer { id } }"})
BY_REST = f"GET /api/v1/me HTTP/1.1\r\n{HEAD}\r\n"
BY_GRAPHQL = (
    f"POST /graphql HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\nContent-Length: {len(QUERY)}\r\n\r\n{QUERY}"
)


@pytest.mark.parametrize("request_", [BY_REST, BY_GRAPHQL], ids=["rest", "graphql"])
async def test_requests_leave_no_cycles_behind(settings: Settings, request_: str) -> None:
    """What refers to itself stays until garbage is looked for, which stops everything else."""
    async with listening(settings) as (_server, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        await _ask(reader, writer, request_)
        gc.collect()
        gc.disable()
        try:
            await _ask(reader, writer, request_)
            assert gc.collect() < REQUESTS
        finally:
            gc.enable()
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str) -> None:
    for _ in range(REQUESTS):
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        [length] = re.findall(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length))


# ----------------------------------------------------------------------------------------------------- lines of a log


def test_a_line_is_ascii_whatever_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", LOGGING], cwd=ROOT, capture_output=True, check=True)
    assert done.stderr.isascii()
    control, odd, huge, kept, foreign, after = (json.loads(line) for line in done.stderr.splitlines())
    assert control["value"] == "\x9b é"
    assert (odd["value"], odd["event"]) == ("\x9b é \ud800", "odd")
    assert huge["value"] == 2**70
    assert (kept["request_id"], kept["level"], kept["shown"]) == ("mine", "warning", "***")
    assert (foreign["request_id"], foreign["event"]) == ("mine", "said by a library")
    assert "request_id" not in after


LOGGING = r"""
import logging, structlog
from structlog.contextvars import bind_contextvars, reset_contextvars
from edge import logs
from models.secrets import Secret

logs.configure("info", as_json=True)
log = structlog.get_logger()
log.debug("not written")
log.info("control", value="\x9b é")
log.info("odd", value="\x9b é \ud800")
log.info("huge", value=2**70)
bound = bind_contextvars(request_id="mine")
log.warning("kept", shown=Secret("hidden"))
logging.getLogger("library").warning("said by a library")
reset_contextvars(**bound)
log.info("after")
"""
