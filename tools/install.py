"""Installs an environment from the lock, `constraints.txt`, with uv if it is installed, else with pip.

Run by `make`, with any Python that is new enough, before anything is installed. Says what is done and how long it took,
and shows each warning once.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "constraints.txt"
OLDEST = (3, 11)
# Said for every package on machines whose pip or cache is set up in some way, and nothing to act on here.
NOISE = re.compile(
    r"Location '.*' is ignored|running pip as the 'root' user|new release of pip|Failed to hardlink files"
    r"|parallelism|reflink|link-mode|UV_LINK_MODE"
)
TOLD = re.compile(r"warning|deprecat", re.IGNORECASE)


def main(folder: str) -> None:
    """Makes or completes the environment in a folder."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"Unroll needs Python {OLDEST[0]}.{OLDEST[1]} or newer; {sys.executable} is {platform.python_version()}"
        )
    begin = time.monotonic()
    python = Path(folder, "bin", "python")
    uv = shutil.which("uv")
    print(f"Setting up {folder} with Python {platform.python_version()}, by {'uv' if uv else 'pip'}", flush=True)
    if (sys.platform, sys.version_info[:2]) != ("linux", OLDEST):
        print("  The lock names versions for other platforms and Pythons too; Unroll is tested on Linux with 3.11.")
    if not python.exists():
        with step("making the environment"):
            run([sys.executable, "-m", "venv", folder])
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--progress-bar=off"]
    install = [uv, "pip", "install", "--python", str(python)] if uv else pip
    count = len(re.findall(r"^\S+==", Path(LOCK).read_text(), re.MULTILINE))
    with step(f"installing up to {count} packages from {LOCK}, TensorFlow among them: a minute or more"):
        run([*install, "--require-hashes", "--requirement", LOCK])
    with step("installing Unroll itself"):
        run([*install, "--no-deps", "--no-build-isolation", "--editable", "."])
    print(f"Set up in {time.monotonic() - begin:.0f} s\n", flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says what is being done, and what it took."""
    begin = time.monotonic()
    print(f"  {what} …", end="", flush=True)
    yield
    print(f" {time.monotonic() - begin:.1f} s", flush=True)


def run(command: list[str]) -> None:
    """Runs a command. Shows its warnings, each once; if it fails, all that it wrote."""
    env = {**os.environ, "UV_NO_PROGRESS": "1"}
    if (index := env.get("PIP_INDEX_URL")) and "UV_DEFAULT_INDEX" not in env:
        env["UV_DEFAULT_INDEX"] = index  # uv reads nothing of pip's
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip() and not NOISE.search(line)]
    if done.returncode:
        print(" failed", *lines, sep="\n", flush=True)
        sys.exit(done.returncode)
    for line in dict.fromkeys(line for line in lines if TOLD.search(line)):
        print(f"\n    {line}", end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
