"""docs/decisions.md: its index lists every entry."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_index_has_every_entry_once():
    """Each entry is linked in the index exactly once, under its title, and the index links nothing else."""
    index, *entries = re.split(r"^## ", (ROOT / "docs" / "decisions.md").read_text(), flags=re.MULTILINE)
    titles = [entry.partition("\n")[0] for entry in entries]
    links = re.findall(r"^- \[(.*)\]\(#(.*)\)$", index, re.MULTILINE)
    assert Counter(links) == Counter((title[len("2026-11-27 ") :], anchor(title)) for title in titles)


def test_links_within_lead_to_entries():
    """A link from one entry to another, such as that of its status, leads to an entry."""
    text = (ROOT / "docs" / "decisions.md").read_text()
    anchors = {anchor(title) for title in re.findall(r"^## (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def anchor(title):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
