"""service.supervisor.last_good: what was served last, on disk."""

import json
from dataclasses import replace

from service import records
from service.snapshot import ModelEntry, Snapshot, VersionEntry
from service.supervisor.last_good import LastGood

REFERENCES = ("models:/a@champion", "models:/b@champion")


def model(name, *numbers):
    versions = {
        number: VersionEntry(number, f"digest{number}", "/cache", engines=("numpy", "numpy")) for number in numbers
    }
    return ModelEntry(name, (f"models:/{name}@champion",), numbers[0], "champion", {"champion": numbers[0]}, versions)


def test_a_change_writes_what_it_changes(tmp_path):
    """Each model has a file: a change of one leaves those of others as they were."""
    kept = LastGood(tmp_path, REFERENCES)
    kept.write([model("a", "1"), model("b", "1")])
    files = {file: file.stat().st_ino for file in tmp_path.rglob("*.json")}
    assert len(files) == 2
    changed = model("b", "2")
    kept.write([changed])
    assert sum(file.stat().st_ino != before for file, before in files.items()) == 1
    assert sorted(LastGood(tmp_path, REFERENCES).read(), key=lambda m: m.name) == [model("a", "1"), changed]
    kept.write([], dropped=["a"])
    assert LastGood(tmp_path, REFERENCES).read() == [changed]
    assert LastGood(tmp_path, ("models:/a@champion",)).read() == []  # another server's


def test_one_file_that_is_damaged(tmp_path):
    """A file that cannot be read costs its model, not the others."""
    kept = LastGood(tmp_path, REFERENCES)
    kept.write([model("a", "1")])
    (damaged,) = tmp_path.rglob("*.json")
    kept.write([model("b", "1")])
    for text in ("", "[]", "{}", '{"name": "a"}'):
        damaged.write_text(text)
        assert kept.read() == [model("b", "1")]


def test_what_servers_of_version_0_1_wrote(tmp_path):
    """A single file for all models is read, and goes when models are written by themselves."""
    folder_name = LastGood(tmp_path, REFERENCES)._folder.name
    single = tmp_path / f"{folder_name}.json"
    single.write_text(records.to_json(Snapshot(3, {"a": model("a", "1")})))
    kept = LastGood(tmp_path, REFERENCES)
    assert kept.read() == [model("a", "1")]
    kept.write([model("a", "1")])
    assert not single.exists()
    assert kept.read() == [model("a", "1")]
    single.write_text("[1]")
    assert LastGood(tmp_path / "none", REFERENCES).read() == []


def test_odd_keys_are_cleaned(tmp_path):
    """Versions under texts that are no numbers of versions (`01`), which servers took once, are left out."""
    entry = model("a", "1")
    odd = {text: replace(entry.versions["1"], number=text, on_demand=True) for text in ("01", "0001", "9" * 30)}
    kept = LastGood(tmp_path, REFERENCES)
    kept.write([replace(entry, versions={**entry.versions, **odd})])
    (file,) = tmp_path.rglob("*.json")
    assert "0001" in json.loads(file.read_text())["versions"]
    assert kept.read() == [entry]
