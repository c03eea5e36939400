"""The location of the registry, from MLflow's variables, and whether the packages to read it are installed."""

import os
from importlib.util import find_spec
from urllib.parse import urlsplit

from registry.errors import RegistryError

DATABASES = {"mssql", "mysql", "postgresql", "sqlite"}  # schemes of URIs that MLflow opens through SQLAlchemy
DEFAULT_URI = "sqlite:///mlflow.db"  # what MLflow itself takes as default


def uris() -> tuple[str, str]:
    """Tracking and registry URI, as MLflow's variables say; a local SQLite file where they say nothing."""
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    return tracking, os.environ.get("MLFLOW_REGISTRY_URI") or tracking


def check_installed() -> None:
    """Raises RegistryError where the registry is in a database and what MLflow reads it with is not installed."""
    databases = {urlsplit(uri).scheme.partition("+")[0] for uri in uris()} & DATABASES
    if databases and not (find_spec("sqlalchemy") and find_spec("alembic")):
        raise RegistryError(
            f"a registry in a database ({databases.pop()}) needs all of MLflow, the extra `local`; without it, set "
            "MLFLOW_TRACKING_URI to an MLflow server"
        )
