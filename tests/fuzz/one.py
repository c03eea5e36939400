"""`python -m tests.fuzz.one TARGET FOLDER [FLAG …]`: libFuzzer, by way of atheris, from the inputs in FOLDER/TARGET.

With a file in place of the folder: that one input.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["service.model", "service.convert", "service.errors"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Returns after one input. Else libFuzzer ends the process: when the runs are over, or a fault was found."""
    _, name, given, *flags = sys.argv
    target, path = TARGETS[name], Path(tempfile.mkdtemp(prefix="unroll-fuzz-")) / "model.keras"
    if Path(given).is_file():
        print("read" if target.run(path, Path(given).read_bytes()) else "refused")
        return
    corpus = Path(given) / name

    def run(data: bytes) -> None:
        target.run(path, data)

    mutate = target.mutate
    own = {"custom_mutator": lambda data, most, seed: mutate(bytes(data), most, seed)} if mutate else {}
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={given}/{name}-fault-", *flags], run, **own)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
