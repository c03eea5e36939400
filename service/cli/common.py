"""Shared parts of the commands: connecting to a server, and output for people and for scripts."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_ADDRESS = "127.0.0.1:50051"
SERVER = "Server"
Address = Annotated[
    str, typer.Option(envvar="UNROLL_ADDRESS", help="Server to talk to.", metavar="HOST:PORT", rich_help_panel=SERVER)
]
# How to reach a server and who asks: each command that is `connected` has these.
CONNECTION: dict[str, tuple[Any, str]] = {
    "address": (Address, DEFAULT_ADDRESS),
    "admin_address": (
        Annotated[
            str,
            typer.Option(
                envvar="UNROLL_ADMIN_ADDRESS", help="Address for overrides and alias moves, if the server has one.",
                metavar="HOST:PORT", rich_help_panel=SERVER,
            ),
        ],
        "",
    ),
    "token": (
        Annotated[
            str, typer.Option(envvar="UNROLL_TOKEN", help="Bearer token.", metavar="TOKEN", rich_help_panel=SERVER)
        ],
        "",
    ),
    "token_file": (
        Annotated[
            str,
            typer.Option(
                envvar="UNROLL_TOKEN_FILE", help="File with the bearer token.", metavar="FILE", rich_help_panel=SERVER
            ),
        ],
        "",
    ),
    "ca": (
        Annotated[
            str,
            typer.Option(
                envvar="UNROLL_CA", help="PEM file of certificate authorities; enables TLS.", metavar="FILE",
                rich_help_panel=SERVER,
            ),
        ],
        "",
    ),
    "cert": (
        Annotated[
            str,
            typer.Option(
                envvar="UNROLL_CERT", help="PEM certificate chain of the client; enables TLS.", metavar="FILE",
                rich_help_panel=SERVER,
            ),
        ],
        "",
    ),
    "key": (
        Annotated[
            str,
            typer.Option(
                envvar="UNROLL_KEY", help="PEM key of that certificate.", metavar="FILE", rich_help_panel=SERVER
            ),
        ],
        "",
    ),
}  # fmt: skip
NO_ADDRESS = {
    "address": (
        Annotated[
            str,
            typer.Option(
                help="Server to ask; default: the version is read from the registry.", metavar="HOST:PORT",
                rich_help_panel=SERVER,
            ),
        ],
        "",
    )
}  # fmt: skip
Model = Annotated[str, typer.Option(help="Model; optional if the server has only one.", metavar="NAME")]
Version = Annotated[
    str, typer.Option(help="Version number, alias, or @ALIAS; default: the version that the server serves.")
]
Inputs = Annotated[
    str,
    typer.Argument(
        help="Sequences as JSON, [[[1,2],[2,3],[3,4]]], or several inputs by name, {NAME: …, NAME: …}; "
        "@FILE (.json, .npy, .npz); - for standard input."
    ),
]
WhatIf = Annotated[
    list[str] | None,
    typer.Option(help="Weight change for this call only; can be repeated.", metavar="LAYER/WEIGHT=VALUE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
PICTURES = (".png", ".svg", ".pdf")
UNBOUNDED = 100_000  # characters, which no table is wide

console = Console()


def connected(command: Callable[..., None], *, optional: bool = False) -> Callable[..., None]:
    """A command with the options of CONNECTION; what they lead to is handed to its argument `client`.

    optional: without an address on the command line there is no server to talk to, and `client` is None.
    """

    def run(**options: Any) -> None:
        from service.client import Client

        if optional and not options["address"]:
            command(**{name: value for name, value in options.items() if name not in CONNECTION}, client=None)
            return
        with Client.connect(**{name: options.pop(name) for name in CONNECTION}) as client:
            command(**options, client=client)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "client"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in (CONNECTION | (NO_ADDRESS if optional else {})).items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + added
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def served(model: str) -> tuple[str, str]:
    """Name and version of what is asked of a server: `NAME`, or as in the registry."""
    if not model.startswith("models:"):
        return model, ""
    from registry.references import parse

    reference = parse(model)
    return reference.name, reference.version or f"@{reference.alias}"


def check_picture(plot: str | Path | None) -> None:
    """Raises InvalidArgumentError for the name of a file that is no PNG, SVG or PDF; empty or None: there is none."""
    if plot and Path(plot).suffix.lower() not in PICTURES:
        raise InvalidArgumentError(
            f"plot: expected a name that ends in .png, .svg or .pdf, got {Path(plot).name}", field="plot"
        )


def print_json(value: "Message | dict[str, Any] | list[Any]") -> None:
    """One JSON document on standard output; arrays as nested lists, messages under the names of the proto."""
    from google.protobuf.json_format import MessageToDict

    if not isinstance(value, dict | list):
        value = MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    typer.echo(json.dumps(value, default=_plain, indent=2))


def number(value: float) -> str:
    """A number for people: three significant digits."""
    return f"{value:.3g}"


def table(*columns: str, title: str = "") -> Table:
    """A table that still fits where lines are 80 characters. Its title may be wider than itself."""
    over = Text(title, style="table.title", no_wrap=True, overflow="ignore") if title else None
    made = Table(title=over, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        made.add_column(column, no_wrap=i == 0)
    return made


def tables(
    title: str, corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], out: Console
) -> Iterator[Table]:
    """A table as one or several below each other, with the same rows, each of as many columns as `out` is wide for."""
    begin = 0
    while begin < len(columns):
        for end in range(len(columns), begin, -1):
            made = table(corner, *columns[begin:end], title="" if begin else title)
            for name, cells in rows.items():
                made.add_row(name, *cells[begin:end])
            if out.measure(made, options=out.options.update(max_width=UNBOUNDED)).maximum <= out.width:
                break
        yield made
        begin = end


def array_text(array: Any, precision: int = 4) -> str:  # any array
    """An array for people, aligned, and shortened where it is long."""
    import numpy as np

    return np.array2string(np.asarray(array), precision=precision, suppress_small=True, threshold=64)


def _plain(value: Any) -> Any:  # whatever JSON does not know
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot print {type(value).__name__}")
