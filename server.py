"""The composition root: `create_app(settings)` and the command line. Knows every part, and of none how it works."""

import gc
import sys

import interpreter

if __name__ != "server":
    interpreter.explain()
    # A start makes hardly any garbage, and a tenth of it would be spent looking for some: see `_settle`.
    gc.disable()
    if interpreter.only_serves(sys.argv[1:]):
        # What colours a traceback, which a server prints none of: structlog and Alembic load it where it is installed.
        sys.modules |= dict.fromkeys(("pygments", "rich"))  # type: ignore[arg-type]

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from edge import health, logs
from edge.admission import LOAD, Admission
from edge.answers import GRAPHQL_PATH, http_error
from edge.home import Documentation, Home, Link
from edge.metrics import Metrics, forget_all_but, shared_folder
from edge.protocol import Protocol
from edge.proxies import Proxies
from edge.rates import FIELDS, Rate, Rates
from edge.requests import Requests
from edge.same_origin import SameOrigin
from edge.static_routes import Direct
from edge.version import VERSION
from edge.websocket import SocketProtocol
from mail.service import Mail
from models import key
from models.database import describe_missing, open_database
from models.database.migration import DatabaseState, inspect, migrate
from models.errors import ProductError, StartError
from models.files import is_open_to_all, make_folder
from models.observer import Observer
from models.secrets import Key, Keyring
from resolvers.access import Authenticator
from resolvers.consent import Consents
from resolvers.context import Context
from resolvers.events import Events
from resolvers.mail_limits import Turns
from resolvers.setup import Administrator, make_administrator
from resolvers.throttle import Throttle
from rest import router
from runners.upkeep import keep_up
from schema import build_schema
from schema.http.endpoint import Endpoint
from schema.http.page import ASSETS, Assets, Page, load_page
from schema.http.trusted_documents import AnyDocument, load_trusted_documents
from settings import Settings, read_settings, secret, set_environment, unknown_settings

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client is told, when it is imported, that several processes count together."""
GRACE_SECONDS = 7
"""How long requests under way may take after SIGTERM; what comes after that takes two seconds at most."""
DOORS = 16
"""Connections that are accepted in one turn of the event loop."""
DOCS = Path(__file__).parent / "docs"
GARBAGE = 10_000
"""Objects that are made before it is looked which of them are garbage."""
LAST_SECONDS = 1.0
"""How long access tokens that are being fetched may take then: what comes with them may be good for one time only."""
UVICORN: dict[str, Any] = {
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "http": Protocol,
    "ws": SocketProtocol,
}
"""How uvicorn serves, whoever starts it."""

log = structlog.get_logger()


# --------------------------------------------------------------------------------------------------------- the world


@asynccontextmanager
async def world(settings: Settings, observer: Observer | None = None, *, makes: bool = True) -> AsyncIterator[Context]:
    """The context that every request starts from: database up to date, keys at hand. Raises StartError.

    `makes`: whether a database is made where there is none. Nothing on disk is changed before the database was found
    to be whole, known and of these keys.
    """
    observer = observer or Observer()
    _keys(settings)
    mail = Mail.of(settings.mail_hosts_allow, settings.mail_ports, settings.ca_file)
    async with open_database(settings.url, observer) as database:
        state = await inspect(database)
        if not makes:
            _must_exist(settings, state)
        keyring = _keyring(settings, first_start=not state.keys)
        key.hold_against(state.keys, keyring)
        await migrate(database, keyring)
        await database.write(lambda session: key.register(session, keyring))
        if database.path and is_open_to_all(database.path):
            fix = f"chmod 600 {database.path}"
            log.warning("database open to every user", path=str(database.path), fix=fix)
        consents = Consents(database, keyring)
        mail.tokens.alone, mail.tokens.on_rotation = consents.alone, consents.keep
        try:
            yield Context(database, keyring, Events(database, observer), Throttle(observer), mail, Turns(), observer)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await mail.tokens.finish()


def _must_exist(settings: Settings, state: DatabaseState) -> None:
    """Raises StartError where there is no database, or one without tables."""
    if state.revision is None:
        raise StartError(
            f"No database was found: {describe_missing(settings.url)} (data folder: {settings.data_dir.absolute()}). "
            "To use another one, set EMAIL_INBOX_DATA_DIR or EMAIL_INBOX_DATABASE_URL, or pass the settings of the server "
            "by --env-file FILE. The first start of the server makes a database."
        )


def _keyring(settings: Settings, *, first_start: bool) -> Keyring:
    given, key_file = _keys(settings), settings.key_file
    if key_file and not key_file.exists() and not first_start:
        raise StartError(f"The key file {key_file.path} is missing: put it back, or set EMAIL_INBOX_SECRET_KEYS.")
    if key_file or settings.database_url is None:
        _make_folder(settings.data_dir)
    if key_file is None:
        return Keyring(lambda: given)
    if not key_file.exists():
        key_file.create()
    key_file.keys()
    return Keyring(key_file.keys_now)


def _keys(settings: Settings) -> list[Key]:
    """The keys that are set. Raises StartError where one is none, or where there is none."""
    if settings.secret_keys is None:
        return []
    parts = settings.secret_keys.get_secret_value().split(",")
    try:
        keys = [Key.parse(part) for part in parts if part.strip()]
    except ValueError as error:
        raise StartError(f"EMAIL_INBOX_SECRET_KEYS: {error}.") from None
    if not keys:
        raise StartError("EMAIL_INBOX_SECRET_KEYS holds no key: set one, or leave the variable out.")
    return keys


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise StartError(f"The data folder {folder} can't be made: {error.strerror}.") from None


async def prepare(settings: Settings) -> Administrator | None:
    """Everything that a start needs before it serves: the administrator, where one was made. Raises StartError."""
    async with world(settings) as context:
        return await make_administrator(context.database, settings.administrator)


# ---------------------------------------------------------------------------------------------------- the application


def create_app(settings: Settings | None = None, metrics: Metrics | None = None) -> Starlette:
    """The ASGI application, for any server that speaks HTTP, WebSocket and lifespan."""
    settings, metrics = settings or read_settings(), metrics or _metrics()
    page = load_page() if settings.graphiql else None
    rate = Rate(settings.rate_limit) if settings.rate_limit else None
    if page and not page.bundled:
        log.warning("stock GraphiQL page", reason="web/dist is not built; the page loads its parts from the internet")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with world(settings, metrics) as context:
            authenticator = Authenticator(context.database, context.throttle)
            app.state.context, app.state.authenticator = context, authenticator
            app.state.readiness = health.Readiness(context.database)
            LOAD.observer = metrics
            await context.events.start()
            upkeep = asyncio.create_task(keep_up(context.database, authenticator))
            try:
                yield
            finally:
                upkeep.cancel()
                await asyncio.gather(upkeep, metrics.close(), return_exceptions=True)
                await context.events.stop()

    app = Starlette(routes=_routes(settings, page, metrics, rate), lifespan=lifespan)
    app.middleware_stack = _layers(app.router, settings, metrics, rate)
    return app


def _routes(settings: Settings, page: Page | None, metrics: Metrics, rate: Rate | None) -> list[BaseRoute]:
    schema = build_schema(introspection=settings.introspection)
    graphql = Endpoint(schema, page, _documents(settings), rate)
    routes: list[BaseRoute] = [
        Route(GRAPHQL_PATH, graphql),
        WebSocketRoute(GRAPHQL_PATH, graphql),
        Mount("/api/v1", router),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
        Route("/metrics", metrics.page(secret(settings.metrics_token))),
    ]
    if page and page.bundled:
        routes.append(Mount(ASSETS, Assets()))
    if DOCS.is_dir():
        routes.append(Mount("/docs", Documentation(DOCS)))
    routes.append(Route("/", Home(_links(page)).answer))
    return routes


def _links(page: Page | None) -> list[Link]:
    """Where the page at `/` leads."""
    links = [
        Link("graphql", "GraphiQL: the GraphQL API in the browser" if page else "The GraphQL API", GRAPHQL_PATH),
        Link("openapi", "The REST API, as OpenAPI", "/api/v1/openapi.json"),
        Link("health", "Whether the server is ready", "/health/ready"),
    ]
    pages = {
        "graphql.md": "How to use the GraphQL API",
        "rest.md": "How to use the REST API",
        "mail.md": "Mail servers",
    }
    documented = [Link(f"docs/{name}", title, f"/docs/{name}") for name, title in pages.items()]
    return [*links, *documented] if DOCS.is_dir() else links


def _documents(settings: Settings) -> AnyDocument:
    """Raises StartError."""
    return load_trusted_documents(settings.trusted_documents) if settings.trusted_documents else AnyDocument()


def _layers(router: Router, settings: Settings, metrics: Metrics, rate: Rate | None) -> ASGIApp:
    """What a request passes, from the inside out. Starlette's outermost layer would only do what `Requests` does."""
    app: ASGIApp = Direct(ExceptionMiddleware(router, {HTTPException: http_error}), router.routes)
    if rate:
        app = Rates(app, rate)
    app = Admission(app)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=[str(origin) for origin in settings.cors_origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Auth-Token", "X-User-Id"],
            expose_headers=["Retry-After", "X-Request-Id", *(f"RateLimit-{name}" for name in FIELDS)],
        )
    trusted = [*settings.cors_origins, *([settings.public_url] if settings.public_url else [])]
    app = SameOrigin(app, settings.own_hosts, trusted)
    return Requests(Proxies(app, settings.proxies), metrics)


def _metrics() -> Metrics:
    """What counts, and traces where that is wanted. Raises StartError."""
    folder = Path(shared) if (shared := os.environ.get(SHARED_METRICS)) else None
    if folder and not folder.is_dir():
        raise StartError(f"{SHARED_METRICS}: there is no folder {folder}.")
    if not _traces_wanted():
        return Metrics(VERSION, folder)
    if (tracing := _tracing()) is None:
        log.warning("no traces", reason="OpenTelemetry is not installed: make install EXTRA=telemetry")
        return Metrics(VERSION, folder)
    traces: Metrics = tracing.Traces(VERSION, folder)
    return traces


def _traces_wanted() -> bool:
    """Whether OpenTelemetry's own variables say where traces go."""
    sent_to = [os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("TRACES_", "")]
    switched_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return any(sent_to) and not switched_off and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def _tracing() -> ModuleType | None:
    """`edge.tracing`, where the extra is installed."""
    try:
        from edge import tracing
    except ImportError:
        return None
    return tracing


# --------------------------------------------------------------------------------------------------- the command line


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way. Raises StartError."""
    # No step of the start leaves anything half done, so that it may be left at any moment, as by kill. While uvicorn
    # serves, the signals are its own; it raises them once more when all is done, and that is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    configure_logs(settings)
    for name in unknown_settings():
        log.warning("unknown setting", name=name)
    _documents(settings)
    listening = _doors(_bind(settings))
    administrator = asyncio.run(prepare(settings))
    if settings.own_hosts is None and "*" not in settings.hosts:
        log.warning("every Host is accepted", fix="set EMAIL_INBOX_PUBLIC_URL")
    _greet(settings, administrator)
    config = uvicorn.Config(
        "server:create_worker" if settings.workers > 1 else create_app(settings),
        factory=settings.workers > 1,
        workers=settings.workers,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **UVICORN,
    )
    _settle()
    if settings.workers > 1:
        with shared_folder() as folder:
            os.environ[SHARED_METRICS] = str(folder)
            Workers(config, sockets=listening).run()
    else:
        uvicorn.Server(config).run(sockets=listening)


class Workers(Multiprocess):
    """Several server processes on one socket, which is closed at once when they are to stop."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        forget_all_but({process.pid for process in self.processes}, Path(os.environ[SHARED_METRICS]))


def create_worker() -> Starlette:
    """The application in one of several server processes, each of which is told anew how to log."""
    settings = read_settings()
    configure_logs(settings)
    app = create_app(settings)
    _settle()
    return app


def _settle() -> None:
    """What is there by now stays: looked through again and again, it would stop the event loop for some 100 ms.

    Requests leave next to no cycles behind. Looking for some after every 700 objects took 4 % of a create.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()


def configure_logs(settings: Settings) -> None:
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    tracing = _tracing() if _traces_wanted() else None
    logs.configure(settings.log_level, *([tracing.with_trace_id] if tracing else []), as_json=as_json)


def _bind(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise StartError(
            f"{where} can't be listened on: {error.strerror}. Set EMAIL_INBOX_HOST or EMAIL_INBOX_PORT."
        ) from None
    except UnicodeError:
        raise StartError("EMAIL_INBOX_HOST must be a host name or an IP address.") from None


def _doors(listening: socket.socket) -> list[socket.socket]:
    """The socket many times over. Of each, uvloop accepts one connection in a turn of its loop.

    With but one, the last of 64 clients that come at once is answered after others were answered dozens of times.
    """
    return [listening, *(listening.dup() for _ in range(DOORS - 1))]


def _greet(settings: Settings, administrator: Administrator | None) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    lines = [f"Serving on {address}"]
    if settings.graphiql:
        lines.append(f"GraphiQL:  {address}/graphql")
    if administrator:
        lines += _introduce(administrator, address, given=settings.admin_token is not None)
    print(*lines, sep="\n", flush=True)


def _introduce(administrator: Administrator, address: str, *, given: bool) -> list[str]:
    """Who the administrator is, and a first call. A token that was given in the environment is not repeated."""
    user_id, token = administrator.user.id, "$EMAIL_INBOX_ADMIN_TOKEN" if given else administrator.token.reveal()
    body = """{"query": "{ viewer { username permissions } }"}"""
    headers = f"-H 'X-User-Id: {user_id}' -H \"X-Auth-Token: {token}\" -H 'Content-Type: application/json'"
    return [
        "",
        "The first administrator was made" + (":" if given else ". The token is shown this once:"),
        f"X-User-Id:    {user_id}",
        f"X-Auth-Token: {token}",
        "",
        "Try it:",
        f"curl '{address}/graphql' {headers} -d '{body}'",
    ]


def commands() -> Any:
    """The commands, as a `typer.Typer`. A server that starts does without, and without the libraries that they need."""
    import cli

    options = cli.Options()

    def settings() -> Settings:
        set_environment(options.folder, options.env_files, options.environment)
        return read_settings()

    return cli.program(
        options,
        cli.Server(
            settings=settings,
            world=lambda *, makes=False: world(settings(), makes=makes),
            database=lambda: asyncio.run(_existing(settings())),
            serve=lambda: serve(settings()),
            schema=lambda: build_schema().as_str(),
            version=VERSION,
        ),
    )


async def _existing(settings: Settings) -> str:
    """The URL of the database. Raises StartError where there is none."""
    async with open_database(settings.url) as database:
        _must_exist(settings, await inspect(database))
    return settings.url


def run() -> None:
    """The command line; what keeps it from starting is one line on stderr, and exit status 1."""
    os.umask(0o077)
    logs.configure("error", as_json=not sys.stderr.isatty())
    try:
        _obey(sys.argv[1:])
    except ProductError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.")


def _obey(arguments: list[str]) -> None:
    if interpreter.only_serves(arguments):
        set_environment(Path(arguments[1]) if arguments[:1] == ["--folder"] else None)
        serve(read_settings())
    else:
        _settle()
        import cli

        commands()(cli.in_front(arguments), prog_name=cli.NAME)


def _fail(reason: str) -> None:
    from cli.terminal import printable

    print(printable(reason), file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    run()
