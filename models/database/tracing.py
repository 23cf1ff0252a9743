"""Reports the text of every statement, which contains no values, to an observer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.engine import ExecutionContext

from models.observer import Observer

_ENDED = "statement_ended"


@contextmanager
def traced(observer: Observer, system: str, text: str) -> Iterator[None]:
    """Reports the statement that the block sends; `system` is the kind of database."""
    end = observer.statement(system, text)
    try:
        yield
    except BaseException as error:
        end(error)
        raise
    end(None)


def follow(engine: Engine, observer: Observer) -> None:
    """Reports the statements of the engine. Never their parameters, which contain user input."""

    def began(
        _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: ExecutionContext, _many: bool
    ) -> None:
        setattr(context, _ENDED, observer.statement(engine.dialect.name, statement))

    def ended(
        _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: ExecutionContext, _many: bool
    ) -> None:
        _end(context, None)

    def failed(context: ExceptionContext) -> None:
        _end(context.execution_context, context.original_exception)

    event.listen(engine, "before_cursor_execute", began)
    event.listen(engine, "after_cursor_execute", ended)
    event.listen(engine, "handle_error", failed)


def _end(context: ExecutionContext | None, error: BaseException | None) -> None:
    if context and (end := context.__dict__.pop(_ENDED, None)):
        end(error)
