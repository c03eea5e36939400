"""service.observe.samples: what workers counted, added up, the dead included."""

import json

import pytest

from service.observe.samples import Totals, from_json, to_json

STARTED = ("grpc_server_started_total", ("unary", "s", "m"))
PENDING = ("nv_inference_pending_request_count", ("a", "1"))
READY = ("unroll_model_ready", ("a", "1"))
COUNT = ("nv_inference_count", ("a", "1"))
HELD = {("a", "1")}


def test_what_a_dead_worker_counted_stays():
    """Counts of a worker that died stay in the sum, its state does not; its successor counts on."""
    totals = Totals()
    totals.said("worker-0", {STARTED: 5.0, PENDING: 2.0})
    totals.said("worker-1", {STARTED: 7.0, PENDING: 1.0})
    assert totals.merged(HELD, {"worker-0", "worker-1"}) == {STARTED: 12.0, PENDING: 3.0}
    totals.ended("worker-0")
    assert totals.merged(HELD, {"worker-1"}) == {STARTED: 12.0, PENDING: 1.0}
    totals.said("worker-0", {STARTED: 1.0, PENDING: 0.0})
    assert totals.merged(HELD, {"worker-0", "worker-1"}) == {STARTED: 13.0, PENDING: 1.0}


def test_a_worker_that_does_not_answer_keeps_its_counts():
    """What a silent worker last counted is in the sum; what it last was is not."""
    totals = Totals()
    totals.said("worker-0", {STARTED: 5.0, PENDING: 2.0})
    assert totals.merged(HELD, ()) == {STARTED: 5.0}


def test_versions_that_left_leave_the_page():
    """A version that is not in memory any more is not on the page, also of workers that died, and stays away."""
    totals = Totals()
    totals.said("worker-0", {COUNT: 5.0, STARTED: 1.0})
    totals.ended("worker-0")
    totals.said("worker-1", {COUNT: 5.0})
    assert totals.merged((), {"worker-1"}) == {STARTED: 1.0}
    totals.said("worker-1", {COUNT: 1.0})
    assert totals.merged(HELD, {"worker-1"})[COUNT] == 1.0


def test_samples_travel_as_json():
    """Samples come out of JSON as they went in; a metric that has no row is refused."""
    samples = {STARTED: 1.0, ("unroll_swap_seconds", ()): [0.0, 1.5], READY: 1.0}
    assert from_json(json.loads(json.dumps(to_json(samples)))) == samples
    with pytest.raises(KeyError):
        from_json([["unroll_surprise", [], 1.0]])
