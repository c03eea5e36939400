"""Damaged and malformed files by the thousand: the reader gives a network or a typed error, never anything else."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.data.hostile import build
from tests.fuzz import targets

ROOT = Path(targets.__file__).parents[2]
QUICK = settings(
    max_examples=250, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
by_coverage = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this platform")

QUICK_TARGETS = [name for name in targets.TARGETS if not name.startswith("old-")]  # conversions take longer

JSON = st.recursive(
    st.one_of(st.sampled_from(targets.VALUES), st.integers(-3, 9), st.text(max_size=4)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["class_name", "config", "name", "layers"]), inner)
    ),
    max_leaves=6,
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "remove", "copy"]), st.integers(0, 9999), st.integers(0, 9999), JSON
    ),
    min_size=1, max_size=4,
)  # fmt: skip
BYTES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])),
        st.integers(1, 8),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def damaged(data, edits):
    """Bytes with some runs overwritten."""
    data = bytearray(data)
    for where, value, length in edits:
        start = int(where * len(data))
        data[start : start + length] = bytes([value]) * len(data[start : start + length])
    return bytes(data)


@pytest.fixture(scope="module")
def base():
    """A rich config, and its weights."""
    return targets.rich(), targets.fitting_weights(targets.rich())


def check_config(path, base, edits):
    """A config with places changed."""
    build.write(path, targets.edited(base[0], edits), base[1])
    targets.attempt(path)


def check_weights(path, base, edits):
    """An H5 file with bytes changed, in a zip that is whole."""
    build.write(path, base[0], damaged(base[1], edits))
    targets.attempt(path)


def check_zip(path, base, edits):
    """A zip with bytes changed."""
    buffer = io.BytesIO()
    build.write(buffer, base[0], base[1], compress=zipfile.ZIP_DEFLATED)
    path.write_bytes(damaged(buffer.getvalue(), edits))
    targets.attempt(path)


def test_the_rich_file_is_read(base, tmp_path):
    """What the fuzz starts from is itself accepted, and computes."""
    build.write(tmp_path / "m.keras", *base)
    assert targets.attempt(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("check", "edits"),
    [(check_config, EDITS), (check_weights, BYTES), (check_zip, BYTES)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fuzzed_files_give_typed_errors(base, tmp_path, check, edits):
    """Some hundred files changed at random are read, or refused with a typed error."""
    QUICK(given(changes=edits)(lambda changes: check(tmp_path / "m.keras", base, changes)))()


@pytest.mark.parametrize("name", ["old-h5", "old-config"])
def test_fuzzed_old_files_give_typed_errors(tmp_path, name):
    """Files that are converted, changed as the fuzzer changes them, are converted or refused with a typed error."""
    target = targets.TARGETS[name]
    seeds = target.seeds(tmp_path)
    for number in range(30):
        data = target.mutate(seeds[number % len(seeds)], 1 << 16, number)
        target.run(tmp_path / "m.h5", data)


@by_coverage
def test_fuzzing_by_coverage(tmp_path):
    """`make fuzz` begins with files that reach all of the reader, goes on from what reached more, and finds nothing."""
    command = [sys.executable, "-m", "tests.fuzz", *QUICK_TARGETS, "--runs=200", f"--folder={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in QUICK_TARGETS:
        assert "DONE" in (tmp_path / f"{name}.log").read_text()
    assert len(list((tmp_path / "config").iterdir())) > len(targets.LAYERS)


def test_networks_of_chance_beside_keras(tmp_path):
    """Networks of layers, options and types by chance give what Keras gives, where Keras takes them."""
    command = [sys.executable, "-m", "tests.fuzz.oracle", "--networks=60", f"--folder={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    equal = re.search(r"equal: (\d+)", done.stdout)
    assert equal
    assert int(equal.group(1)) > 20


PLANTED = """
import sys
from tests.fuzz import one, targets
read = targets.keras_file.read
def planted(path):
    network = read(path)
    return network if len(network.layers) == 2 else {}[0]
targets.keras_file.read = planted
sys.argv = ["one", "config", sys.argv[1], "-runs=20000", "-seed=1", "-rss_limit_mb=4096"]
one.main()
"""


@by_coverage
def test_a_fault_is_found(tmp_path):
    """An error that is not a typed one ends the fuzz, and the input that showed it is kept."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "seed").write_text(json.dumps(build.harmless()))
    done = subprocess.run(
        [sys.executable, "-c", PLANTED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # with the seed above: the same inputs each time
    )  # fmt: skip
    assert done.returncode != 0
    assert "KeyError: 0" in done.stderr + done.stdout
    assert list(tmp_path.glob("config-fault-crash-*"))
