"""registry.errors: the drawing of the tree is the tree."""

import re

from registry import errors


def test_drawing():
    """The module's description draws exactly the classes that there are, each below its base, with its own words."""
    drawn, above = {}, []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"([│├└─ ]*)(\w+Error)\b *(.*)", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            drawn[found[2]] = (above[depth - 1] if depth else "Exception", found[3])
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    assert {name: base for name, (base, _) in drawn.items()} == {n: c.__base__.__name__ for n, c in classes.items()}
    for name, (_, text) in drawn.items():
        assert not text or classes[name].__doc__.rstrip(".").lower() == text.lower()
