"""The command line: measures, prints the report, and exits with 1 where an answer was wrong."""

import shutil
import sys

from benchmarks import cpus, report
from benchmarks.failure import Failure
from benchmarks.measure import measure
from benchmarks.options import Options, parse


def main() -> None:
    options = parse()
    try:
        text = run(options)
    except Failure as failure:
        sys.exit(f"benchmark failed: {failure}")
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


def run(options: Options) -> str:
    """The report. Raises Failure."""
    if shutil.which("wrk") is None:
        raise Failure("wrk is not installed (Debian: apt install wrk).")
    began = report.Began()
    cpus.take_generators()
    return report.render(options, began, measure(options))


if __name__ == "__main__":
    main()
