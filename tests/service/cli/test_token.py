"""service.cli.token: tokens for the file of callers."""

from typer.testing import CliRunner

from service import cli
from service.callers import GRANTED, read, token_hash
from service.cli.token import RoleName


def run(*words):
    return CliRunner().invoke(cli.app, ["token", "new", *words])


def test_a_new_token(tmp_path):
    """The token is the whole standard output; the entry on standard error, put into a file, makes its caller."""
    done = run("forecasting", "--role", "predict", "--role", "inspect", "--model", "sales-*", "--expires", "2099-12-31")
    assert done.exit_code == 0
    token = done.stdout.strip()
    assert "\n" not in token
    assert token not in done.stderr
    file = tmp_path / "callers.yaml"
    file.write_text("callers:\n" + done.stderr.partition("the callers file:")[2])
    file.chmod(0o600)
    (entry,) = read(file).entries
    assert (entry.name, entry.roles, entry.models) == ("forecasting", ("predict", "inspect"), ("sales-*",))
    assert entry.token_sha256 == token_hash(token)
    assert run("forecasting", "--role", "predict").stdout.strip() != token


def test_wrong_words():
    """A role that does not exist, a name or a day that the file could not have: refused, and no token is printed."""
    for words in (
        ["a", "--role", "operator"],
        ["a\nb", "--role", "predict"],
        ["a", "--role", "predict", "--expires", "x"],
    ):
        done = run(*words)
        assert done.exit_code != 0
        assert "unroll_" not in done.stdout


def test_every_role_can_be_given():
    """The roles of the command are those that an entry may have."""
    assert [role.value for role in RoleName] == [role.value for role in GRANTED]
