"""Prints the result of a check: on a terminal, a table per protocol; into a pipe, a line for each step and fact."""

import sys
from collections.abc import Iterator

from cli.context import print_table
from cli.terminal import say
from mail.report import ServerCheck, Stage
from resolvers.check import CheckResult

COLUMN_TITLES = ("protocol", "step", "result", "ms", "code", "message", "hint")


def print_check(checked: CheckResult) -> None:
    if sys.stdout.isatty():
        for protocol, check in checked:
            say("")
            say(f"{protocol.upper()}: {'works' if check.success else 'does not work'}")
            print_table(("step", "", "ms", "what is wrong, what to do"), map(_cells, check.stages))
            for name, value in _facts(check):
                say(f"{name}: {value}")
    else:
        lines = [(protocol, *cells) for protocol, check in checked for cells in (*_steps(check), *_facts(check))]
        print_table(COLUMN_TITLES, [(*cells, *[""] * (len(COLUMN_TITLES) - len(cells))) for cells in lines])


def _steps(check: ServerCheck) -> Iterator[tuple[str, ...]]:
    for stage in check.stages:
        yield (stage.stage, "ok" if stage.success else "failed", _duration(stage), *_trouble(stage), stage.hint or "")


def _cells(stage: Stage) -> tuple[str, ...]:
    code, message = _trouble(stage)
    lines = [f"{code}: {message}" if code else "", stage.hint or ""]
    return (stage.stage, "✓" if stage.success else "✗", _duration(stage), "\n".join(filter(None, lines)))


def _trouble(stage: Stage) -> tuple[str, str]:
    return (stage.failure.kind, str(stage.failure)) if stage.failure else ("", "")


def _duration(stage: Stage) -> str:
    return f"{stage.duration_ms:.1f}"


def _facts(check: ServerCheck) -> Iterator[tuple[str, str]]:
    if found := check.certificate:
        yield "certificate", found.subject
        yield "issued by", found.issuer
        yield "names", ", ".join(found.names)
        yield "valid from", found.valid_from.isoformat(" ", "minutes")
        yield "valid until", found.expires_at.isoformat(" ", "minutes")
        yield "fingerprint", found.fingerprint
    if check.capabilities:
        yield "capabilities", " ".join(check.capabilities)
