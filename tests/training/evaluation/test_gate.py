"""The gate: whether the alias moves."""

import pytest

from training.evaluation import gate
from training.options import Registration


@pytest.mark.parametrize(
    ("champion", "options", "promoted"),
    [
        (None, {}, True),
        (None, {"promote": "never"}, False),
        ((2.0, 1.9), {}, True),
        ((2.0, 2.0), {}, False),
        ((2.0, 2.1), {}, False),
        ((2.0, 2.1), {"promote": "always"}, True),
        ((2.0, 1.9), {"min_improvement": 0.1}, False),
        ((2.0, 1.7), {"min_improvement": 0.1}, True),
        ((0.0, 0.0), {}, False),
        ((None, None), {}, False),
    ],
)
def test_the_decision(champion, options, promoted):
    """The alias moves for a smaller error, smaller by enough, and where there is nobody to beat."""
    found = gate.Champion("7", *champion, "it is other") if champion else None
    decision = gate.decide(found, Registration(**options))
    assert decision.promoted is promoted
    assert decision.reason
