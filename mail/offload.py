"""Runs what blocks in a thread that nobody has to wait for. Knows no protocol.

The threads are daemons: a name server or a peer that hangs must hold up neither the event loop nor the end of the
process. What runs in one is bounded by its own deadline, and how many there are by whoever lets the work in.
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
    """What `work` returns or raises. Cancelled, it leaves the thread to end by itself and drops what comes of it."""
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
        except BaseException as raised:  # it is raised where the result is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name=f"mail-{getattr(work, '__name__', 'work')}").start()
    return await done


async def import_in_thread(*modules: str) -> None:
    """Imports the modules where that was not done before: with their libraries it takes longer than a loop may wait.

    What talks to mail servers is a fifth of all that a server loads. It is left until somebody asks for it, and then
    imported by whoever calls this first.
    """
    for module in modules:
        if module not in _LOADED:
            await in_thread(importlib.import_module, module)
            _LOADED.add(module)
