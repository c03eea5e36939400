"""service.callers: the file that says who may do what."""

import re

import pytest
import yaml

from service import records
from service.callers import ALL, GRANTED, Callers, Role, new_token, read, token_hash, written
from service.errors import InvalidArgumentError

HASH = token_hash("secret")


@pytest.fixture
def file(tmp_path):
    """Writes a file of callers that others cannot read."""

    def write(content):
        path = tmp_path / "callers.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        path.chmod(0o600)
        return path

    return write


def test_every_field(file):
    """A file with everything that an entry may have is read as it says, and travels as JSON."""
    found = read(
        file(
            {
                "callers": [
                    {
                        "name": "forecasting", "token_sha256": HASH, "roles": ["predict", "inspect"],
                        "models": ["sales-*"], "expires": "2027-01-31T12:00:00+01:00", "calls_per_second": 2.5,
                        "streams": 3,
                    },
                    {"name": "alice", "certificate": "alice.example.org", "roles": [role.value for role in GRANTED]},
                    {
                        "name": "ci",
                        "jwt": {"issuer": "https://i", "jwks": "/k.json", "audience": "unroll", "value": "repo:*"},
                        "roles": ["promote"],
                    },
                ],
                "anonymous": {"roles": ["observe"]},
            }
        )
    )  # fmt: skip
    assert records.from_json(records.to_json(found), Callers) == found
    assert found.listed
    assert found.anonymous == ("observe",)
    token, certificate, jwt = found.entries
    assert token.expires == 1801393200.0
    caller = token.caller()
    assert (caller.name, caller.how, caller.personal) == ("forecasting", "token", False)
    assert caller.roles == {Role.PREDICT, Role.INSPECT}
    assert [caller.may_use(name) for name in ("sales-x", "sales", "other")] == [True, False, False]
    assert (caller.calls_per_second, caller.streams) == (2.5, 3)
    assert certificate.caller().roles == ALL
    assert certificate.caller().personal
    assert jwt.jwt.claim == "sub"
    assert jwt.caller("ci:repo:a").name == "ci:repo:a"


def entry(**changes):
    """A file with one caller, right but for the changes."""
    return {"callers": [{"name": "a", "token_sha256": HASH, "roles": ["predict"], **changes}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("callers: [", "line 1"),
        ("[]", "a mapping with callers, anonymous is expected"),
        ("callers: {}", r"callers: dict is not what is expected"),
        ("surprise: 1", r"there is no 'surprise'"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ({"callers": [{"name": "a", "roles": []}]}, "one of token_sha256, certificate and jwt is expected"),
        (entry(certificate="b"), "one of token_sha256, certificate and jwt"),
        (entry(name=""), "callers[0].name: 1 to 100"),
        (entry(name="a\nb"), "callers[0].name: 1 to 100"),
        (entry(token_sha256="secret"), "64 hexadecimal digits"),
        (entry(roles=["operator"]), "there is no role 'operator'; there are observe, predict"),
        (entry(roles="predict"), "roles: str is not what is expected"),
        (entry(models=[1]), "models: a list of texts"),
        (entry(expires="tomorrow"), "expires: a day or a moment"),
        (entry(expires=True), "expires: bool is not"),
        (entry(calls_per_second=0), "calls_per_second: a number above 0"),
        (entry(streams=-1), "streams: a number above 0"),
        (entry(token=1), "there is no 'token'"),
        ({"callers": [{"name": "a", "jwt": {"issuer": "i", "jwks": "k"}, "roles": []}]}, "jwt.audience is missing"),
        ({"callers": entry()["callers"] * 2}, "two callers have the name a"),
        ({"callers": [entry()["callers"][0], entry(name="b")["callers"][0]]}, "two callers have the token_sha256"),
        ({"anonymous": {"roles": ["all"]}}, "there is no role 'all'"),
    ],
)
def test_errors_name_the_place(file, content, message):
    """What is wrong in a file is said with the file and the field, and nothing of it is executed."""
    path = file(content)
    with pytest.raises(InvalidArgumentError, match=re.escape(message) if "\\" not in message else message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_who_may_read_the_file(file, tmp_path):
    """A file that everybody can read is refused, one that is not there or too large too."""
    path = file(entry())
    for mode in (0o604, 0o602, 0o644):
        path.chmod(mode)
        with pytest.raises(InvalidArgumentError, match="chmod o-rwx"):
            read(path)
    path.chmod(0o640)
    assert read(path).entries
    with pytest.raises(InvalidArgumentError, match="No such file"):
        read(tmp_path / "nothing")
    with pytest.raises(InvalidArgumentError, match="larger than"):
        read(file("#" * 1_000_001))


def test_a_new_entry_can_be_added(file):
    """The lines that are printed for a new token, put under `callers:`, make the caller that shows that token."""
    token = new_token()
    lines = written("forecasting", token, [Role.PREDICT], ["sales-*"], "2027-01-31")
    assert token not in lines
    (found,) = read(file(f"callers:\n{lines}\n")).entries
    assert found.token_sha256 == token_hash(token)
    assert (found.name, found.roles, found.models) == ("forecasting", ("predict",), ("sales-*",))
    assert found.expires == pytest.approx(1801440000, abs=1)
