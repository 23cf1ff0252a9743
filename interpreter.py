"""Checks the Python version and the arguments before any library is loaded.

Imports only the standard library, and also runs on versions of Python that are too old for the server.
"""

import os
import sys
from types import TracebackType

FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - runs on any old Python


def explain() -> None:
    """Exits with one line if this Python is too old. Makes a missing library end the program with one line, too."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the reason for this check
        sys.exit("Python 3.11 or newer is needed; this is %d.%d." % sys.version_info[:2])  # noqa: UP031
    sys.excepthook = _print_one_line


def only_serves(arguments: "list[str]") -> bool:
    """Whether the arguments are those of plain serving, with or without `--folder`."""
    return arguments[2 if arguments[:1] == ["--folder"] else 0 :] in ([], ["serve"])


def _print_one_line(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    if isinstance(error, ModuleNotFoundError):
        launcher = os.path.join(FOLDER, "email-inbox")  # noqa: PTH118 - as above
        needed = "The library %s is not installed for %s" % (error.name, sys.executable)  # noqa: UP031 - as above
        print("%s: run `make install` in %s, then %s." % (needed, FOLDER, launcher), file=sys.stderr)  # noqa: T201, UP031
    else:
        sys.__excepthook__(kind, error, trace)
