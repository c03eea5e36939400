"""service.errors: the drawing of the tree is the tree."""

import inspect
import re

from service import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ServiceError)]


def test_drawing():
    """The tree in the docstring is the tree of the classes."""
    lines = [line for line in errors.__doc__.splitlines() if re.match(r"[│├└─ ]*\w+Error", line)]
    drawn = {}
    path = []
    for line in lines:
        prefix, name = re.match(r"([│├└─ ]*)(\w+)", line).groups()
        path[len(prefix) // 4 :] = [name]
        drawn[name] = path[-2] if len(path) > 1 else "Exception"
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in ALL}
