"""`python -m benchmarks [NAME …]`: runs the benchmarks named, or all."""

import argparse
import importlib

from benchmarks.common import console

# Each module has a `main` without arguments, and is imported only if it runs.
BENCHMARKS = {
    "serving": "benchmarks.serving",
    "training": "benchmarks.training",
    "engines": "benchmarks.engines",
}


def main() -> None:
    """Runs them one after the other: they measure, so nothing else should."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        console.rule(name)
        importlib.import_module(BENCHMARKS[name]).main()


if __name__ == "__main__":
    main()
