"""What is known before any library is loaded: whether this Python can run the server, and whether that is all it does.

Imports nothing that could be missing, and is understood by versions of Python that are too old.
"""

import os
import sys
from types import TracebackType

FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as old as it may be


def explain() -> None:
    """Ends the program with one line where this Python is too old, and later where a library is missing."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is why
        sys.exit("Python 3.11 or newer is needed; this is %d.%d." % sys.version_info[:2])  # noqa: UP031
    sys.excepthook = _in_one_line


def only_serves(arguments: "list[str]") -> bool:
    """Whether the arguments ask for nothing but to serve, in a folder perhaps."""
    return arguments[2 if arguments[:1] == ["--folder"] else 0 :] in ([], ["serve"])


def _in_one_line(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    if isinstance(error, ModuleNotFoundError):
        launcher = os.path.join(FOLDER, "email-inbox")  # noqa: PTH118 - as above
        needed = "The library %s is not installed for %s" % (error.name, sys.executable)  # noqa: UP031 - as above
        print("%s: run `make install` in %s, then %s." % (needed, FOLDER, launcher), file=sys.stderr)  # noqa: T201, UP031
    else:
        sys.__excepthook__(kind, error, trace)
