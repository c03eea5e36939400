"""Tables in a bucket: a server that speaks S3 on a socket, and what reads tables from it."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import csv, fs

from service.errors import InvalidArgumentError
from tests.training.commands import run
from training.data.sources import open_table
from training.options import Format

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint():
    """The address of a server that speaks S3, with a bucket that holds a folder of Parquet files and a CSV file."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        address = "{}:{}".format(*server.get_host_and_port())
        store = fs.S3FileSystem(
            access_key="key", secret_key="secret", region="us-east-1", scheme="http", endpoint_override=address,
            allow_bucket_creation=True,
        )  # fmt: skip
        table = pa.table({"t": list(range(120)), "level": [float(20 + t % 12) for t in range(120)]})
        store.create_dir("unroll-tables")
        for part in range(3):
            with store.open_output_stream(f"unroll-tables/wells/part-{part}.parquet") as file:
                pq.write_table(table.slice(part * 40, 40), file)
        with store.open_output_stream("unroll-tables/wells.csv") as file:
            csv.write_csv(table, file)
        yield address
    finally:
        server.stop()


@pytest.fixture
def guarded(endpoint):
    """That server, which knows no key and refuses every request."""

    def allow(requests):
        """Says how many requests the server answers without a look at their keys."""
        asked = urllib.request.Request(
            f"http://{endpoint}/moto-api/reset-auth", requests, {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(asked).close()

    allow(b"0")
    yield endpoint
    allow(b"inf")


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Keys in the environment, and no other settings of S3."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def test_a_bucket_is_trained_and_forecast_from(registry, endpoint):  # noqa: ARG001 - it must be there
    """A network learns from a folder in a bucket and forecasts from a file; URI or environment name the server."""
    options = ("--target", "level", "--time", "t", "--window", "6", "--units", "2", "--epochs", "1", "--name", "bucket")
    place = f"s3://unroll-tables/wells?scheme=http&endpoint_override={endpoint}"
    assert "registered bucket version 1" in run("train", "--data", place, *options, "--promote", "always")
    unroll, model = Path(sys.executable).with_name("unroll"), "models:/bucket@champion"
    forecast = subprocess.run(
        [unroll, "forecast", "--data", "s3://unroll-tables/wells.csv", "--model", model],
        env={**os.environ, "AWS_ENDPOINT_URL": f"http://{endpoint}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert forecast.returncode == 0, forecast.stdout + forecast.stderr
    assert re.search(r"^ *120 +\d", forecast.stdout, re.MULTILINE)  # the time after the last row


@pytest.mark.parametrize("place", ["s3://unroll-none/wells", "s3://unroll-tables/none.csv"])
def test_a_place_that_is_not_there(endpoint, place):
    """A bucket or a file that does not exist is an error of one line that names the place."""
    where = f"{place}?scheme=http&endpoint_override={endpoint}"
    with pytest.raises(InvalidArgumentError) as caught:
        open_table(where, Format())
    assert str(caught.value) == f"data: there is no file {where}"


def test_keys_that_are_not_accepted(guarded):
    """Keys that the server refuses are an error of one line that says where keys come from."""
    with pytest.raises(OSError, match=r"^data: wells cannot be read: ") as caught:
        open_table(f"s3://unroll-tables/wells?scheme=http&endpoint_override={guarded}", Format())
    assert str(caught.value).endswith(
        "; S3's credentials are read from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …)"
    )
    assert "\n" not in str(caught.value)
