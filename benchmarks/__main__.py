"""`python -m benchmarks [NAME …]`: runs the named benchmarks, or all of them, one after the other."""

import argparse
import subprocess
import sys

from benchmarks.common import ROOT, console, environment, python

BENCHMARKS = {
    "serving": "benchmarks.serving",
    "connections": "benchmarks.connections",
    "beside": "benchmarks.beside",
    "attacks": "benchmarks.attacks",
    "drain": "benchmarks.drain",
    "observing": "benchmarks.observing",
    "overload": "benchmarks.overload",
    "batching": "benchmarks.batching",
    "training": "benchmarks.training",
    "long": "benchmarks.long_table",
    "engines": "benchmarks.engines",
    "insight": "benchmarks.insight",
    "many": "benchmarks.many",
    "page": "benchmarks.page",
}


def main() -> None:
    """Runs each as a process of its own, so that none finds what another imported or where it was put."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    failed = []
    for name in names or BENCHMARKS:
        console.rule(name)
        if subprocess.run(python("-m", BENCHMARKS[name]), env=environment(), cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
