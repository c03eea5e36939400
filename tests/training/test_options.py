"""training.options: what a network may be made of, and its record."""

import pytest

from service.errors import InvalidArgumentError
from tests.training.networks import CLASSES
from training.options import Options


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"units": (0,)}, "units"),
        ({"units": ()}, "units"),
        ({"dense_units": -1}, "dense_units"),
        ({"epochs": -1}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_numbers_out_of_range_are_refused(options, field):
    """A number that makes no sense is refused before anything is built, and the error names it."""
    with pytest.raises(InvalidArgumentError, match=f"^{field}: expected") as caught:
        Options(**options)
    assert caught.value.field == field


def test_the_record_of_a_run_names_the_loss_that_was_used():
    """Parameters for the record are the options as given, and the loss that was chosen where none was."""
    params = Options(units=(5,), **CLASSES).as_params()
    assert params["units"] == "5"
    assert params["loss"] == "sparse_categorical_crossentropy"
    assert set(params) == set(Options.__dataclass_fields__)
