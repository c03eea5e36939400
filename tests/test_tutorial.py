"""docs/tutorial.md: its commands and its Python run, in order, with few epochs; its tables are as a run gave them."""

import re
from pathlib import Path

import pytest

from tests.documents import blocks_of, run_blocks

ROOT = Path(__file__).parent.parent
QUICK = "--epochs 2"  # instead of as many as it takes


def quick(text):
    """A block that takes fewer epochs and trials."""
    text = re.sub(r"^(unroll train .*?[^\\])$", rf"\1 {QUICK}", text, flags=re.DOTALL | re.MULTILINE)
    return text.replace("epochs: 40", "epochs: 1").replace("--trials 4 --jobs 2", "--trials 1 --jobs 1")


@pytest.mark.timeout(400)
def test_blocks_run(tmp_path):
    """Every block runs without an error, one after the other, in a folder with `examples`, and the figure is drawn."""
    blocks = blocks_of(ROOT / "docs" / "tutorial.md")
    assert len(blocks) > 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = run_blocks([(language, quick(text)) for language, text in blocks], tmp_path)
    assert "sunspots@challenger points at it" in printed
    assert re.search(r"^2009: -?\d+\.\d sunspots$", printed, re.MULTILINE)
    assert (tmp_path / "sunspots.png").stat().st_size > 10_000
