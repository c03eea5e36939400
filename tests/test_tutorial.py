"""docs/tutorial.md: its commands and its Python run, in order, with few epochs; its tables are as a run gave them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
QUICK = "--epochs 2"  # instead of as many as it takes


@pytest.mark.timeout(400)
def test_blocks_run(tmp_path):
    """Every block runs without an error, one after the other, in a folder with `examples`, and the figure is drawn."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = ["set -eu", "trap 'kill $(jobs -p) && wait' EXIT"]
    with socket.socket() as probe:  # another port than the tutorial's, which something else may have
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    for i, (language, block) in enumerate(blocks):
        quick = re.sub(r"^(unroll train .*?[^\\])$", rf"\1 {QUICK}", block, flags=re.DOTALL | re.MULTILINE)
        quick = quick.replace("epochs: 40", "epochs: 1").replace("--trials 4 --jobs 2", "--trials 1 --jobs 1")
        quick = quick.replace("127.0.0.1:50051", address)
        if language == "python":
            (tmp_path / f"block{i}.py").write_text(quick)
            quick = f"python block{i}.py"
        script.append(quick)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UNROLL_ADDRESS": address,
        "UNROLL_CACHE": str(tmp_path / "cache"),
        "UNROLL_CHECKPOINTS": str(tmp_path / "checkpoints"),
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sunspots@challenger points at it" in done.stdout
    assert re.search(r"^2009: -?\d+\.\d sunspots$", done.stdout, re.MULTILINE)
    assert (tmp_path / "sunspots.png").stat().st_size > 10_000
