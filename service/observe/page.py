"""The metrics page for Prometheus: samples written by prometheus_client, as text or as OpenMetrics."""

from collections.abc import Iterable, Iterator

from prometheus_client import exposition
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from service.observe.samples import Samples, Value, by_labels
from service.observe.table import METRICS, Kind, Metric


class _Samples(Collector):
    """Hands samples to prometheus_client, in the order of the table."""

    def __init__(self, samples: Samples) -> None:
        self._samples = by_labels(samples)

    def collect(self) -> Iterator[Family]:
        for name, metric in METRICS.items():
            found = self._samples.get(name, ())
            if not found:
                continue
            kind = metric.kind
            family = Family(name.removesuffix("_total") if kind is Kind.COUNTER else name, metric.text, kind.value)
            for labels, value in found:
                named = dict(zip(metric.labels, labels, strict=True))
                if kind is Kind.HISTOGRAM:
                    for suffix, more, number in _histogram(metric, value):
                        family.add_sample(f"{name}_{suffix}", {**named, **more}, number)
                else:
                    assert not isinstance(value, list)
                    family.add_sample(name, named, value)
            yield family


def page(samples: Samples, accept: str) -> tuple[str, bytes]:
    """Content type and bytes of the page, in the format that an `Accept` header asks for."""
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    write, kind = exposition.choose_encoder(accept)
    return kind, write(registry)


def _histogram(metric: Metric, value: Value) -> Iterable[tuple[str, dict[str, str], float]]:
    assert isinstance(value, list)
    *counts, total = value
    so_far = 0.0
    for bound, count in zip((*metric.buckets, float("inf")), counts, strict=True):
        so_far += count
        yield "bucket", {"le": floatToGoString(bound)}, so_far  # type: ignore[no-untyped-call]
    yield "sum", {}, total
    yield "count", {}, so_far
