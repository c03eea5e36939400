"""service.logs: how much of what clients cause is logged."""

import logging

from service.logs import RateLimit


def test_rate_limit(caplog):
    """A place in the code logs so many records in a while; its next one says how many were left out."""
    limit = RateLimit(most=2, seconds=3600)
    logger = logging.getLogger("tests.rate_limit")
    logger.addFilter(limit)
    for number in range(5):
        logger.warning("here %d", number)
    logger.warning("elsewhere")
    assert caplog.messages == ["here 0", "here 1", "elsewhere"]


def test_left_out_is_counted(caplog):
    """What was left out is counted in the first record after the while."""
    limit = RateLimit(most=1, seconds=3600)
    logger = logging.getLogger("tests.rate_limit.counted")
    logger.addFilter(limit)
    for number in range(5):
        if number == 4:
            limit._seconds = 0.0
        logger.warning("here %d", number)
    assert caplog.messages == ["here 0", "here 4 (and 3 like this before, not logged)"]
