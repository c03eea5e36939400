"""service.observe.samples and page: values of several processes become one page that Prometheus reads."""

import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from service.observe.page import page
from service.observe.samples import Totals, from_json, to_json
from service.observe.table import METRICS, Kind

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


def a_value_of_each():
    """A sample of every metric, with labels that need escaping."""
    return {
        (m.name, tuple(f'{label} "of"\n\\it' for label in m.labels)): (
            [float(i) for i in range(len(m.buckets) + 1)] + [9.5] if m.buckets else 3.0
        )
        for m in METRICS.values()
    }


@pytest.mark.parametrize(
    ("accept", "parse", "kind"),
    [
        ("", plain_text, "text/plain"),
        ("text/plain;version=0.0.4", plain_text, "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", open_metrics, "application/openmetrics-text"),
    ],
)
def test_every_metric_is_read_by_prometheus(accept, parse, kind):
    """Each metric of the table comes back from the parser with its values, labels and type, in the format asked for."""
    samples = a_value_of_each()
    content_type, body = page(samples, accept)
    assert content_type.startswith(kind)
    found = {sample.name: (family, sample) for family in parse(body.decode()) for sample in family.samples}
    for (name, labels), value in samples.items():
        metric = METRICS[name]
        named = dict(zip(metric.labels, labels, strict=True))
        if metric.kind is Kind.HISTOGRAM:
            assert found[f"{name}_count"][1].value == sum(value[:-1])
            assert found[f"{name}_sum"][1].value == 9.5
            assert found[f"{name}_bucket"][1].labels == {**named, "le": "+Inf"}
            assert found[f"{name}_bucket"][1].value == sum(value[:-1])
            assert found[f"{name}_bucket"][0].type == "histogram"
        else:
            family, sample = found[name]
            assert (sample.value, sample.labels) == (value, named)
            if metric.kind is not Kind.UNTYPED:
                assert family.type == metric.kind.value


def test_names_are_well_formed():
    """Counters end in _total, nothing else does, and every metric says what it is in a sentence."""
    for metric in METRICS.values():
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.text.endswith((".", "epoch.")) or ": " in metric.text
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
