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
from cli.start import run_or_exit
from edge import health, layers, logs, serving, telemetry
from edge.admission import LOAD, Load
from edge.answers import Faults
from edge.home import Documentation, Home, Link
from edge.metrics import Metrics, shared_folder
from edge.rates import Rate
from edge.version import VERSION
from resolvers.access import Authenticator
from resolvers.opening import existing_database, open_context
from resolvers.setup import Administrator, make_administrator
from rest import router
from rest.problems import rest_fault
from runners.upkeep import keep_up
from schema import build_schema
from schema.http.endpoint import GRAPHQL_PATH, GraphQLEndpoint
from schema.http.page import ASSETS, Assets, load_page
from schema.http.result import graphql_fault
from schema.http.trusted_documents import load_documents
from settings import Settings, read_settings

DOCS = Path(__file__).parent / "docs"

log = structlog.get_logger()


async def prepare(settings: Settings) -> Administrator | None:
    """Prepares the database before serving. Returns the administrator if it creates one. Raises StartError."""
    async with open_context(settings) as context:
        return await make_administrator(context.database, settings.administrator)


def create_app(settings: Settings | None = None, metrics: Metrics | None = None) -> Starlette:
    """The ASGI application, for any server that supports HTTP, WebSocket and lifespan with its state."""
    settings = settings or read_settings()
    metrics = metrics or telemetry.make_metrics(environment.metrics_folder(), traced=environment.traces_wanted())
    rate = Rate(settings.rate_limit) if settings.rate_limit else None
    faults = Faults(rest_fault, {GRAPHQL_PATH: graphql_fault})
    load = Load(faults, metrics)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with open_context(settings, metrics) as context:
            authenticator = Authenticator(context.database, context.throttle)
            app.state.context, app.state.authenticator = context, authenticator
            app.state.readiness = health.Readiness(context.database)
            await context.events.start()
            upkeep = asyncio.create_task(keep_up(context, authenticator))
            try:
                yield {LOAD: load}
            finally:
                upkeep.cancel()
                await asyncio.gather(upkeep, metrics.close(), return_exceptions=True)
                await context.events.stop()

    app = Starlette(routes=_routes(settings, metrics, rate, load), lifespan=lifespan)
    app.state.load = load
    app.middleware_stack = layers.wrap(app.router, metrics, faults, load, rate, settings)
    return app


def _routes(settings: Settings, metrics: Metrics, rate: Rate | None, load: Load) -> list[BaseRoute]:
    page = load_page() if settings.graphiql else None
    schema = build_schema(introspection=settings.introspection)
    graphql = GraphQLEndpoint(schema, page, load_documents(settings.trusted_documents), rate, load)
    routes: list[BaseRoute] = [
        Route(GRAPHQL_PATH, graphql),
        WebSocketRoute(GRAPHQL_PATH, graphql),
        Mount("/api/v1", router),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
        Route("/metrics", metrics.page(environment.secret(settings.metrics_token))),
        Route("/", Home(_links(settings)).answer),
    ]
    if page and page.bundled:
        routes.append(Mount(ASSETS, Assets()))
    if DOCS.is_dir():
        routes.append(Mount("/docs", Documentation(DOCS)))
    return routes


def _links(settings: Settings) -> list[Link]:
    """Where the page at `/` leads."""
    title = "GraphiQL: the GraphQL API in the browser" if settings.graphiql else "The GraphQL API"
    pages = {"graphql": "How to use the GraphQL API", "rest": "How to use the REST API", "mail": "Mail servers"}
    return [
        Link("graphql", title, GRAPHQL_PATH),
        Link("openapi", "The REST API, as OpenAPI", "/api/v1/openapi.json"),
        Link("health", "Whether the server is ready", "/health/ready"),
        *(Link(f"docs/{page}.md", title, f"/docs/{page}.md") for page, title in pages.items() if DOCS.is_dir()),
    ]


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
    run_or_exit(lambda: _run(sys.argv[1:]))


def _run(arguments: list[str]) -> None:
    if interpreter.only_serves(arguments):
        environment.set_environment(Path(arguments[1]) if arguments[:1] == ["--folder"] else None)
        serve(read_settings())
    else:
        serving.tune_garbage_collector()
        from cli.program import PROGRAM_NAME, in_front

        commands()(in_front(arguments), prog_name=PROGRAM_NAME)


if __name__ == "__main__":
    run()
