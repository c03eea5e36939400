"""What the Open Inference Protocol counts, where requests share forward passes and processes share the work."""

import json

import numpy as np

from service.model.results import Shared
from service.oip.repository import statistics_of
from service.serving.statistics import InferenceStatistics, total

KEY = "m", "1"


def test_a_shared_pass_is_counted_once():
    """Three requests in one pass are three answers and one execution, and waiting is no computing."""
    statistics = InferenceStatistics()
    for leads, rows in ((True, 1), (False, 2), (False, 1)):
        shared = Shared(sequences=4, leads=leads, waited_ns=0 if leads else 30)
        statistics.answered(KEY, (rows, 5), (0, 10, 110, 120), shared)
    statistics.answered(KEY, (4, 5), (0, 10, 110, 120))  # by itself
    statistics.failed(KEY, 7, ValueError())
    (count,) = total([statistics.to_json([KEY])]).values()
    message = statistics_of(KEY, count)
    assert (message.inference_count, message.execution_count) == (8, 2)
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in message.batch_stats] == [(4, 2, 200)]
    stats = message.inference_stats
    assert (stats.success.count, stats.success.ns) == (4, 480)
    assert (stats.fail.count, stats.fail.ns) == (1, 7)
    assert [d.ns for d in (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)] == [
        60, 40, 340, 40,
    ]  # fmt: skip


def test_processes_are_added_up():
    """What several processes counted is one sum by version, through JSON; versions that are gone are left out."""
    rows = []
    for size in (1, 3):
        statistics = InferenceStatistics()
        for key in (KEY, ("m", "2"), ("gone", "1")):
            statistics.answered(key, (size, 5), (0, 1, 2, 3))
        rows.append(json.loads(json.dumps(statistics.to_json([KEY, ("m", "2")]))))
    counts = total(rows)
    assert counts.keys() == {KEY, ("m", "2")}
    assert [(b.batch_size, b.compute_infer.count) for b in statistics_of(KEY, counts[KEY]).batch_stats] == [
        (1, 1),
        (3, 1),
    ]
    assert counts[KEY].sequences == 4


def test_batch_sizes_are_bounded():
    """Counting keeps no more than a line for each batch size, up to a bound; the totals stay right beyond it."""
    statistics = InferenceStatistics()
    for size in range(1, 400):
        statistics.answered(KEY, (size, 5), (0, 1, 2, 3))
    message = statistics_of(KEY, total([statistics.to_json([KEY])])[KEY])
    assert len(message.batch_stats) == 256
    assert message.execution_count == 399
    assert message.inference_count == np.arange(400).sum()
