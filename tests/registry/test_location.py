"""registry.location: the registry is where MLflow's variables say."""

import pytest

from registry import location
from registry.errors import RegistryError


@pytest.mark.parametrize(
    ("tracking", "registry", "expected"),
    [
        ("", "", ("sqlite:///mlflow.db", "sqlite:///mlflow.db")),
        ("http://a", "", ("http://a", "http://a")),
        ("http://a", "http://b", ("http://a", "http://b")),
        ("", "http://b", ("sqlite:///mlflow.db", "http://b")),
    ],
)
def test_variables(monkeypatch, tracking, registry, expected):
    """Tracking and registry are MLflow's variables; the registry follows tracking, and that is a local file."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    assert location.uris() == expected


def test_what_a_database_needs(monkeypatch):
    """Where MLflow's database packages are not installed, a database is refused with the extra, a server is not."""
    monkeypatch.setattr(location, "find_spec", lambda _: None)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a")
    location.check_installed()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://a/b")
    with pytest.raises(RegistryError, match=r"\(postgresql\) needs all of MLflow, the extra `local`"):
        location.check_installed()
