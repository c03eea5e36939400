"""`unroll generate`: continues a text, and prints each character as it comes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import connected, served
from service.cli.extras import require

if TYPE_CHECKING:
    from service.client import Client

MOST = 65_536  # characters, from the registry; a server has its own limit


def generate(
    model: Annotated[
        str,
        typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; with --address also NAME.", metavar="REFERENCE"),
    ],
    prompt: Annotated[str, typer.Option(help="Text to continue.", metavar="TEXT")],
    length: Annotated[int, typer.Option(help="Characters to write.")] = 256,
    temperature: Annotated[
        float, typer.Option(help="Below 1: keep to what is probable; above 1: vary more; 0: always take the best.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="Consider only so many characters, the most probable; 0: all.")] = 0,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same text; default: a new text each time.")
    ] = None,
    cache: Annotated[Path, typer.Option(envvar="UNROLL_CACHE", help="Folder for downloaded versions.")] = Path(
        "~/.cache/unroll"
    ),
    *,
    client: "Client | None",
) -> None:
    """Continue a text with a network that predicts the next character, as `unroll train --data FILE.txt` makes them.

    The version is read from the registry, or a server with --address computes.
    """
    if client is None:
        require("serve")
        written = _local(model, prompt, length, temperature, top_k, seed, cache)
    else:
        name, version = served(model)
        answers = client.generate(
            prompt, model=name, version=version, length=length, temperature=temperature, top_k=top_k, seed=seed
        )
        written = (answer.text for answer in answers)
    begun = False
    try:
        for text in written:
            typer.echo(text if begun else prompt + text, nl=False)  # which flushes
            begun = True
    finally:
        if begun:
            typer.echo()


def _local(
    model: str, prompt: str, length: int, temperature: float, top_k: int, seed: int | None, cache: Path
) -> Iterator[str]:
    """Characters by a version of the registry."""
    from service.model.generation import Sampling, check_length, writer_of
    from training import scoring

    sampling = Sampling(temperature, top_k, seed).seeded()
    length = check_length(length, MOST)
    network = scoring.load(model, cache.expanduser()).network
    for character in writer_of(network).write(network.forward, prompt, length, sampling):
        yield character.text


command = connected(generate, optional=True)
