"""Tells an observer of every statement that is sent: its text, which holds no values. Knows no table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.engine import ExecutionContext

from models.observer import Observer

_ENDED = "statement_ended"


@contextmanager
def traced(observer: Observer, system: str, text: str) -> Iterator[None]:
    """The block sends this statement to a database of this kind."""
    end = observer.statement(system, text)
    try:
        yield
    except BaseException as error:
        end(error)
        raise
    end(None)


def follow(engine: Engine, observer: Observer) -> None:
    """Tells of what goes through the engine. Its parameters are told to nobody: they hold what was typed."""

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
