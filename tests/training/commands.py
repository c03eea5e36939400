"""Commands that are run in this process, which saves their imports."""

from typer.testing import CliRunner

from service import cli


def run(*arguments):
    """What a command prints; what it raises is raised here."""
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
