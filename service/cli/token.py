"""`unroll token`: tokens for the file of callers."""

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.extras import require

app = typer.Typer(no_args_is_help=True, help="Tokens for the file of callers (serve --callers).")


class RoleName(StrEnum):
    """The roles that an entry may have; service.callers has what each allows."""

    OBSERVE = "observe"
    PREDICT = "predict"
    INSPECT = "inspect"
    OVERRIDE = "override"
    PROMOTE = "promote"
    LOAD = "load"


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the caller, as tags, logs and the audit show it.")],
    role: Annotated[list[RoleName], typer.Option(help="What the caller may do; repeat for more.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Pattern of models it may use, such as 'sales-*'; default: all.")
    ] = None,
    expires: Annotated[str, typer.Option(help="Last day, such as 2027-01-31; default: never.", metavar="DAY")] = "",
) -> None:
    """Make a token, print it once, and print the entry to add under `callers:` in the file.

    Only the entry goes into the file: it holds the SHA-256 of the token, from which the token cannot be had.
    """
    require("serve")
    from service.callers import Role, check_entry, new_token, written

    token = new_token()
    lines = written(name, token, [Role(each.value) for each in role], model or (), expires)
    check_entry(lines)
    typer.echo(token)
    typer.echo(f"\nThe token is shown this once. Add to the file of callers, under `callers:`:\n\n{lines}", err=True)
