"""Ends the program with one line where it can't start. Knows no command."""

import sys
from collections.abc import Callable

from models.errors import ProductError


def run_or_exit(work: Callable[[], None]) -> None:
    """Does the work; what keeps the program from it is one line on stderr, and exit status 1."""
    try:
        work()
    except ProductError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.")


def _fail(reason: str) -> None:
    from cli.terminal import printable

    print(printable(reason), file=sys.stderr)  # noqa: T201 - as in `cli/greeting.py`
    sys.exit(1)
