"""`unroll forecast`, from the registry and from a server."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from registry import tag
from registry.cache import Cache
from registry.references import parse
from registry.store import Store
from service.errors import NotFoundError
from service.snapshot import VersionEntry
from tests.service.support import entry, serving, show
from tests.training import commands
from training import config, job, scoring

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


@pytest.fixture(scope="module")
def adaptive(data):
    """A version with adaptive intervals, of two places that are loud in different measure; what the job gave."""
    months = np.arange("2010-01", "2022-01", dtype="datetime64[M]").astype("datetime64[D]").astype(str)
    noise = np.random.default_rng(0).normal(size=(2, len(months))) * [[1], [9]]
    rows = [
        f"{m},{place},{v:.3f}" for place, own in zip("ab", noise, strict=True) for m, v in zip(months, own, strict=True)
    ]
    (data / "places.csv").write_text("\n".join(["month,place,sold", *rows]) + "\n")
    (data / "short.csv").write_text("\n".join(["month,place,sold", *rows[:144], *rows[-9:]]) + "\n")
    wanted = {"data": str(data / "places.csv"), "time": "month", "group": "place", "target": "sold", "window": 4}
    wanted |= {"horizon": 3, "gaps": "keep", "units": 3, "epochs": 1, "promote": "always", "conformal": "adaptive"}
    return job.run(config.job_of(wanted), job.Listener())


def run(*arguments, cwd):
    """What the command prints; its errors where it fails."""
    command = [sys.executable, "-m", "service.cli", "forecast", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def legends(picture):
    """How the bands of each panel are called in an SVG picture, whose texts also stand in comments."""
    return re.findall(r"<!-- (80 %.*?) -->", picture.read_text())


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

    def load(_model, number):
        if number != "2":
            raise NotFoundError(f"model: sales has no version {number}", field="model")
        show(host, entry("sales", "champion", v1=held, v2=held))

    with serving(entry("sales", "champion", v1=held), load=load) as (host, client):
        layout = client.model("sales").versions[0].data
        assert (layout.target, layout.window, layout.horizon, layout.time) == ("sold", 6, 3, "month")
        given = ["--data", "sales.csv", "--address", client.address, "--level", "50"]
        status, printed = run(*given, "--model", "sales", cwd=data)
        assert status == 0, printed
        assert printed == run(*given, "--model", "models:/sales@champion", cwd=data)[1]
        assert (
            printed == run(*given[:2], *given[4:], "--model", "models:/sales@champion", "--cache", "cache", cwd=data)[1]
        )
        status, loaded = run(*given, "--model", "models:/sales/2", cwd=data)  # which is not in memory yet
        assert status == 0, loaded
        assert re.findall(r"2024.*", loaded) == re.findall(r"2024.*", printed)
        status, printed = run(*given, "--model", "models:/sales/7", cwd=data)
        assert (status, "sales has no version 7" in printed) == (1, True)


def test_adaptive_intervals(data, adaptive):
    """Intervals follow the last errors of each series, from registry and server alike; those of short series do not."""
    store = Store()
    version = store.resolve(parse("models:/places@champion"))
    folder, digest = Cache(data / "cache").fetch(store, version)
    covered = adaptive.measured.adaptive_coverage
    assert version.tags[f"{tag.ADAPTIVE_COVERAGE}.80"] == f"{covered[80]:.4f}"
    assert adaptive.measured.as_metrics()["held_out_adaptive_coverage_80"] == covered[80]

    loaded = scoring.load("models:/places@champion", data / "cache")
    scaled = loaded.intervals.adaptive
    rows = pd.read_csv(data / "places.csv")
    expected = {}
    for place, one in rows.groupby("place"):
        values = one["sold"].to_numpy(np.float32)
        ends = np.arange(
            len(values) - 3 - scaled.forecasts + 1, len(values) - 3 + 1
        )  # targets of the last end with the file
        windows = np.stack([values[end - 4 : end, None] for end in ends])
        predicted = loaded.network.forward({loaded.network.inputs[0].name: windows}).outputs
        (predicted,) = predicted.values()
        wanted = np.stack([values[end : end + 3] for end in ends])
        expected[place] = 2 * scaled.quantiles[80] * max(np.abs(predicted - wanted).mean(), float(scaled.floor))

    given = ["--level", "80", "--model", "models:/places@champion"]
    local = ["--cache", data / "cache", "--out", data / "next.parquet", "--plot", data / "places.svg"]
    printed = commands.run("forecast", "--data", data / "places.csv", *given, *local)
    assert "intervals: scaled by the mean absolute error of the last 12 forecasts" in printed
    written = pq.read_table(data / "next.parquet").to_pandas()
    for place, widths in expected.items():
        found = written[written["place"] == place]
        assert np.allclose(found["upper_80"] - found["lower_80"], widths, rtol=1e-4)
    assert legends(data / "places.svg") == ["80 %, adaptive", "80 %, adaptive"]
    short = commands.run("forecast", "--data", data / "short.csv", *given, *local)
    assert legends(data / "places.svg") == ["80 %, adaptive", "80 %"]
    assert "intervals of 'b': plain widths, not scaled by the recent error" in short

    held = VersionEntry("1", digest, str(folder), data=version.tags[tag.DATA], engines=("numpy", "numpy"))
    with serving(entry("places", "champion", v1=held)) as (_, client):
        for file, expected in (("places.csv", printed), ("short.csv", short)):
            asked = commands.run("forecast", "--data", data / file, *given, "--address", client.address)
            assert expected.startswith(asked)  # and says where the file is


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
