"""Environments as `pip install` makes them, with no way back to this checkout; made of what is installed here.

Nothing is fetched: the files of each distribution that an environment would have are linked into it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DISTRIBUTION = "unroll-serving"
PACKAGES = ("registry", "service", "training", "unroll")
HERE = Path(sysconfig.get_path("purelib"))


def sources():
    """The files of this checkout: those that Git keeps, or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def build_wheel(into):
    """The wheel of this checkout, built as a release is: from its files alone, not from what was built before."""
    for name in sources():
        if name.partition("/")[0] in {*PACKAGES, "LICENSE", "README.md", "pyproject.toml"}:
            copy = into / "checkout" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", into, into / "checkout")
    (wheel,) = into.glob("*.whl")
    return wheel


def pip(*arguments):
    """Runs pip; fails with what it printed."""
    command = [sys.executable, "-m", "pip", "--quiet", "--isolated", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Environment:
    """A virtual environment with a folder beside it where its programs run."""

    def __init__(self, root):
        self.root = root
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
        self.python = root / "venv/bin/python"
        self.packages = next((root / "venv/lib").glob("python3*/site-packages"))
        self.folder = root / "elsewhere"
        self.folder.mkdir()

    def install(self, wheel):
        """Puts a wheel into it."""
        pip("--python", self.python, "install", "--no-deps", "--no-index", wheel)

    def link(self, *extras):
        """Links the files of what `pip install` brings with the wheel and these extras, as their records list them."""
        (ours,) = self.packages.glob("unroll_serving-*.dist-info")
        for distribution in closure(metadata.Distribution.at(ours), extras):
            for file in distribution.files or ():
                if file.parts[0] != ".." and "__pycache__" not in file.parts:
                    target = self.packages / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not target.exists():
                        target.symlink_to(file.locate())

    def link_all(self):
        """Links everything that is installed here but for what is ours, and the programs that MLflow starts by name."""
        for entry in HERE.iterdir():
            if "unroll" not in entry.name and entry.suffix != ".pth" and not (self.packages / entry.name).exists():
                (self.packages / entry.name).symlink_to(entry)
        for name, module in (("uvicorn", "uvicorn"), ("mlflow", "mlflow.cli")):
            program = self.python.with_name(name)
            program.write_text(f"#!{self.python}\nimport runpy\nrunpy.run_module({module!r}, run_name='__main__')\n")
            program.chmod(0o755)

    @property
    def variables(self):
        """Of its programs: nothing of the environment that the tests run in but what makes TensorFlow quiet."""
        kept = ("HOME", "TMPDIR", "LANG", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "OMP_NUM_THREADS")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OPENBLAS_NUM_THREADS": "1",
            "COLUMNS": "120",
            "UNROLL_CACHE": str(self.root / "cache"),
            "UNROLL_CHECKPOINTS": str(self.root / "checkpoints"),
        }

    def start(self, *arguments, **variables):
        """Starts Python in its folder, with what it prints in a file; gives the process."""
        log = (self.root / f"log{len(list(self.root.glob('log*')))}").open("w+")
        command, env = [self.python, *map(str, arguments)], {**self.variables, **variables}
        process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        log.close()
        return process

    def run(self, *arguments, **variables):
        """Runs Python in its folder to the end; gives what was printed. Fails where that fails."""
        process = self.start(*arguments, **variables)
        status, printed = process.wait(), process.log.read_text()
        assert status == 0, printed
        return printed


def closure(first, extras):
    """The distributions that one needs with these extras, as they are installed here."""
    found, done, waiting = {}, set(), [(first, tuple(extras))]
    while waiting:
        distribution, wanted = waiting.pop()
        for text in distribution.requires or ():
            requirement = Requirement(text)
            name, more = canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
            marker = requirement.marker
            needed = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted))
            if needed and (name, more) not in done:
                done.add((name, more))
                if name == DISTRIBUTION:
                    waiting.append((first, more))
                else:
                    found[name] = metadata.distribution(name)
                    waiting.append((found[name], more))
    return found.values()
