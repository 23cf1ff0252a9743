"""The composition root: `create_app(settings)` and the command line."""

import gc
import sys

import interpreter

if __name__ != "server":
    interpreter.explain()
    # A start makes hardly any garbage; collecting would take a tenth of its time. See `tune_garbage_collector`.
    gc.disable()
    if interpreter.only_serves(sys.argv[1:]):
        # structlog and Alembic load these if installed, to colour tracebacks, which a server does not print.
        sys.modules |= dict.fromkeys(("pygments", "rich"))  # type: ignore[arg-type]

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

import settings as environment
from cli.greeting import greet
from edge import health, layers, logs, serving, telemetry
from edge.admission import LOAD
from edge.home import Documentation, Home, links
from edge.metrics import Metrics, shared_folder
from edge.rates import Rate
from edge.version import VERSION
from models.errors import ProductError
from resolvers.access import Authenticator
from resolvers.opening import existing_database, open_context
from resolvers.setup import Administrator, make_administrator
from rest import router
from runners.upkeep import keep_up
from schema import build_schema
from schema.http.endpoint import GraphQLEndpoint
from schema.http.page import ASSETS, Assets, load_page
from schema.http.trusted_documents import load_documents
from settings import Settings, read_settings

DOCS = Path(__file__).parent / "docs"

log = structlog.get_logger()


async def prepare(settings: Settings) -> Administrator | None:
    """Prepares the database before serving. Returns the administrator if it creates one. Raises StartError."""
    async with open_context(settings) as context:
        return await make_administrator(context.database, settings.administrator)


def create_app(settings: Settings | None = None, metrics: Metrics | None = None) -> Starlette:
    """The ASGI application, for any server that supports HTTP, WebSocket and lifespan."""
    settings = settings or read_settings()
    metrics = metrics or telemetry.make_metrics(environment.metrics_folder(), traced=environment.traces_wanted())
    rate = Rate(settings.rate_limit) if settings.rate_limit else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_context(settings, metrics) as context:
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

    app = Starlette(routes=_routes(settings, metrics, rate), lifespan=lifespan)
    app.middleware_stack = layers.wrap(
        app.router,
        metrics,
        rate=rate,
        cors_origins=settings.cors_origins,
        public_url=settings.public_url,
        own_hosts=settings.own_hosts,
        proxies=settings.proxies,
    )
    return app


def _routes(settings: Settings, metrics: Metrics, rate: Rate | None) -> list[BaseRoute]:
    page = load_page() if settings.graphiql else None
    schema = build_schema(introspection=settings.introspection)
    graphql = GraphQLEndpoint(schema, page, load_documents(settings.trusted_documents), rate)
    routes: list[BaseRoute] = [
        Route("/graphql", graphql),
        WebSocketRoute("/graphql", graphql),
        Mount("/api/v1", router),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
        Route("/metrics", metrics.page(environment.secret(settings.metrics_token))),
        Route("/", Home(links(graphiql=settings.graphiql, documented=DOCS.is_dir())).answer),
    ]
    if page and page.bundled:
        routes.append(Mount(ASSETS, Assets()))
    if DOCS.is_dir():
        routes.append(Mount("/docs", Documentation(DOCS)))
    return routes


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests in progress. Raises StartError."""
    serving.exit_on_signals()
    configure_logs(settings)
    for name in environment.unknown_settings():
        log.warning("unknown setting", name=name)
    load_documents(settings.trusted_documents)
    sockets = serving.bind_sockets(settings.host, settings.port)
    administrator = asyncio.run(prepare(settings))
    if settings.own_hosts is None and "*" not in settings.hosts:
        log.warning("every Host is accepted", fix="set EMAIL_INBOX_PUBLIC_URL")
    given = settings.admin_token is not None
    greet(settings.host, settings.port, administrator, graphiql=settings.graphiql, token_was_given=given)
    if settings.workers == 1:
        serving.serve_here(create_app(settings), sockets)
        return
    with shared_folder() as folder:
        os.environ[environment.SHARED_METRICS] = str(folder)
        serving.serve_by_workers("server:create_worker", settings.workers, sockets, folder)


def create_worker() -> Starlette:
    """The application of one worker process. Configures logging, which a new process does not inherit."""
    settings = read_settings()
    configure_logs(settings)
    app = create_app(settings)
    serving.tune_garbage_collector()
    return app


def configure_logs(settings: Settings) -> None:
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    logs.configure(settings.log_level, *telemetry.log_processors(traced=environment.traces_wanted()), as_json=as_json)


def commands() -> Any:
    """The commands, as a `typer.Typer`. Plain serving skips them, and the import of their libraries."""
    from cli.program import Options, ServerActions, program

    options = Options()

    def settings() -> Settings:
        environment.set_environment(options.folder, options.env_files, options.environment)
        return read_settings()

    server = ServerActions(
        settings=settings,
        open_context=lambda *, makes=False: open_context(settings(), makes=makes),
        database=lambda: asyncio.run(existing_database(settings())),
        serve=lambda: serve(settings()),
        schema=lambda: build_schema().as_str(),
        version=VERSION,
    )
    return program(options, server)


def run() -> None:
    """Runs the command line. Prints an error as one line on stderr, and exits with status 1."""
    os.umask(0o077)
    logs.configure("error", as_json=not sys.stderr.isatty())
    try:
        _run(sys.argv[1:])
    except ProductError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.")


def _run(arguments: list[str]) -> None:
    if interpreter.only_serves(arguments):
        environment.set_environment(Path(arguments[1]) if arguments[:1] == ["--folder"] else None)
        serve(read_settings())
    else:
        serving.tune_garbage_collector()
        from cli.program import PROGRAM_NAME, in_front

        commands()(in_front(arguments), prog_name=PROGRAM_NAME)


def _fail(reason: str) -> None:
    from cli.terminal import printable

    print(printable(reason), file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    run()
