"""Runs the blocks of a document as a reader would: in order, in one shell, in a folder of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port


def blocks_of(path):
    """The blocks of a document that are marked `sh` or `python`, with their language."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def run_blocks(blocks, folder):
    """Runs blocks one after the other, until one fails; gives what is printed."""
    script = ["set -eu", "trap 'kill $(jobs -p) && wait' EXIT"]
    address, page = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"  # the document's own may be another's
    for i, (language, text) in enumerate(blocks):
        text = text.replace("127.0.0.1:50051", address).replace("127.0.0.1:5001", page)
        if language == "python":
            (folder / f"block{i}.py").write_text(text)
            text = f"python block{i}.py"
        script.append(text)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UNROLL_ADDRESS": address,
        "UNROLL_CACHE": str(folder / "cache"),
        "UNROLL_CHECKPOINTS": str(folder / "checkpoints"),
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
