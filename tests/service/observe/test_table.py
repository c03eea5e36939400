"""service.observe.table: every metric says what it is."""

from service.observe.table import METRICS, Kind


def test_names_are_well_formed():
    """Counters end in _total, nothing else does, and every metric says what it is in a sentence."""
    for metric in METRICS.values():
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.text.endswith((".", "epoch.")) or ": " in metric.text
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
