"""What the commands share: how to reach a server, and how to print for people and for scripts."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from service.client import Client

Address = Annotated[
    str, typer.Option(envvar="UNROLL_ADDRESS", help="Server to talk to.", metavar="HOST:PORT", rich_help_panel="Server")
]
Token = Annotated[
    str, typer.Option(envvar="UNROLL_TOKEN", help="Bearer token.", metavar="TOKEN", rich_help_panel="Server")
]
RootCertificates = Annotated[
    str,
    typer.Option(
        envvar="UNROLL_CA", help="PEM file of authorities; switches to TLS.", metavar="FILE", rich_help_panel="Server"
    ),
]
Model = Annotated[str, typer.Option(help="Model; may be left out where the server has one.", metavar="NAME")]
Version = Annotated[str, typer.Option(help="Version number, alias, or @ALIAS; default: what the server serves.")]
Inputs = Annotated[
    str,
    typer.Argument(
        help="Sequences as JSON, [[[1,2],[2,3],[3,4]]]; several inputs by name, {NAME: …, NAME: …}; "
        "@FILE (.json, .npy, .npz); - for standard input."
    ),
]
WhatIf = Annotated[
    list[str] | None,
    typer.Option(help="Weight change for this call only; repeat for more.", metavar="LAYER/WEIGHT=VALUE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

DEFAULT_ADDRESS = "127.0.0.1:50051"

console = Console()


def connect(address: str, token: str, root_certificates: str) -> "Client":
    """A client as the options say."""
    from pathlib import Path

    from service.client import Client

    return Client(address, token=token, root_certificates=Path(root_certificates) if root_certificates else None)


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


def array_text(array: Any, precision: int = 4) -> str:  # any array
    """An array for people, aligned, and shortened where it is long."""
    import numpy as np

    return np.array2string(np.asarray(array), precision=precision, suppress_small=True, threshold=64)


def _plain(value: Any) -> Any:  # whatever JSON does not know
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot print {type(value).__name__}")
