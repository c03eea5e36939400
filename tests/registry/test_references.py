"""Texts are references to registered models or they are refused; what is one is written back as it was read."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidReferenceError
from registry.references import Reference, is_number, parse

SAFE = string.ascii_letters + string.digits + "_-"
names = st.text(SAFE + ". ", min_size=1).filter(lambda name: not set(name) <= {".", " "})
aliases = st.text(SAFE, min_size=1, max_size=255)
numbers = st.integers(1, 999_999_999).map(str)
references = st.builds(Reference, names, version=numbers) | st.builds(Reference, names, alias=aliases)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("models:/reference@champion", Reference("reference", alias="champion")),
        ("models:/reference/12", Reference("reference", version="12")),
        ("models:/reference@12", Reference("reference", alias="12")),
        ("models:/reference@007", Reference("reference", alias="007")),
        ("models:/with spaces.and-dots_1/3", Reference("with spaces.and-dots_1", version="3")),
        ("models:/..a/1", Reference("..a", version="1")),
        ("models:/1/1", Reference("1", version="1")),
    ],
)
def test_text_means_a_name_with_a_version_or_an_alias(text, reference):
    """A number after a slash is a version, and digits after an at sign are an alias all the same."""
    assert parse(text) == reference


@given(references)
def test_a_reference_is_read_back_from_its_text(reference):
    """Every reference is what its own text is parsed to."""
    assert parse(str(reference)) == reference


@given(st.text() | st.text(SAFE + "./@:\n").map("models:/".__add__))
def test_any_text_is_a_reference_or_refused(text):
    """Whatever is typed is either refused with the one typed error or is the text of what it was parsed to."""
    try:
        reference = parse(text)
    except InvalidReferenceError:
        return
    assert str(reference) == text
    assert bool(reference.version) != bool(reference.alias)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reference",
        "reference@champion",
        "models:/",
        "models:/reference",
        "models:/reference/",
        "models:/reference@",
        "models:/@champion",
        "models://1",
        "models:/reference/0",
        "models:/reference/01",
        "models:/reference/-1",
        "models:/reference/1.0",
        "models:/reference/1234567890",
        "models:/reference/\N{SUPERSCRIPT TWO}",
        "models:/reference/\N{ARABIC-INDIC DIGIT THREE}",
        "models:/reference/1@champion",
        "models:/reference@champion/1",
        "models:/reference@champion@challenger",
        "models:/reference@cham pion",
        "models:/reference@" + "a" * 256,
        "models:/reference@champion\n",
        "models:/reference/1 ",
        " models:/reference/1",
        "Models:/reference/1",
        "models:/a/b/1",
        "models:/../1",
        "models:/. ./1",
        "models:/a\x00b/1",
        "models:/a%2Fb/1",
        "models:/m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller/1",
        "runs:/0123456789abcdef/model",
    ],
)
def test_malformed_text_is_refused(text):
    """Text that is no reference is refused with a sentence that quotes it and tells what is expected."""
    with pytest.raises(InvalidReferenceError) as caught:
        parse(text)
    assert str(caught.value) == f"{text!r} is not a reference; expected models:/NAME@ALIAS or models:/NAME/VERSION"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("models:/reference/latest", "models:/reference@ALIAS"),
        ("models:/reference/Production", "models:/reference@production"),
        ("models:/reference/staging", "models:/reference@staging"),
        ("models:/reference/None", "models:/reference@ALIAS"),
    ],
)
def test_what_mlflow_also_takes(text, instead):
    """MLflow's `latest` and stages are refused by name, with what to write instead."""
    with pytest.raises(InvalidReferenceError, match=instead) as caught:
        parse(text)
    assert "latest" in str(caught.value) or "stages" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds"), [("1", True), ("999999999", True), ("0", False), ("01", False), ("", False)]
)
def test_version_numbers(text, holds):
    """A version number has one form: digits, no leading zero, at most nine."""
    assert is_number(text) is holds
