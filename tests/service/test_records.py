"""service.records: dataclasses survive the way to other processes and to the disk."""

import pytest

from service import records
from service.config import Limits, ServerConfig, Tls
from service.snapshot import ModelEntry, Snapshot, VersionEntry


def test_a_snapshot_is_read_as_it_was_written():
    """A snapshot read back equals the one written."""
    version = VersionEntry(
        "3", "ab", "/cache/ab", "override", "2", ("output/bias",), "ann", "drift", 1.5, ("scalar", "numpy"), "any", True
    )
    model = ModelEntry("m", ("models:/m@champion",), "3", "champion", {"champion": "3"}, {"3": version}, "late", 2.5)
    snapshot = Snapshot(7, {"m": model})
    assert records.from_json(records.to_json(snapshot), Snapshot) == snapshot


def test_config_round_trip(tmp_path):
    """A worker gets the configuration that the supervisor has."""
    config = ServerConfig(
        ("models:/m@champion",), cache=tmp_path, tls=Tls(tmp_path / "c", tmp_path / "k"), limits=Limits(batch=3)
    )
    assert records.from_json(records.to_json(config), ServerConfig) == config


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1, "references": []}', '{"name": "a", "references": 3}'])
def test_what_is_no_such_record_is_refused(text):
    """Text that is not JSON, lacks a field, or has one of another type is a ValueError that says where."""
    with pytest.raises(ValueError, match=r"\w"):
        records.from_json(text, ModelEntry)
