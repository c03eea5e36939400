"""service.observe.counts: what a worker counts of its calls."""

import sys
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.calls import ServedCall
from service.observe.counts import BUCKETS, CODES, CallCounts, access_samples, call_samples
from service.observe.table import METRICS


@dataclass(frozen=True)
class Method:
    """As much of a method as is counted."""

    path: str
    request_streams: bool = False
    response_streams: bool = False


PREDICT = Method("/unroll.v1.PredictionService/Predict")
STREAM = Method("/unroll.v1.PredictionService/PredictStream", True, True)
WATCH = Method("/unroll.v1.ModelService/WatchModel", False, True)
LABELS = ("unary", "unroll.v1.PredictionService", "Predict")


class Call(ServedCall):
    """As much of a call as is counted."""

    certificate = peer = remaining = active = metadata = None

    def __init__(self, method, code=None, seconds=0.0, received=1, sent=1, error=None):
        self.method, self.code, self.error = method, code, error
        self.began, self.ended = 1, 1 + round(seconds * 1e9)
        self.requests, self.responses = received, sent


def count(counts, *calls):
    """Counts calls from their beginning to their end."""
    for call in calls:
        counts.began(call)
        counts.ended(call)


@given(st.lists(st.tuples(st.integers(0, 16), st.floats(0, 20), st.integers(0, 5), st.integers(0, 5))))
def test_every_call_is_in_each_sum(calls):
    """However calls end, what began has ended, codes and buckets each add up to all of them, and seconds too."""
    counts = CallCounts()
    count(counts, *(Call(PREDICT, *call) for call in calls))
    samples = call_samples(counts, [PREDICT])
    handled = {key[1][3]: n for key, n in samples.items() if key[0] == "grpc_server_handled_total"}
    *buckets, total = samples["grpc_server_handling_seconds", LABELS]
    assert samples["grpc_server_started_total", LABELS] == sum(handled.values()) == sum(buckets) == len(calls)
    # A call is counted in whole nanoseconds.
    assert total == pytest.approx(sum(seconds for _, seconds, _, _ in calls), abs=1e-9 * len(calls))
    assert samples["grpc_server_msg_received_total", LABELS] == sum(received for _, _, received, _ in calls)
    assert samples["grpc_server_msg_sent_total", LABELS] == sum(sent for _, _, _, sent in calls)
    for code, name in enumerate(CODES):
        assert handled.get(name, 0) == sum(c == code for c, _, _, _ in calls)
    below = [sum(seconds <= bound for _, seconds, _, _ in calls) for bound in BUCKETS]
    assert [sum(buckets[: i + 1]) for i in range(len(BUCKETS))] == below
    assert samples["unroll_calls_in_flight", ()] == 0


def test_threads_lose_nothing():
    """Many threads count the same method at once, while somebody else adds up, and none of their calls is lost."""
    counts, each, threads = CallCounts(), 2_000, 8
    sys.setswitchinterval(1e-6)
    try:

        def work():
            for _ in range(each):
                count(counts, Call(PREDICT, 0, 0.001))

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        seen = 0
        while any(thread.is_alive() for thread in running):
            now = call_samples(counts, [PREDICT])["grpc_server_started_total", LABELS]
            assert seen <= now <= each * threads
            seen = now
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(0.005)
    assert call_samples(counts, [PREDICT])["grpc_server_handled_total", (*LABELS, "OK")] == each * threads


def test_what_is_open():
    """Calls and streams that have not ended are in flight; unary calls are no streams."""
    counts = CallCounts()
    for method in (PREDICT, STREAM, STREAM, WATCH):
        counts.began(Call(method))
    counts.ended(Call(STREAM, 1, 2.0, 3, 3))
    samples = call_samples(counts, [PREDICT, STREAM, WATCH])
    assert samples["unroll_calls_in_flight", ()] == 3
    assert samples["unroll_streams_open", ()] == 2
    assert samples["grpc_server_handled_total", ("bidi_stream", *LABELS[1:2], "PredictStream", "Canceled")] == 1
    assert samples["grpc_server_started_total", ("server_stream", "unroll.v1.ModelService", "WatchModel")] == 1


def test_unknown_paths_are_one_series():
    """Calls of paths that are no method count under one name, whatever the path."""
    counts = CallCounts()
    count(counts, *(Call(method, 12) for method in (None, Method("/a/b"), Method("/c/d"))))
    samples = call_samples(counts, [PREDICT])
    assert samples["grpc_server_handled_total", ("unary", "unknown", "unknown", "Unimplemented")] == 3
    assert {key[1][2] for key in samples if key[1:] != ((),)} == {"Predict", "unknown"}


def test_access_by_role():
    """Refusals count under the role that was needed."""
    counts = CallCounts()
    count(counts, *(Call(PREDICT, code) for code in (0, 0, 3, 7, 16)))
    samples = access_samples(counts, [(PREDICT.path, "predict"), (STREAM.path, "predict")])
    assert {key[1]: n for key, n in samples.items()} == {
        ("ok", "predict"): 3, ("unauthenticated", "predict"): 1, ("denied", "predict"): 1,
    }  # fmt: skip


def test_every_sample_is_in_the_table():
    """What is counted has a row of the table, with as many labels."""
    counts = CallCounts()
    count(counts, Call(PREDICT, 0, 0.1))
    for (name, labels), value in (call_samples(counts, [PREDICT]) | access_samples(counts, [])).items():
        assert len(METRICS[name].labels) == len(labels)
        assert isinstance(value, list) == bool(METRICS[name].buckets)
