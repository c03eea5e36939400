"""service.supervisor.metrics: what the supervisor sees of processes and certificates."""

import os

import psutil
import pytest

from service.supervisor.metrics import Processes, SupervisorCounts, certificate_expiry, process_figures


def test_figures_of_a_process():
    """Memory, threads and start of a process are those that the system tells others; of none there are no figures."""
    figures, process = process_figures(os.getpid()), psutil.Process()
    assert figures["process_start_time_seconds"] == pytest.approx(process.create_time(), abs=2)
    assert figures["process_resident_memory_bytes"] == pytest.approx(process.memory_info().rss, rel=0.2)
    assert figures["process_cpu_seconds_total"] > 0
    assert process_figures(2**30) == {}


def test_processor_time_goes_on_when_a_worker_is_started_again():
    """The seconds of a process that ended stay in the count of its name."""
    processes, key = Processes(), ("process_cpu_seconds_total", ("worker-0",))
    first = processes.samples({"worker-0": os.getpid()})[key]
    processes.ended("worker-0")
    assert processes.samples({"worker-0": os.getpid()})[key] >= 2 * first


def test_a_start_is_no_restart():
    """The first start of a worker counts zero restarts, the next one."""
    counts, key = SupervisorCounts(), ("unroll_worker_restarts_total", ("worker-0",))
    counts.started("worker-0")
    assert counts.samples()[key] == 0
    counts.started("worker-0")
    assert counts.samples()[key] == 1


def test_the_end_of_a_certificate(certificates, tmp_path):
    """The moment is that of the certificate; a file without one, or a damaged one, has none."""
    from cryptography import x509

    file = certificates / "server.pem"
    expected = min(c.not_valid_after_utc.timestamp() for c in x509.load_pem_x509_certificates(file.read_bytes()))
    assert certificate_expiry(file) == expected
    (tmp_path / "torn.pem").write_bytes(file.read_bytes().replace(b"MII", b"MIA"))
    for none in (certificates / "server.key", tmp_path / "none.pem", tmp_path / "torn.pem"):
        assert certificate_expiry(none) == 0
