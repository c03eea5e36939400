"""service.model.layers.options: what a layer's config may say."""

import pytest

from service.errors import UnsupportedModelError
from service.model.layers import options
from service.model.layers.options import choice, faults, parse, shown


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (options.flag(), [(True, True), (False, False)], [1, "true", None]),
        (options.size(), [(1, 1), (1 << 24, 1 << 24)], [0, -1, 1.0, True, (1 << 24) + 1, "1"]),
        (options.integer(-2, 2), [(-2, -2), (0, 0)], [-3, 3, False]),
        (options.number(), [(1, 1.0), (-0.5, -0.5)], [float("nan"), float("inf"), True, "1"]),
        (options.activation(), [(None, "linear"), ("tanh", "tanh")], ["no_such", 1, {}]),
        (options.optional(options.size()), [(None, None), (3, 3)], [0]),
        (options.sizes(2), [(3, (3, 3)), ([1, 2], (1, 2))], [[1], [1, 2, 3], [0, 1], "ab"]),
        (options.axes(), [(-1, (-1,)), ([1, 2], (1, 2))], [[1.0], 33, None]),
        (choice("valid", "same"), [("same", "same")], ["SAME", None, 1]),
        (choice(1), [(1, 1)], [True, 1.0]),
    ],
    ids=["flag", "size", "integer", "number", "activation", "optional", "sizes", "axes", "choice", "exact"],
)
def test_rules(rule, good, bad):
    """Each rule gives what it accepts in one form, and raises nothing but ValueError or TypeError for the rest."""
    for given, expected in good:
        assert rule.parse(given) == expected
    for given in bad:
        with pytest.raises((ValueError, TypeError)):
            rule.parse(given)


RULES = {"units": options.size(), "use_bias": options.flag(True)}


def test_missing_options_have_defaults():
    """An option that a config leaves out has its default; those of training alone are passed over."""
    config = {"units": 3, "kernel_initializer": {"class_name": "x"}, "name": "a"}
    assert parse(config, RULES, "layer a (Dense)", {"name"}) == {"units": 3, "use_bias": True}


def test_every_fault_is_found():
    """An unknown option, a missing one and a wrong value are each named with the layer; the first is raised."""
    config = {"use_bias": "yes", "strange": 1}
    found = [fault.message for fault in faults(config, RULES, "layer a (Dense)", ())]
    assert found == [
        "layer a (Dense): the option strange is not supported",
        "layer a (Dense): the option units is missing",
        "layer a (Dense): use_bias=yes is not supported; expected true or false",
    ]
    with pytest.raises(UnsupportedModelError, match="strange"):
        parse(config, RULES, "layer a (Dense)", ())


def test_what_is_shown_of_a_file_is_short_and_printable():
    """Values out of a file fit on one line, whatever they are."""
    assert shown({"class_name": "Wave", "config": {}}) == "Wave"
    assert shown(list(range(100))) == "a list of 100"
    assert shown("a\n\x1b[31mb") == "a��[31mb"
    assert len(shown("x" * 10_000)) == 80
