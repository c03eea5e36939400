"""docs/texts.md: its commands run, in order, on short texts and with one epoch."""

import shlex
from pathlib import Path

import pytest

from tests.documents import blocks_of
from tests.service.support import running
from tests.training import texts
from tests.training.commands import run

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the page names, those of the examples cut short, and a registry of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setenv("UNROLL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNROLL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    (tmp_path / "examples" / "data").mkdir(parents=True)
    for name, most in (("reviews.csv", 300), ("rhymes.txt", 40)):
        lines = (ROOT / "examples" / "data" / name).read_text().splitlines(keepends=True)
        (tmp_path / "examples" / "data" / name).write_text("".join(lines[:most]))
    texts.write(tmp_path / "reviews.csv")
    (tmp_path / "book.txt").write_text(texts.BOOK)
    return tmp_path


def test_commands_run(place):
    """Every command of the page runs without an error, and prints or writes what the page says."""
    blocks = blocks_of(ROOT / "docs" / "texts.md")
    printed = {}
    for _, block in blocks:
        program, command, *words = shlex.split(block)
        assert program == "unroll"
        if command == "train":
            words += ["--epochs", "1", "--promote", "always"]  # whether it is good or not
        if command == "predict":  # of a server
            with running("models:/reviews@champion", cache=place / "served", env={}, workers=1) as (server, _):
                printed[command] = run(command, *words, "--address", server.address)
        else:
            printed[command] = printed.get(command, "") + run(command, *words)
    assert set(printed) == {"train", "predict", "score", "generate"}
    for name in ("reviews version 1", "reviews version 2", "book version 1", "rhymes version 1"):
        assert f"registered {name}" in printed["train"]
    assert "prediction" in printed["predict"]
    assert "It was" in printed["generate"]
    assert len((place / "labels.csv").read_text().splitlines()) == 1 + len(texts.reviews())
