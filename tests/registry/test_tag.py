"""registry.tag: the names of tags."""

from registry import tag


def test_names():
    """Every tag has a name of its own that begins with `unroll.`, as MLflow's users can tell them from theirs."""
    names = [value for name, value in vars(tag).items() if name.isupper() and isinstance(value, str)]
    assert len(set(names)) == len(names) > 10
    assert all(name.startswith("unroll.") and name == name.lower() for name in names)
