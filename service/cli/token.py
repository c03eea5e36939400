"""`unroll token`: makes tokens for the callers file."""

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.extras import require

app = typer.Typer(no_args_is_help=True, help="Make tokens for the callers file (serve --callers).")


class RoleName(StrEnum):
    """The roles of a caller; service.callers says what each allows."""

    OBSERVE = "observe"
    PREDICT = "predict"
    INSPECT = "inspect"
    OVERRIDE = "override"
    PROMOTE = "promote"
    LOAD = "load"


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the caller in tags, logs and the audit log.")],
    role: Annotated[list[RoleName], typer.Option(help="Role of the caller; can be repeated.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of models that the caller may use, such as 'sales-*'; default: all."),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="Last valid day, such as 2027-01-31; default: no expiry.", metavar="DAY")
    ] = "",
) -> None:
    """Make a token, and print it with the entry to add under `callers:` in the callers file.

    The token is printed only once. The entry contains only its SHA-256, from which nobody can recover the token.
    """
    require("serve")
    from service.callers import Role, check_entry, new_token, written

    token = new_token()
    lines = written(name, token, [Role(each.value) for each in role], model or (), expires)
    check_entry(lines)
    typer.echo(token)
    typer.echo(
        f"\nThe token is not shown again. Add this entry under `callers:` in the callers file:\n\n{lines}", err=True
    )
