"""An OAuth2 token endpoint over HTTPS, with the introspection by which Dovecot verifies its tokens."""

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

CLIENT_ID = "client-of-the-tests"
CLIENT_SECRET = "client secret, à garder"


class Handler(BaseHTTPRequestHandler):
    """One connection, in HTTP/1.1, which Dovecot requires."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    server: "Listener"

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        fields = {name: values[0] for name, values in form.items()}
        endpoint = self.server.endpoint
        answer = endpoint.introspect if self.path == "/introspect" else endpoint.answer
        status, body = answer(fields)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Logs nothing."""


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    endpoint: "TokenEndpoint"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores the error: a client may close the connection."""


class TokenEndpoint:
    """Issues an access token for each known refresh token.

    `refresh_tokens` maps each one to its user, and `calls` are the requests so far. `fails`, `hangs` and `rotates`
    change the response.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.refresh_tokens: dict[str, str] = {}
        self.access_tokens: dict[str, str] = {}
        self.calls: list[dict[str, str]] = []
        self.introspections = 0
        self.seconds = 3600
        self.answer: Callable[[dict[str, str]], tuple[int, bytes]] = self.grant
        self.released = threading.Event()
        self._listener = Listener(("127.0.0.1", 0), Handler)
        self._listener.endpoint = self
        self._listener.socket = context.wrap_socket(
            self._listener.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown()
        self._listener.server_close()

    @property
    def port(self) -> int:
        found: int = self._listener.server_address[1]
        return found

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/token"

    @property
    def introspection_url(self) -> str:
        return f"https://localhost:{self.port}/introspect"

    def forget(self) -> None:
        """Resets all state, for the next test."""
        self.released.set()
        self.released = threading.Event()
        self.refresh_tokens, self.access_tokens, self.calls = {}, {}, []
        self.introspections, self.seconds, self.answer = 0, 3600, self.grant

    def consent(self, user: str) -> str:
        """Returns a new refresh token of the user."""
        token = f"refresh-{len(self.refresh_tokens)}-{user}"
        self.refresh_tokens[token] = user
        return token

    def end_access(self) -> None:
        """Revokes the access tokens issued so far."""
        self.access_tokens.clear()

    def withdraw(self) -> None:
        """Revokes the consent of every user."""
        self.refresh_tokens.clear()
        self.end_access()

    # ------------------------------------------------------------------------------------------------------ answers

    def grant(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Returns the response of RFC 6749."""
        self.calls.append(form)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return self.error(401, "invalid_client")
        user = self.refresh_tokens.get(form.get("refresh_token", ""))
        if form.get("grant_type") != "refresh_token" or user is None:
            return self.error(400, "invalid_grant")
        token = f"access-{len(self.calls)}-{user}"
        self.access_tokens[token] = user
        return self.tokens(access_token=token)

    def tokens(self, **more: str) -> tuple[int, bytes]:
        return 200, json.dumps({"token_type": "Bearer", "expires_in": self.seconds, **more}).encode()

    @staticmethod
    def error(status: int, name: str) -> tuple[int, bytes]:
        return status, json.dumps({"error": name, "error_description": "a text of the server's"}).encode()

    def fails(self, status: int, body: bytes = b"") -> None:
        """Makes the endpoint return this response from now on."""

        def answer(form: dict[str, str]) -> tuple[int, bytes]:
            self.calls.append(form)
            return status, body

        self.answer = answer

    def hangs(self) -> None:
        """Makes the endpoint send no response until the test is over."""

        def answer(form: dict[str, str]) -> tuple[int, bytes]:
            self.calls.append(form)
            self.released.wait(10)
            return 503, b""

        self.answer = answer

    def rotates(self) -> None:
        """Makes each refresh token valid once; the response contains the next one."""

        def answer(form: dict[str, str]) -> tuple[int, bytes]:
            status, body = self.grant(form)
            if status != 200:
                return status, body
            user = self.refresh_tokens.pop(form["refresh_token"])
            new = f"refresh-rotated-{len(self.calls)}-{user}"
            self.refresh_tokens[new] = user
            return 200, json.dumps({**json.loads(body), "refresh_token": new}).encode()

        self.answer = answer

    def introspect(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Returns the response of RFC 7662."""
        self.introspections += 1
        user = None
        with suppress(KeyError):
            user = self.access_tokens[form["token"]]
        return 200, json.dumps({"active": user is not None, "username": user}).encode()
