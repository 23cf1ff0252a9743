"""The page at `/`: links to the APIs and the documentation, as HTML or JSON."""

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from edge.answers import COMMON_HEADERS, JsonAnswer
from edge.version import VERSION

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"
    "dt{margin-top:1rem;font-weight:600}dd{margin:0}code{overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#16181d;color:#e6e6e6}a{color:#8ab4f8}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = MappingProxyType(
    {
        **COMMON_HEADERS,
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept",
    }
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a path of this server. JSON shows `name`, HTML shows `title`."""

    name: str
    title: str
    path: str


class Home:
    """Answers with links: HTML for a browser, JSON otherwise."""

    def __init__(self, links: Sequence[Link]) -> None:
        paths = {link.name: link.path for link in links}
        self._document = {"name": "Email inbox server", "version": VERSION, "links": paths}
        self._page = _page(links)

    async def answer(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._page, headers=_HEADERS)
        return JsonAnswer(self._document, headers={"Vary": "Accept"})


class Documentation(StaticFiles):
    """Serves the documentation in Markdown, as plain text, which browsers display."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        if response.headers["content-type"].startswith("text/"):
            response.headers["content-type"] = "text/plain; charset=utf-8"
        return response


def _page(links: Sequence[Link]) -> str:
    rows = "".join(
        f'<dt>{html.escape(link.title)}</dt><dd><a href="{link.path}"><code>{link.path}</code></a></dd>'
        for link in links
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Email inbox server</title><style>{_STYLE}</style>"
        f"<h1>Email inbox server</h1><p>Version {html.escape(VERSION)} is running.</p><dl>{rows}</dl>"
    )
