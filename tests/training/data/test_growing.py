"""training.data.growing: long arrays lie in files, and what is made of them is what is made of short ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.tables import HOLES, load, numbers, write
from training.data import growing
from training.data.growing import Growing, blocks, pairs, release, taken
from training.options import Options, Source
from training.scaling import scaling_of


@pytest.fixture
def small(monkeypatch):
    """Every array lies in a file, and blocks are a few elements long."""
    monkeypatch.setattr(growing, "IN_MEMORY", 0)
    monkeypatch.setattr(growing, "BLOCK", 7)


@pytest.mark.parametrize("limit", [0, 100, 10**6])
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.sampled_from(["f4", "i8", "M8[us]", "bool"]), st.data())
@settings(max_examples=30, deadline=None)
def test_an_array_is_its_pieces(limit, sizes, kind, data):
    """Whatever its length, an array holds its pieces in order, can be changed, and keeps its values when let go of."""
    width = data.draw(st.sampled_from([(), (3,)]))
    pieces = [np.arange(size * int(np.prod(width, initial=1))).reshape(size, *width).astype(kind) for size in sizes]
    whole = np.concatenate(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "IN_MEMORY", limit)
        made = Growing()
        for piece in pieces:
            made.append(piece)
        found = made.array()
        assert (len(made), found.dtype, found.shape) == (len(whole), whole.dtype, whole.shape)
        found[: len(found) // 2] = found[::-1][: len(found) // 2]
        whole[: len(whole) // 2] = whole[::-1][: len(whole) // 2]
        release(found, None)
        np.testing.assert_array_equal(found, whole)
        order = np.random.default_rng(0).permutation(len(whole))
        for rows in (order, order % 2 == 0):
            np.testing.assert_array_equal(taken(found, rows), whole[rows])


def test_blocks_and_pairs_cover_everything_once(small):  # noqa: ARG001 - it makes blocks short
    """Blocks are all elements, and pairs of neighbours are all pairs, in order."""
    assert [i for block in blocks(50, 2) for i in range(50)[block]] == list(range(50))
    found = [(i, i + 1) for _, rows in pairs(50) for i in range(rows.start, rows.stop - 1)]
    assert found == [(i, i + 1) for i in range(49)]
    assert [i for block, _ in pairs(50) for i in range(49)[block]] == list(range(49))
    assert not list(pairs(1))


@pytest.mark.parametrize(
    "options",
    [
        {"missing": "ffill", "gaps": "split"},
        {"missing": "interpolate", "gaps": "keep", "horizon": 3},
        {"missing": "drop", "gaps": "split", "target": ("kind",)},
        {"missing": "ffill", "gaps": "split", "time": "", "group": "", "features": ("y",)},
    ],
)
def test_a_table_that_is_longer_than_memory_is_the_same_table(tmp_path, monkeypatch, options):
    """Order, gaps, missing values, parts, windows and scales do not depend on where arrays lie."""
    columns = {
        "t": [*range(50), *range(60, 110)] * 2,
        "place": ["b"] * 100 + ["a"] * 100,
        "y": [*HOLES, *numbers(100, seed=3)],
        "kind": ["wet" if value > 0 else "dry" for value in numbers(200, seed=4)],
    }
    mixed = np.random.default_rng(5).permutation(200)
    path = write(tmp_path / "t.csv", **{name: [column[i] for i in mixed] for name, column in columns.items()})
    source = Source(path, **{"target": ("y",), "time": "t", "group": "place", "window": 4, **options})
    expected, told = load(source)
    scales = scaling_of(Options(), expected)
    monkeypatch.setattr(growing, "IN_MEMORY", 0)
    monkeypatch.setattr(growing, "BLOCK", 7)
    examples, heard = load(source)
    assert (heard, examples.layout) == (told, expected.layout)
    for name, part in examples.parts.named().items():
        other = expected.parts.named()[name]
        for one, two in ((part.inputs(), other.inputs()), (part.expected(), other.expected())):
            np.testing.assert_array_equal(one, two)
    found = scaling_of(Options(), examples)
    np.testing.assert_allclose(found.sample, scales.sample, rtol=1e-12)
    assert (*found.scale, *found.offset) == pytest.approx((*scales.scale, *scales.offset), rel=1e-12)
