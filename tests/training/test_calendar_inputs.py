"""Calendar features, from training to the forecast, in the time zone of the table."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unroll
from registry import tag
from registry.cache import Cache
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.snapshot import VersionEntry
from tests.service.support import entry, serving
from tests.training.commands import run
from tests.training.data.tables import numbers, write
from training import config, job, scoring
from training.data.examples import load
from training.data.layout import Layout
from training.options import Source

OPTIONS = {"time": "hour", "target": "load", "window": 5, "horizon": 2, "units": 3, "epochs": 1, "promote": "always"}


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of hours in Berlin, across the change to summer time, and a version trained on it."""
    folder = tmp_path_factory.mktemp("hours")
    hours = pd.date_range("2024-03-25", periods=160, freq="h", tz="Europe/Berlin")
    load_ = np.sin(2 * np.pi * hours.hour / 24) + 0.1 * np.array(numbers(160))
    moments = pa.array(hours.tz_convert(None).to_numpy(), pa.timestamp("us", tz="Europe/Berlin"))
    pq.write_table(pa.table({"hour": moments, "load": load_}), folder / "power.parquet")
    wanted = {"data": str(folder / "power.parquet"), "calendar": "hour,weekday", **OPTIONS}
    job.run(config.job_of(wanted), job.Listener())
    return folder


def test_the_layout_names_what_is_computed(folder):
    """The features of the layout are those of the input; it says which are computed, and in which zone."""
    version = Store().resolve(parse("models:/power@champion"))
    layout = Layout.loads(version.tags[tag.DATA])
    assert layout.features == ("load", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    assert (layout.columns, layout.calendar, layout.zone) == (("load",), ("hour", "weekday"), "Europe/Berlin")
    assert (folder / "power.parquet").exists()


def test_clients_scores_and_forecasts_compute_the_same(folder):
    """Features that a client computes of local times give the prediction of the score and of both forecasts."""
    store = Store()
    version = store.resolve(parse("models:/power@champion"))
    path, digest = Cache(folder / "cache").fetch(store, version)
    scoring.score(
        scoring.load("models:/power@champion", folder / "cache"), folder / "power.parquet", folder / "s.parquet",
        lambda *_: None,
    )  # fmt: skip
    scored = pq.read_table(folder / "s.parquet").to_pandas()
    table = pq.read_table(folder / "power.parquet").to_pandas().iloc[-5:]
    held = VersionEntry("1", digest, str(path), data=version.tags[tag.DATA], engines=("numpy", "numpy"))
    with serving(entry("power", "champion", v1=held)) as (_, client):
        layout = client.model("power").versions[0].data
        local = table["hour"].dt.tz_convert(layout.zone).dt.tz_localize(None).to_numpy()
        window = np.column_stack([table["load"], unroll.calendar_features(local, layout.calendar)])
        (own,) = client.predict(window[None], model="power").output
        given = ["--data", folder / "power.parquet", "--model", "models:/power@champion", "--out", folder / "f.csv"]
        made = []
        for more in (["--address", client.address], ["--cache", folder / "cache"]):
            run("forecast", *given, *more)
            made.append(pd.read_csv(folder / "f.csv")["prediction"])
    for found in (scored[["prediction_1", "prediction_2"]].iloc[-1], *made):
        np.testing.assert_allclose(found, own, rtol=1e-6)


def test_each_time_has_its_own_features(folder):
    """What stands beside a value is the position of its own local time, also where clocks change."""
    source = Source(str(folder / "power.parquet"), target=("load",), time="hour", calendar=("hour",), window=5)
    values = load(source, lambda *_: None, lambda _: None).parts.train.values
    hours = pd.date_range("2024-03-25", periods=160, freq="h", tz="Europe/Berlin").hour
    np.testing.assert_allclose(np.arctan2(values[:, 1], values[:, 2]) % (2 * np.pi), hours / 24 * 2 * np.pi, atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"calendar": ("moon",), "time": "t"}, "calendar: expected month, dayofyear, day, weekday, hour; got"),
        ({}, {"calendar": ("month",)}, "calendar: name the column of times with --time"),
        ({}, {"calendar": ("month", "month"), "time": "t"}, "calendar: 'month' is named twice"),
        ({}, {"calendar": ("hour",), "time": "t"}, "calendar: hour is the same at all times in the part to train on"),
        ({"t": range(90)}, {"calendar": ("month",), "time": "t"}, "calendar: the times are numbers; expected dates"),
        ({"month_sin": numbers(90)}, {"calendar": ("month",), "time": "t"}, "calendar: the table has a column"),
    ],
)
def test_mistakes_are_one_line(tmp_path, columns, options, message):
    """What cannot be computed of the times is refused in one line."""
    days = np.arange("2024-01-01", "2024-03-31", dtype="datetime64[D]").astype(str)
    path = write(tmp_path / "d.csv", **{"t": days, "y": numbers(90), **columns})
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(path, target=("y",), window=3, **options), lambda *_: None, lambda _: None)
    assert caught.value.message.startswith(message)
