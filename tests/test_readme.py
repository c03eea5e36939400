"""README.md: its commands and its Python run, in order, as a newcomer would run them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_blocks_run(tmp_path):
    """Every block marked `sh` or `python` runs without an error, one after the other, in an empty folder."""
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 6
    script = ["set -eu", "trap 'kill $(jobs -p) && wait' EXIT"]
    with socket.socket() as probe:  # another port than the README's, which something else may have
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    for i, (language, text) in enumerate(blocks):
        text = text.replace("127.0.0.1:50051", address)
        if language == "python":
            (tmp_path / f"block{i}.py").write_text(text)
            text = f"python block{i}.py"
        script.append(text)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UNROLL_ADDRESS": address,
        "UNROLL_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"weights.png", "trace.png"} <= {path.name for path in tmp_path.iterdir()}
