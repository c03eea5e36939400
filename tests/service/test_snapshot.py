"""service.snapshot: what is declared survives the way to the workers and to the disk."""

from service.snapshot import ModelEntry, Snapshot, VersionEntry


def test_next_generation():
    """Replacing a model makes a new snapshot and leaves the old one as it was."""
    old = Snapshot(7, {"a": ModelEntry("a", ())})
    new = old.with_models([ModelEntry("b", ())])
    assert (old.generation, set(old.models)) == (7, {"a"})
    assert (new.generation, set(new.models)) == (8, {"a", "b"})


def test_changes_hold_what_changed():
    """What makes one snapshot of another holds the models that changed and no others, and gives the same snapshot."""
    same, old, new = (ModelEntry(name, (), stale_reason="x" * 1000) for name in ("same", "changed", "new"))
    before = Snapshot(7, {"same": same, "changed": old, "gone": ModelEntry("gone", ())})
    after = before.without_model("gone").with_models([old.with_versions({"1": VersionEntry("1", "ab", "/")}), new])
    text = after.changes(before)
    assert before.changed(text) == after
    assert before.changed(text).models["same"] is same
    assert len(text) < 3000
    assert Snapshot().changed(after.changes(Snapshot())) == after
