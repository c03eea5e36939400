"""service.model.classes: which classes have the largest scores, and which labels fit an output."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import LimitExceededError
from service.model.classes import MOST_CLASSES, MOST_SCORES, labels_of, ranked
from service.model.tensors import STRING, TensorSpec

SCORES = arrays.arrays(
    st.sampled_from(["f2", "f4", "f8", "i4", "i8", "?"]), arrays.array_shapes(min_dims=2, max_dims=3, max_side=6)
)


@given(SCORES, st.integers(1, 8))
def test_the_largest_come_first(output, count):
    """Each row has the largest scores, in order; equal ones by index, NaN last; each with its own index."""
    found = ranked(output, count, (), "field")
    assert found.indices.shape == (*output.shape[:-1], min(count, output.shape[-1]))
    for row in np.ndindex(output.shape[:-1]):
        scores = [-np.inf if score != score else float(score) for score in output[row]]
        nan = [score != score for score in output[row]]
        expected = sorted(range(len(scores)), key=lambda i: (nan[i], -scores[i], i))[:count]
        assert found.indices[row].tolist() == expected
        assert np.array_equal(found.scores[row], output[row][expected], equal_nan=True)


def test_labels_go_with_their_indices():
    """Classes are listed row by row with label, index and score; without labels the label is empty."""
    output = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert list(ranked(output, 2, ("a", "b"), "")) == [("b", 1, 0.75), ("a", 0, 0.25), ("a", 0, 0.5), ("b", 1, 0.5)]
    assert list(ranked(output, 1, (), "")) == [("", 1, 0.75), ("", 0, 0.5)]


@pytest.mark.parametrize(
    ("shape", "count", "said"),
    [((1, MOST_SCORES + 1), 1, "scores in one output"), ((MOST_CLASSES // 2 + 1, 2), 2, "classes in one output")],
)
def test_bounds(shape, count, said):
    """More scores than are put in order, and more classes than are returned, are refused with both numbers."""
    with pytest.raises(LimitExceededError, match=f"top: .*{said}, the limit is") as refused:
        ranked(np.zeros(shape, np.float32), count, (), "top")
    assert refused.value.details["actual"] > refused.value.details["limit"]


@pytest.mark.parametrize(
    ("record", "labels"),
    [
        ("", ()),
        ('{"classes": ["a", "b", "c"]}', ("a", "b", "c")),
        ('{"classes": ["a", "b"]}', ()),
        ('{"classes": "abc"}', ("a", "b", "c")),
        ('{"classes": [1, 2, 3]}', ()),
        ('{"classes": 3}', ()),
        ("{}", ()),
        ("[]", ()),
        ("[" * 100_000, ()),
        ("nothing", ()),
    ],
)
def test_labels_of_a_record(record, labels):
    """Labels are those of the record if an output has as many classes; a record of somebody else's is left out."""
    specs = [("text", STRING, (None, 3)), ("plain", "f4", (None,)), ("scores", "f4", (None, None, 3))]
    outputs = [TensorSpec(name, np.dtype(dtype), shape) for name, dtype, shape in specs]
    assert labels_of(record, SimpleNamespace(outputs=outputs)) == labels
    assert labels_of(record, SimpleNamespace(outputs=outputs[:2])) == ()
