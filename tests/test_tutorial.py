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
    """Every block runs without an error, in order, in a folder with `examples`, and the forecast is drawn."""
    blocks = blocks_of(ROOT / "docs" / "tutorial.md")
    assert len(blocks) > 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = run_blocks([(language, quick(text)) for language, text in blocks], tmp_path)
    assert "registered co2 version 2" in printed
    assert len(re.findall(r"^version 1: \d+\.\d ppm, \d+\.\d to \d+\.\d$", printed, re.MULTILINE)) == 4
    assert "co2 version 2: forecast of co2" in printed
    assert re.search(r"^co2@champion: version \d → 2$", printed, re.MULTILINE)
    assert (tmp_path / "co2.png").stat().st_size > 10_000
