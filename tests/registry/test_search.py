"""registry.search: many models for few requests, with the answers that asking one by one gives."""

import pytest
from mlflow import MlflowClient

from registry import search
from registry.search import FEW, SPARSE, Search


@pytest.fixture(scope="module")
def names(store, tmp_path_factory):
    """Models with aliases, registered without files: nothing here is downloaded."""
    client, names = store._client, [f"searched-{i}" for i in range(FEW + 2)]
    for i, name in enumerate(names):
        client.create_registered_model(name)
        for _ in range(2):
            client.create_model_version(name, str(tmp_path_factory.getbasetemp()), tags={"i": str(i)})
        client.set_registered_model_alias(name, "champion", "2")
    return names


@pytest.fixture
def requests(monkeypatch):
    """The names of the requests that are made."""
    made = []
    for name in ("search_registered_models", "search_model_versions", "get_registered_model", "get_model_version"):
        original = getattr(MlflowClient, name)

        def counted(self, *args, _name=name, _original=original, **options):
            made.append(_name)
            return _original(self, *args, **options)

        monkeypatch.setattr(MlflowClient, name, counted)
    return made


def test_one_search_for_all(store, names, requests):
    """All aliases take one request, and all versions another; what does not exist is said so."""
    found = Search(store).aliases(names)
    assert found == {name: {"champion": "2"} for name in names}
    assert requests == ["search_registered_models"]
    requests.clear()
    versions = Search(store).versions([(name, "1") for name in names])
    assert [(info.name, info.number, info.tags["i"]) for info in versions.values()] == [
        (name, "1", str(i)) for i, name in enumerate(names)
    ]
    assert requests == ["search_model_versions"]
    assert Search(store).aliases([*names, "none"])["none"] is None
    assert Search(store).versions([*((name, "1") for name in names), ("none", "1")])["none", "1"] is None


def test_pages(store, names, requests, monkeypatch):
    """More models than a page holds are found page after page."""
    monkeypatch.setattr("registry.store.PAGE", 2)
    assert Search(store).aliases(names) == {name: {"champion": "2"} for name in names}
    assert requests.count("search_registered_models") > 2
    assert "get_registered_model" not in requests


def test_a_registry_that_leaves_aliases_out(store, names, requests, monkeypatch):
    """Where a search finds no aliases, as in older MLflow servers, models are asked for one by one from then on."""
    original = MlflowClient.search_registered_models

    def without(self, *args, **options):
        found = original(self, *args, **options)
        for model in found:
            model._aliases = {}
        return found

    monkeypatch.setattr(MlflowClient, "search_registered_models", without)
    searching = Search(store)
    for _ in range(2):
        assert searching.aliases(names) == {name: {"champion": "2"} for name in names}
    assert requests == ["search_registered_models", *["get_registered_model"] * 2 * len(names)]


def test_a_registry_with_many_more_models(store, names, requests, monkeypatch):
    """Few models of a large registry are asked for one by one: a search would give all that it has."""
    monkeypatch.setattr(search, "SPARSE", 0)
    monkeypatch.setattr("registry.store.PAGE", 2)
    assert SPARSE > 0
    assert Search(store).aliases(names) == {name: {"champion": "2"} for name in names}
    assert requests.count("get_registered_model") == len(names)
