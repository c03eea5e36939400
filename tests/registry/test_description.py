"""registry.description: what MLflow's UI says of overrides and of registered files."""

from registry import description


def test_an_override():
    """The first line is the reason; the rest says of which version, by whom, and how much each weight changed."""
    changed = {"output/bias": "1 of 1 values, by +0.05", "rnn/kernel": "2 of 8 values, by -1 to +2"}
    text = description.of_override("3", changed, "jo", "sensor 7 reads low")
    assert text.splitlines() == [
        "sensor 7 reads low",
        "",
        "- Version 3 with other weights, by jo",
        "- `output/bias`: 1 of 1 values, by +0.05",
        "- `rnn/kernel`: 2 of 8 values, by -1 to +2",
    ]
    assert "and 5 more" in description.of_override("3", {f"w{i}": "" for i in range(25)}, "", "")


def test_what_others_wrote_is_text():
    """Reasons and names can be no pictures, links, HTML or further lines; nothing is longer than MLflow keeps."""
    reason = "![x](http://attacker.example/) <img src=x>\n# `big`"
    text = description.of_override("1", {"a`b\n": ""}, "jo", reason)
    assert text.splitlines()[0] == "!\\[x\\](http://attacker.example/) \\<img src=x> # \\`big\\`"
    assert "`a'b`" in text
    assert len(description.of_override("1", {"w": ""}, "", "x" * 10_000)) == description.LONGEST


def test_a_file():
    """A registered file is named, with what was rewritten in it."""
    assert description.of_file("mine.keras") == "from mine.keras"
    assert description.of_file("mine.h5", ["converted from .h5"]) == "from mine.h5\n\n- converted from .h5"
