"""training.data.layout: what a version says of the table that it was trained on."""

import numpy as np

from tests.training.data.tables import load, numbers, write
from training.data.layout import Layout
from training.options import Format, Source


def test_the_layout_says_what_was_done(tmp_path):
    """Window, treatment of gaps and missing values, and the usual step travel with the version."""
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str)
    path = write(tmp_path / "d.csv", t=days, y=numbers(100))
    layout = load(Source(path, target=("y",), time="t", window=4, missing="ffill", gaps="split"))[0].layout
    assert (layout.missing, layout.gaps, layout.step) == ("ffill", "split", 86400)
    seen = numbers(100)[:72]  # the part to train on, and what its last windows reach to
    (between,) = layout.ranges
    assert min(seen) <= between[0] + 1e-6
    assert between[1] <= max(seen) + 1e-6
    assert Layout.loads(layout.dumps()) == layout
    told = load(Source(path, target=("y",), time="t", window=4, delimiter=",", duplicates="last"))[0].layout
    assert Layout.loads(told.dumps()).format == Format(delimiter=",", duplicates="last")
    older = '{"features":["y"],"target":"y","window":4,"horizon":1,"classes":[],"time":"t","group":"","later":1}'
    assert Layout.loads(older) == Layout(("y",), "y", 4, 1, (), "t")
