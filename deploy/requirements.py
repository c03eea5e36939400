"""Prints what pyproject.toml lists: `dependencies`, or extras by name. An image installs these before our own code."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
LISTS = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def listed(name: str) -> Iterator[str]:
    """The requirements of a list; extras of our own that it names, by what they list."""
    for requirement in LISTS[name]:
        if ours := re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", requirement):
            for extra in ours[1].split(","):
                yield from listed(extra)
        else:
            yield requirement


for argument in sys.argv[1:]:
    print(*listed(argument), sep="\n")
