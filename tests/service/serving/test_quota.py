"""service.serving.quota: what callers hold at once."""

from contextlib import ExitStack

import pytest

from service.errors import LimitExceededError
from service.serving.quota import Quota


def test_of_one_and_of_all():
    """A caller has its own bound, and all have one together; what ends is given back, also after an error."""
    quota = Quota(5, 3, "things")
    with ExitStack() as stack:
        stack.enter_context(quota.take("a", 3))
        with pytest.raises(LimitExceededError, match="things of one caller in this worker: 4; the limit is 3"):
            stack.enter_context(quota.take("a"))
        stack.enter_context(quota.take("b", 2))
        with pytest.raises(LimitExceededError, match="things in this worker: 6; the limit is 5"):
            stack.enter_context(quota.take("c"))
        assert quota.held() == 5
    with pytest.raises(RuntimeError), quota.take("a"):
        raise RuntimeError
    assert quota.held() == 0
    assert not quota._held  # callers who left are forgotten
