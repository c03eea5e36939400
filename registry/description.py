"""Descriptions for MLflow's UI, in Markdown, whose lists show the beginning of the first line."""

import re
from collections.abc import Mapping, Sequence

LONGEST = 4_000  # characters; MLflow keeps 5,000
MOST_LISTED = 20  # weights that are named

_SPECIAL = re.compile(r"([\\`<\[\]|])")  # what begins code, HTML, links, pictures and cells


def plain(text: str) -> str:
    """A text that somebody else wrote, on one line, without Markdown in it."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(name: str) -> str:
    """A name as code."""
    return f"`{' '.join(name.replace('`', chr(39)).split())}`"


def of_override(base: str, changed: Mapping[str, str], actor: str, reason: str) -> str:
    """What an override is: why, of which version, by whom, and how much each weight was `changed`, by its name."""
    more = [f"- and {len(changed) - MOST_LISTED} more"] if len(changed) > MOST_LISTED else []
    lines = [
        plain(reason) or "other weights",
        "",
        f"- Version {base} with other weights, by {plain(actor) or 'somebody'}",
        *(f"- {code(name)}: {change}" for name, change in list(changed.items())[:MOST_LISTED]),
        *more,
    ]
    return "\n".join(lines)[:LONGEST]


def of_file(given: str, notes: Sequence[str] = ()) -> str:
    """What a registered file is: its name, and what was done to it."""
    return "\n".join([f"from {plain(given)}", "", *(f"- {plain(note)}" for note in notes)]).strip()[:LONGEST]
