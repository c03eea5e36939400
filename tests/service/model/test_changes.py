"""service.model.changes: weights set, added to and scaled, whole or in slices."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model.changes import Change, ChangeKind, apply, changed_weights, touched
from tests.data.hostile import build

WEIGHTS = {"k": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(4, np.float32)}
ALL = (slice(None),) * 2


def make(kind, value, ranges=(), weight="k"):
    return Change(weight, kind, ranges, np.asarray(value, np.float32), "changes[0]")


@pytest.mark.parametrize(
    ("ranges", "selected"),
    [((), ALL), (((0, 0), (1, 3)), (slice(None), slice(1, 3))), (((2, 3), (0, 1)), (slice(2, 3), slice(0, 1)))],
)
@pytest.mark.parametrize(
    ("kind", "operation"),
    [(ChangeKind.SET, lambda _, v: v), (ChangeKind.ADD, np.add), (ChangeKind.SCALE, np.multiply)],
)
def test_what_is_selected_changes_and_nothing_else(kind, operation, ranges, selected):
    """Each kind of change does what NumPy does to the slice; the weights given stay as they are."""
    before = WEIGHTS["k"].copy()
    expected = before.copy()
    expected[selected] = operation(expected[selected], np.float32(3))
    (found,) = changed_weights(WEIGHTS, [make(kind, 3, ranges)]).values()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(WEIGHTS["k"], before)


def test_changes_go_in_order():
    """Of several changes of one weight the later sees what the earlier made."""
    new = changed_weights(WEIGHTS, [make(ChangeKind.SET, 2, weight="b"), make(ChangeKind.SCALE, 5, weight="b")])
    assert new["b"].tolist() == [10] * 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (make(ChangeKind.SET, [1, 2]), "changes[0].value.shape"),
        (make(ChangeKind.SET, 1, ((0, 1),)), "changes[0].ranges"),
        (make(ChangeKind.SET, 1, ((0, 4), (0, 1))), "changes[0].ranges[0]"),
        (make(ChangeKind.SET, 1, ((0, 1), (3, 2))), "changes[0].ranges[1]"),
        (make(ChangeKind.SCALE, 3e38), "changes[0].value"),
    ],
)
def test_what_does_not_fit(change, field):
    """A value of another shape, a range outside the weight and a result beyond the type are refused by field."""
    with pytest.raises(InvalidArgumentError) as caught:
        changed_weights(WEIGHTS, [change])
    assert caught.value.field == field


def test_cost():
    """What is touched counts what each change selects, and once for each weight that is copied."""
    assert touched(WEIGHTS, [make(ChangeKind.SET, 1, ((0, 1), (0, 2))), make(ChangeKind.ADD, 1)]) == 2 + 12 + 12


def test_a_network_is_not_changed(tmp_path):
    """Changes make another network; the one they are made of computes what it did."""
    build.write(tmp_path / "m.keras")
    network = keras_file.read(tmp_path / "m.keras")
    x = {"input": np.ones((1, 3, 2), np.float32)}
    before = network.forward(x).outputs["output"]
    other = apply(network, [Change("output/bias", ChangeKind.ADD, (), np.float32(2))])
    np.testing.assert_allclose(other.forward(x).outputs["output"], before + 2, atol=1e-6)
    np.testing.assert_array_equal(network.forward(x).outputs["output"], before)
