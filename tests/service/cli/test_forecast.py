"""`unroll forecast`, from the registry and from a server."""

import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from registry import tag
from registry.cache import Cache
from registry.references import parse
from registry.store import Store
from service.snapshot import VersionEntry
from tests.service.support import entry, serving
from training import config, job

ROWS = 60


@pytest.fixture(scope="module")
def data(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of months, and a version that forecasts it."""
    folder = tmp_path_factory.mktemp("forecast")
    months = np.arange("2019-01", "2024-01", dtype="datetime64[M]").astype("datetime64[D]").astype(str)
    rows = [f"{month},{value:.3f}" for month, value in zip(months, np.sin(np.arange(ROWS)), strict=True)]
    (folder / "sales.csv").write_text("\n".join(["month,sold", *rows]) + "\n")
    options = {"data": str(folder / "sales.csv"), "time": "month", "target": "sold", "window": 6, "horizon": 3}
    wanted = {**options, "gaps": "keep", "units": 3, "epochs": 1, "promote": "always"}
    job.run(config.job_of(wanted), job.Listener())
    return folder


def run(*arguments, cwd):
    """What the command prints; its errors where it fails."""
    command = [sys.executable, "-m", "service.cli", "forecast", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def test_from_the_registry(data):
    """A version of the registry forecasts the months after the table, with intervals, a file and a picture."""
    arguments = ["--data", "sales.csv", "--model", "models:/sales@champion", "--cache", "cache", "--level", "50"]
    status, printed = run(*arguments, "--out", "next.parquet", "--plot", "next.png", cwd=data)
    assert status == 0, printed
    assert re.findall(r"^ (2024-\d\d-01) +\S+ +\S+ to \S+", printed, re.MULTILINE) == [
        "2024-01-01", "2024-02-01", "2024-03-01",
    ]  # fmt: skip
    written = pq.read_table(data / "next.parquet")
    assert written.column_names == ["month", "prediction", "lower_50", "upper_50"]
    assert (data / "next.png").read_bytes().startswith(b"\x89PNG")


def test_from_a_server(data):
    """A server forecasts what the registry's version does, and GetModel says what the version was trained on."""
    store = Store()
    version = store.resolve(parse("models:/sales@champion"))
    folder, digest = Cache(data / "cache").fetch(store, version)
    held = VersionEntry("1", digest, str(folder), data=version.tags[tag.DATA], engines=("numpy", "numpy"))
    with serving(entry("sales", "champion", v1=held)) as (_, client):
        layout = client.model("sales").versions[0].data
        assert (layout.target, layout.window, layout.horizon, layout.time) == ("sold", 6, 3, "month")
        given = ["--data", "sales.csv", "--address", client.address, "--level", "50"]
        status, printed = run(*given, "--model", "sales", cwd=data)
        assert status == 0, printed
        assert printed == run(*given, "--model", "models:/sales@champion", cwd=data)[1]
        assert (
            printed == run(*given[:2], *given[4:], "--model", "models:/sales@champion", "--cache", "cache", cwd=data)[1]
        )
        status, printed = run(*given, "--model", "models:/sales/7", cwd=data)
        assert (status, "does not hold models:/sales/7" in printed) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--level", "12"], "no prediction intervals at 12 %"),
        (["--level", "many"], "expected levels in percent, such as 80,95, got 'many'"),
        (["--out", "next.txt"], "expected a name that ends in .csv or .parquet"),
    ],
)
def test_errors_are_one_line(data, arguments, expected):
    """What cannot be done is said in one line, with a status that is not zero."""
    given = ["--data", "sales.csv", "--model", "models:/sales@champion", "--cache", "cache", *arguments]
    status, printed = run(*given, cwd=data)
    assert status == 1
    assert re.fullmatch(rf"unroll: .*{re.escape(expected)}.*\n", printed)


def test_from_a_server_nothing_heavy_is_imported():
    """What a forecast from a server needs is neither TensorFlow nor MLflow, nor what reads model files."""
    code = (
        "import sys, service.cli.forecast, training.forecasting, training.data.output, pandas, pyarrow.csv; "
        "print(sorted({'tensorflow', 'keras', 'mlflow', 'h5py', 'yaml', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
