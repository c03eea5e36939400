"""The `unroll` command. What is slow to import is imported by the command that needs it, when it runs."""

import inspect
import sys
from typing import Annotated

import typer

from service.cli import (
    backtest,
    check,
    convert,
    demo,
    explain,
    extras,
    forecast,
    generate,
    models,
    page,
    predict,
    register,
    score,
    serve,
    sweep,
    token,
    trace,
    train,
    weights,
)
from service.errors import ServiceError
from service.version import version

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train recurrent networks, register them in MLflow, serve them over gRPC, and inspect them.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unroll {version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(train.train)
app.command()(register.register)
app.command()(sweep.sweep)
app.command()(backtest.command)
app.command()(score.score)
app.command()(forecast.command)
app.command()(generate.command)
app.command()(serve.serve)
app.command()(predict.predict)
app.command()(trace.trace)
app.command()(explain.explain)
app.command()(explain.memory)
app.add_typer(weights.app, name="weights")
app.add_typer(models.app, name="models")
app.add_typer(token.app, name="token")
app.command()(page.page)
app.command()(serve.health)
app.command()(check.check)
app.command()(convert.convert)
app.command()(serve.ui)
app.command()(demo.demo)
app.command()(demo.up)


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are one line each: Typer keeps the ends of lines in all but the first."""
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in inspect.cleandoc(text).split("\n\n"))


for group in (app, weights.app, models.app, token.app):
    for command in group.registered_commands:
        command.help = _flowing(command.help or getattr(command.callback, "__doc__", "") or "")


def main() -> None:
    """Runs the command line; errors that a user can act on are one line and exit status 1."""
    from registry.errors import RegistryError

    try:
        app()
    except ModuleNotFoundError as error:
        if not (hint := extras.hint(error.name)):
            raise
        sys.exit(f"unroll: {hint}")
    except (ServiceError, RegistryError, OSError) as error:
        sys.exit(f"unroll: {error}")
