"""Runs blocking work in daemon threads.

A name server or peer that hangs must block neither the event loop nor the exit of the process. The work bounds its own
duration; the callers bound the number of threads.
"""

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_LOADED: set[str] = set()


async def in_thread(
    work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Runs `work` in a thread; returns or raises what it does. If cancelled, drops the result; the thread runs on."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work(*args, **kwargs)
        except BaseException as raised:  # raised where the result is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name=f"mail-{getattr(work, '__name__', 'work')}").start()
    return await done


async def import_in_thread(*modules: str) -> None:
    """Imports the modules once, in a thread: with their libraries they would block the event loop too long.

    The mail code is a fifth of all that a server loads, so the first request that needs it imports it.
    """
    for module in modules:
        if module not in _LOADED:
            await in_thread(importlib.import_module, module)
            _LOADED.add(module)
