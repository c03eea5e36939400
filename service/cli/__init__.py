"""The `unroll` command. What is slow to import is imported by the command that needs it, when it runs."""

import sys

import typer

from service.cli import check, demo, models, predict, register, score, serve, sweep, trace, train, weights
from service.errors import ServiceError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train recurrent networks, register them in MLflow, serve them over gRPC, and look inside.",
)
app.command()(train.train)
app.command()(register.register)
app.command()(sweep.sweep)
app.command()(score.score)
app.command()(serve.serve)
app.command()(predict.predict)
app.command()(trace.trace)
app.add_typer(weights.app, name="weights")
app.add_typer(models.app, name="models")
app.command()(serve.health)
app.command()(check.check)
app.command()(serve.ui)
app.command()(demo.demo)
app.command()(demo.up)


def main() -> None:
    """Runs the command line; errors that a user can act on are one line and exit status 1."""
    from registry.errors import RegistryError

    try:
        app()
    except (ServiceError, RegistryError, OSError) as error:
        sys.exit(f"unroll: {error}")
