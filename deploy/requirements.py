"""Prints what pyproject.toml lists: `dependencies`, or extras by name. An image installs these before our own code."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
lists = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
for name in sys.argv[1:]:
    print(*lists[name], sep="\n")
