"""Windows as they are gathered."""

import numpy as np

from training.data.windows import Windows


def windows(starts, *, outputs=2, window=3, count=24):
    """Windows over the numbers from 0 on."""
    values = np.arange(count, dtype=np.float32)
    starts = np.array(starts)
    segments = (np.arange(count) >= 12).astype(np.int32)
    return Windows(values[:, None], values, starts, starts + window, window, outputs, 1, segments)


def test_windows_of_another_length_keep_their_targets():
    """A champion with longer windows is asked for the same targets, where there are rows enough of that series."""
    longer, fits = windows([0, 4, 12, 14]).reaching_back(5)
    assert fits.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(longer.expected(), windows([4, 14]).expected())
    np.testing.assert_array_equal(longer.inputs()[0, :, 0], [2, 3, 4, 5, 6])
