"""service.observe.page: the page that Prometheus reads."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from service.observe.page import page
from service.observe.table import METRICS, Kind


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
