"""service.cli.formats: a table is read as the version's was, but for what the command line says."""

import pytest

from service.cli.formats import chosen
from service.errors import InvalidArgumentError
from training.options import Format


def test_what_is_given_replaces_what_the_version_knows():
    """Options on the command line replace those of training one by one; the others stay, and `tab` is a tab."""
    trained = Format(delimiter=";", decimal=",", time_format="%d/%m/%Y", duplicates="last")
    assert chosen(trained, None, None, None, None) == trained
    assert chosen(trained, "tab", "", None, "mean") == Format(
        delimiter="\t", decimal="", time_format="%d/%m/%Y", duplicates="mean"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"delimiter": "::"}, "delimiter: expected one character such as ';', or tab, got '::'"),
        ({"delimiter": "ü"}, "delimiter: expected one character"),
        ({"decimal": "·"}, "decimal: expected . or , and got '·'"),
        ({"time_format": "dd/mm/yyyy"}, "time_format: expected directives such as %d/%m/%Y, got 'dd/mm/yyyy'"),
        ({"duplicates": "first"}, "duplicates: expected error, mean, last; got 'first'"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line(given, message):
    """What is no mark, no format and no choice is refused, with what was expected and what arrived."""
    options = {"delimiter": None, "decimal": None, "time_format": None, "duplicates": None} | given
    with pytest.raises(InvalidArgumentError) as caught:
        chosen(Format(), **options)
    assert caught.value.message.startswith(message)
