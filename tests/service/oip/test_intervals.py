"""Prediction intervals over the wire, in our protocol and in the standard one."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import tritonclient.grpc as triton

from service.errors import InvalidArgumentError, NotReadyError
from service.model.intervals import FILE, Adaptive, Intervals, IntervalsError
from service.serving.loaded import load_version
from tests.service.oip.standard import tensor
from tests.service.support import R3_INPUTS, entry, serving

HALF = {80.0: np.array([0.5], np.float32), 95.0: np.array([1.25], np.float32)}

SCALED = Adaptive({80.0: np.array([2.0], np.float32)}, 30, 12, np.array(0.25))


@pytest.fixture(scope="module")
def forecaster(versions, tmp_path_factory):
    """A version like the reference network, with prediction intervals."""
    folder = tmp_path_factory.mktemp("forecaster") / "version"
    shutil.copytree(versions["r3-1"].directory, folder)
    Intervals(HALF, 100).save(folder / FILE)
    return dataclasses.replace(versions["r3-1"], directory=str(folder))


@pytest.fixture(scope="module")
def client(forecaster, versions, tmp_path_factory):
    """A client of a server with that version, one with adaptive intervals, and one without intervals."""
    folder = tmp_path_factory.mktemp("adaptive") / "version"
    shutil.copytree(forecaster.directory, folder)
    Intervals(HALF, 100, SCALED).save(folder / FILE)
    with serving(
        entry("forecaster", "champion", v1=forecaster),
        entry("adaptive", "champion", v1=dataclasses.replace(forecaster, directory=str(folder))),
        entry("plain", "champion", v1=versions["r3-1"]),
    ) as (_, client):
        yield client


def test_intervals_around_a_prediction(client):
    """Each requested level comes with its ends around the same prediction that there is without them."""
    plain = client.predict(R3_INPUTS, model="forecaster")
    found = client.predict(R3_INPUTS, model="forecaster", levels=[95, 80])
    assert np.allclose(found.output, plain.output, rtol=0, atol=1e-5)
    assert list(found.intervals) == [95, 80]
    for level, (lower, upper) in found.intervals.items():
        assert np.array_equal(lower, found.output - HALF[level])
        assert np.array_equal(upper, found.output + HALF[level])
    assert plain.intervals == {}


def test_the_levels_of_a_version_are_listed(client):
    """GetModel lists the levels at which a version has intervals; of one that has none, nothing."""
    assert list(client.model("forecaster").versions[0].interval_levels) == [80, 95]
    assert list(client.model("plain").versions[0].interval_levels) == []


def test_recent_errors_scale_the_intervals_of_a_request(client):
    """Adaptive intervals are as wide as the recent error of each sequence asks for, and plain without it."""
    recent = [0.5, 4.0, 0.001]
    found = client.predict(R3_INPUTS, model="adaptive", levels=[80], recent_errors=recent)
    lower, upper = found.intervals[80]
    assert np.allclose((upper - lower)[:, 0], [2, 16, 1], rtol=1e-5)  # the floor of the last is 0.25
    lower, upper = client.predict(R3_INPUTS, model="adaptive", levels=[80]).intervals[80]
    assert np.allclose(upper - lower, 1, rtol=1e-5)
    shown = client.model("adaptive").versions[0].adaptive_intervals
    assert (shown.forecasts, list(shown.levels)) == (12, [80])
    assert not client.model("forecaster").versions[0].HasField("adaptive_intervals")


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("adaptive", {"recent_errors": [1, 1, 1]}, "only together with levels"),
        ("adaptive", {"levels": [80], "recent_errors": [1, 1]}, "expected 3 numbers, one for each sequence; got 2"),
        ("adaptive", {"levels": [80], "recent_errors": [1, 0, 1]}, r"recent_errors\[1\]: expected a positive finite"),
        ("adaptive", {"levels": [80], "recent_errors": [1, 1, math.inf]}, r"recent_errors\[2\].*got inf"),
        ("adaptive", {"levels": [95], "recent_errors": [1, 1, 1]}, "no adaptive intervals at 95 %; there are at 80"),
        ("forecaster", {"levels": [80], "recent_errors": [1, 1, 1]}, "forecaster version 1 are not adaptive"),
    ],
)
def test_recent_errors_that_make_no_sense(client, model, options, expected):
    """Recent errors that are too few, not positive, or of no use to the version, are refused in one sentence."""
    with pytest.raises((InvalidArgumentError, NotReadyError), match=expected):
        client.predict(R3_INPUTS, model=model, **options)


def test_intervals_as_further_outputs(client):
    """The standard protocol's parameter `levels` adds the ends as outputs next to the output itself."""
    with triton.InferenceServerClient(client.address) as standard:
        answer = standard.infer("adaptive", [tensor("x", R3_INPUTS)], parameters={"levels": "80,95"})
        predicted = answer.as_numpy("output")
        for level, half in HALF.items():
            assert np.array_equal(answer.as_numpy(f"output_lower_{level:g}"), predicted - half)
            assert np.array_equal(answer.as_numpy(f"output_upper_{level:g}"), predicted + half)
        one = standard.infer("forecaster", [tensor("x", R3_INPUTS[:1])], parameters={"levels": "80"})
        assert one.as_numpy("output_upper_80").shape == (1, 1)
        with pytest.raises(triton.InferenceServerException, match="expected levels in percent as text"):
            standard.infer("forecaster", [tensor("x", R3_INPUTS)], parameters={"levels": "many"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"levels": [42]}, "no prediction intervals at 42 %; there are at 80, 95"),
        ({"levels": [float("nan")]}, "no prediction intervals at nan %"),
        ({"levels": [80] * 17}, "expected at most 16, got 17"),
        (
            {"levels": [80], "initial_state": {"simpleRNN/hidden_state": np.zeros((3, 4), np.float32)}},
            "not together with",
        ),
    ],
    ids=["level", "nan", "many", "state"],
)
def test_requests_that_intervals_do_not_hold_for(client, options, expected):
    """A level that there is not, or a network that is not as it was trained, is refused with what holds."""
    with pytest.raises(InvalidArgumentError, match=expected) as refused:
        client.predict(R3_INPUTS, model="forecaster", **options)
    assert refused.value.field == "levels"


def test_sequences_of_another_length(client):
    """Sequences of another length than those that intervals were measured with have none."""
    with pytest.raises(InvalidArgumentError, match=r"sequences of 3 timesteps.*got 2"):
        client.predict(R3_INPUTS[:, :2], model="forecaster", levels=[80])


def test_a_version_without_intervals(client):
    """A version without intervals says so, and which versions have them."""
    with pytest.raises(NotReadyError, match="plain version 1 has no prediction intervals"):
        client.predict(R3_INPUTS, model="plain", levels=[80])


def test_a_version_whose_intervals_do_not_fit(forecaster, tmp_path):
    """A version whose file of intervals is of another network is refused when it is loaded."""
    folder = tmp_path / "version"
    shutil.copytree(forecaster.directory, folder)
    Intervals({80.0: np.ones(7, np.float32)}, 100).save(folder / FILE)
    with pytest.raises(IntervalsError, match=r"version 0 of forecaster: intervals\.json cannot be used"):
        load_version("forecaster", dataclasses.replace(forecaster, directory=str(folder)), require_proof=False)
