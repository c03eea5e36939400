"""Options of the commands that read tables: how a table is written, where that cannot be found from the table."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.options import Format

PANEL = "Data"

Delimiter = Annotated[
    str | None,
    typer.Option(
        help="Mark between the columns of a CSV file, or tab; default: found from the file.", metavar="MARK",
        rich_help_panel=PANEL,
    ),
]  # fmt: skip
Decimal = Annotated[
    str | None,
    typer.Option(
        help="Decimal mark of a CSV file, . or ,; default: found from the file.", metavar="MARK", rich_help_panel=PANEL
    ),
]
TimeFormat = Annotated[
    str | None,
    typer.Option(
        help="How times are written, such as %d/%m/%Y; default: numbers, ISO 8601, months or quarters.",
        metavar="FORMAT", rich_help_panel=PANEL,
    ),
]  # fmt: skip
Duplicates = Annotated[
    str | None,
    typer.Option(help="Rows of one time in a series: error (default), mean, last.", rich_help_panel=PANEL),
]


def chosen(
    trained: "Format", delimiter: str | None, decimal: str | None, time_format: str | None, duplicates: str | None
) -> "Format":
    """How a table is written: as the one that a version was `trained` on, but for what is given."""
    from dataclasses import replace

    given = {"delimiter": delimiter, "decimal": decimal, "time_format": time_format, "duplicates": duplicates}
    return replace(trained, **{name: value for name, value in given.items() if value is not None})
