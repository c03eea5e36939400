"""service.cli.literals: what people type."""

import numpy as np
import pytest

from service.cli.literals import parse_array, parse_change, parse_inputs
from service.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "weight", "operation", "ranges", "value"),
    [
        ("output/bias=[0.5]", "output/bias", "set", [], [0.5]),
        ("output/bias = 2", "output/bias", "set", [], 2),
        ("a/kernel+=[[1,2]]", "a/kernel", "add", [], [[1, 2]]),
        ("a/kernel*=1.1", "a/kernel", "scale", [], 1.1),
        ("a/kernel[0:1, 2:4]=[[5,6]]", "a/kernel", "set", [(0, 1), (2, 4)], [[5, 6]]),
        ("a/kernel[:,3]+=1", "a/kernel", "add", [(0, 0), (3, 4)], 1),
        ("my layer-2/forward/kernel[:2]=1", "my layer-2/forward/kernel", "set", [(0, 2)], 1),
    ],
)
def test_change(text, weight, operation, ranges, value):
    """A change names a weight, a slice of it, what to do, and a value."""
    change = parse_change(text)
    assert (change.weight, change.operation, list(change.ranges)) == (weight, operation, ranges)
    assert np.array_equal(change.value, value)


@pytest.mark.parametrize(
    "text", ["", "output/bias", "output/bias=", "=1", "a[x]=1", "a[1:]=2", "a=[[1],[2,3]]", 'a="x"']
)
def test_malformed_change(text):
    """What is no change is refused with the text that was typed."""
    with pytest.raises(InvalidArgumentError):
        parse_change(text)


def test_array_files(tmp_path):
    """Arrays come from .npy and .json files as well; a pickle inside is refused."""
    np.save(tmp_path / "x.npy", np.arange(3))
    (tmp_path / "x.json").write_text("[0, 1, 2]")
    np.save(tmp_path / "evil.npy", np.array([{}], object), allow_pickle=True)
    assert parse_array(f"@{tmp_path}/x.npy").tolist() == parse_array(f"@{tmp_path}/x.json").tolist() == [0, 1, 2]
    for bad in ("evil.npy", "none.json"):
        with pytest.raises(InvalidArgumentError):
            parse_array(f"@{tmp_path}/{bad}")


def test_named_inputs(tmp_path):
    """Several inputs come by name, from an object or an .npz file; one comes as before; what holds none is refused."""
    np.savez(tmp_path / "x.npz", x=np.ones((1, 2)), ids=np.arange(3))
    for text in ('{"x": [[1.0, 1.0]], "ids": [0, 1, 2]}', f"@{tmp_path}/x.npz"):
        found = parse_inputs(text)
        assert {name: array.tolist() for name, array in found.items()} == {"x": [[1, 1]], "ids": [0, 1, 2]}
    assert parse_inputs("[[1, 2]]").tolist() == [[1, 2]]
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    for bad in ('{"x": [[1], [2, 3]]}', '{"x": "y"}', f"@{tmp_path}/bad.npz", f"@{tmp_path}/none.npz"):
        with pytest.raises(InvalidArgumentError, match="not an array"):
            parse_inputs(bad)


def test_inputs_may_be_texts():
    """A list of strings is an array of texts; numbers among them are refused, and weights are never texts."""
    found = parse_inputs('[["a text"], ["another"]]')
    assert found.tolist() == [["a text"], ["another"]]
    for refused in ('["a", 1]', '{"x": ["a", [1]]}'):
        with pytest.raises(InvalidArgumentError, match="not an array"):
            parse_inputs(refused)
    with pytest.raises(InvalidArgumentError, match="not an array of numbers"):
        parse_array('["a"]')
