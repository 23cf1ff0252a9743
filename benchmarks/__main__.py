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
        run(options)
    except Failure as failure:
        sys.exit(f"benchmark failed: {failure}")


def run(options: Options) -> None:
    """Raises Failure."""
    if shutil.which("wrk") is None:
        raise Failure("wrk is not installed (Debian: apt install wrk).")
    began = report.Began()
    cpus.take_generators()
    figures = measure(options)
    print(f"# Speed\n\n{report.render(options, began, figures)}")
    if options.write:
        report.write(options.write, options, began, figures)


if __name__ == "__main__":
    main()
