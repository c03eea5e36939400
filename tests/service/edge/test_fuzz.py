"""Sequences of frames that a fuzzer makes; `make fuzz` runs many more."""

import logging

from tests.fuzz.http2 import Target


def test_sequences_of_frames():
    """Right and wrong frames in any order: no exception, nothing left behind, and only whole frames in the answer."""
    target = Target()
    logging.disable(logging.CRITICAL)
    try:
        ended = [target.run(number) for number in range(2_000)]
    finally:
        logging.disable(logging.NOTSET)
        target.close()
    assert 0 < sum(ended) < len(ended)
