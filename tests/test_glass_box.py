"""docs/glass-box.md: its commands and its Python run, in order, with few epochs; its numbers are of a full run."""

import re
from pathlib import Path

import pytest

from tests.documents import blocks_of, run_blocks

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(600)
def test_blocks_run(tmp_path):
    """Every block runs without an error, in order, in a folder with `examples`, and the pictures are drawn."""
    blocks = blocks_of(ROOT / "docs" / "glass-box.md")
    assert len(blocks) > 8
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = run_blocks([(kind, text.replace("--patience 25", "--epochs 2")) for kind, text in blocks], tmp_path)
    assert "17 terms add up to" in printed
    slope, difference = map(float, re.search(r"last year: (\S+); by central difference (\S+)", printed).groups())
    assert slope == pytest.approx(difference, abs=0.05)
    assert re.search(r"update gate shut in the last year: (\S+); without that year: \S+", printed)
    assert {"explain.png", "memory.png"} <= {path.name for path in tmp_path.iterdir()}
