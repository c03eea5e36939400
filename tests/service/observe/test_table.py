"""service.observe.table and the document that is made of it."""

import re
from pathlib import Path

from service.observe.table import METRICS, Kind, document

ROOT = Path(__file__).parent.parent.parent.parent


def test_document():
    """docs/observability.md has the table as the code has it."""
    assert document() in (ROOT / "docs" / "observability.md").read_text()


def test_every_metric_that_is_drawn_exists():
    """Dashboard and alert rules name no metric of ours that the table does not have."""
    for file in ("alerts.yml", "grafana/dashboards/unroll.json"):
        text = (ROOT / "deploy" / "observe" / file).read_text()
        named = set(re.findall(r"\b((?:unroll|grpc_server|nv_inference|process)_\w+?)(?:_bucket|_sum|_count)?\{", text))
        known = {name.removesuffix("_count") for name in METRICS}  # nv_inference_count among them
        assert named
        assert {name.removesuffix("_count") for name in named} <= known | {"nv_inference"}, file


def test_names_are_well_formed():
    """Counters end in _total, nothing else does, and every metric says what it is in a sentence."""
    for metric in METRICS.values():
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.text.endswith((".", "epoch.")) or ": " in metric.text
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
