"""service.logs: how much of what clients cause is logged, and for which call."""

import json
import logging

from service import current
from service.logs import CallIds, JsonLines, RateLimit


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


def test_lines_of_a_call():
    """A line that is written while a thread runs a call has the ids of the call, also where another process runs it."""
    logger, ids, form = logging.getLogger("tests.ids"), CallIds(), JsonLines("supervisor")

    def line():
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 1, "moved", (), None)
        ids.filter(record)
        return json.loads(form.format(record))

    with current.running(current.RemoteCall("an-id", "a" * 32, "00-…")):
        passed_on = json.loads(json.dumps(current.outline()))
    assert current.outline() is None
    with current.running(current.from_outline(passed_on)):
        found = line()
        assert (found["request_id"], found["trace_id"]) == ("an-id", "a" * 32)
        with current.running(None):
            assert "request_id" not in line()
    assert "request_id" not in line()
