"""No file can hurt the server: each hostile one ends in a typed error, quickly, in bounded memory, with nothing run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import CorruptModelError, ProofError
from service.model import keras_file, proof
from tests.data.hostile import build

DIRECTORY = Path(build.__file__).parent
READ_ALL = """
import json, resource, sys, time
from service.errors import LimitExceededError, ModelError
from service.errors import CorruptModelError, ProofError
from service.model import keras_file, proof
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
keras_file.read(sys.argv[1])
modules = set(sys.modules)
for path in sys.argv[2:]:
    before, start = peak(), time.process_time()
    try:
        keras_file.read(path)
        kind, message = "nothing", ""
    except (ModelError, LimitExceededError) as error:
        kind, message = type(error).__name__, error.message
    except BaseException as error:
        kind, message = "untyped " + type(error).__name__, str(error)
    print(json.dumps([kind, message, time.process_time() - start, peak() - before]))
print(json.dumps(sorted(set(sys.modules) - modules)))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """All hostile files."""
    return build.build_all(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def results(files, tmp_path_factory):
    """What reading each of them gave, in a process of its own; and which modules that imported."""
    good = tmp_path_factory.mktemp("good") / "good.keras"
    build.write(good)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(good), *map(str, files.values())],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(files, lines[:-1], strict=True)), lines[-1]


def test_the_harmless_file_is_read(tmp_path):
    """What the hostile files are made from is itself accepted, so that each is refused for the one thing changed."""
    build.write(tmp_path / "good.keras")
    assert keras_file.read(tmp_path / "good.keras").parameter_count == 33


@pytest.mark.parametrize("name", build.FILES)
def test_a_hostile_file_is_refused(results, name):
    """A typed error, less than a second of computing, less than 64 MiB more memory, a message fit for a log."""
    kind, message, seconds, growth = results[0][name]
    assert kind in {"CorruptModelError", "UnsupportedModelError", "LimitExceededError"}, message
    assert seconds < 1
    assert growth < 64 << 20
    assert message.isprintable()
    assert len(message) < 500


def test_nothing_is_imported(results):
    """Reading hostile files imports no module that reading a good one did not."""
    assert results[1] == []


def test_the_readme_has_a_line_for_each():
    """README.md names every file, and none that does not exist."""
    named = re.findall(r"^\| `(\w+)` \|", (DIRECTORY / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(build.FILES)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    """A path that is no file is a typed error at once, not a wait for a writer; so it is for a proof."""
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(CorruptModelError, match="not a regular file"):
        keras_file.read(tmp_path / "pipe.keras")
    with pytest.raises(ProofError, match="not a regular file"):
        proof.load(tmp_path / "pipe.keras")
    with pytest.raises(CorruptModelError, match="not a regular file"):
        keras_file.read("/dev/zero")
