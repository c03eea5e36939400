"""Prints the dependencies in pyproject.toml, and those of named extras. An image installs them before our code.

Each in the version that constraints.txt has, so that the lines change only when what is to be installed changes.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
LISTS = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[^]]*\])?(?P<versions>[^;]*)(?P<marker>;.*)?")


def normalized(name: str) -> str:
    """A project's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


LOCK = {
    normalized(name): version
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", Path("constraints.txt").read_text(), re.MULTILINE)
}


def listed(name: str) -> Iterator[str]:
    """The requirements of a list; extras of our own that it names, by what they list."""
    for requirement in LISTS[name]:
        if ours := re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", requirement):
            for extra in ours[1].split(","):
                yield from listed(extra)
        else:
            yield pinned(requirement)


def pinned(requirement: str) -> str:
    """A requirement in the version of the lock; as it stands where the lock does not name it."""
    found = REQUIREMENT.fullmatch(requirement)
    if found is None or (version := LOCK.get(normalized(found["name"]))) is None:
        return requirement
    return f"{found['name']}{found['extras'] or ''}=={version}{found['marker'] or ''}"


for argument in sys.argv[1:]:
    print(*listed(argument), sep="\n")
