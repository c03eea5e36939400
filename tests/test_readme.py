"""README.md: its commands and its Python run, in order, as a newcomer would run them."""

from pathlib import Path

import pytest

from tests.documents import blocks_of, run_blocks

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_blocks_run(tmp_path):
    """Every block marked `sh` or `python` runs without an error, one after the other, in an empty folder."""
    blocks = blocks_of(ROOT / "README.md")
    assert len(blocks) > 6
    run_blocks(blocks, tmp_path)
    assert {"weights.png", "trace.png"} <= {path.name for path in tmp_path.iterdir()}
