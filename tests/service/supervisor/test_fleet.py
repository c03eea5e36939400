"""The workers of a server: started, lost, hung, killed, replaced; and what is left of the server then."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from service.client import Client
from service.supervisor.cores import cpu_quota
from service.supervisor.slots import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_URGENT_SECONDS,
    QUICK_CRASH_SECONDS,
    pause_after,
)
from service.supervisor.watchdog import SILENT_SECONDS
from tests.service.support import R3_INPUTS, Load, Server, eventually, running, stopped

REFERENCE = "models:/fleet@champion"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_share_of_a_container(tmp_path, files, quota):
    """The limit is read as control groups of either version write it; none is none."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


LONG = QUICK_CRASH_SECONDS + 1


@pytest.mark.parametrize(
    ("served", "status", "longest"),
    [
        (LONG, -signal.SIGSEGV, 0.0),
        (1.0, -signal.SIGKILL, 0.0),
        (1.0, -signal.SIGTERM, 0.0),
        (1.0, 0, 0.0),
        (1.0, -signal.SIGSEGV, LONGEST_PAUSE_SECONDS),
        (0.0, 1, LONGEST_PAUSE_SECONDS),
        (0.0, None, LONGEST_PAUSE_SECONDS),
        (0.0, -signal.SIGKILL, LONGEST_URGENT_SECONDS),
    ],
)
def test_pause(served, status, longest):
    """A worker that served is replaced at once unless it crashed soon; the pause grows only while workers crash."""
    pauses = [0.0]
    for _ in range(12):
        pauses.append(pause_after(pauses[-1], served, status))
    assert pauses[1] == (FIRST_PAUSE_SECONDS if longest else 0.0)
    assert pauses[-1] == longest
    assert pauses == sorted(pauses)


@pytest.fixture(scope="module")
def fleet(registry):
    """The registry, with one model."""
    registry.register("fleet", "r3-1", "champion")
    return registry


def full(server):
    """The workers, once there are two that serve."""
    return eventually(lambda: len(found := server.workers()) == 2 and answers(server, found) and found, 60)


def answers(server, pids):
    """Whether each of these workers has listened on the port and answers."""
    port = int(server.address.rpartition(":")[2])
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            return False
        if not any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return False
    return True


def test_without_descriptors_workers_are_tried_again(fleet, tmp_path):
    """A worker that cannot be started for want of descriptors is started as soon as there are some."""
    with running(REFERENCE, cache=tmp_path, env=fleet.env, workers=2, poll=0.2) as (server, client):
        before = full(server)
        allowed = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        open_now = psutil.Process(server.process.pid).num_fds()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, allowed[1]))
        assert open_now > 3
        os.kill(before[0], signal.SIGKILL)
        server.logged("worker-. cannot be started: .*Too many open files", count=2)
        assert client.predict(R3_INPUTS).version == "1"
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, allowed)
        after = full(server)
        assert before[0] not in after
        assert before[1] in after


def test_a_server_without_workers_ends(fleet, tmp_path):
    """Where no worker can be had for a while the server ends with a line and a status of its own."""
    program = (
        "from service.supervisor import fleet; fleet.WORKERLESS_SECONDS = 2; "  # a minute, for those who have it
        "from service.cli import main; main()"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "serve",
        f"--model={REFERENCE}",
        f"--cache={tmp_path}",
        "--workers=2",
        "--poll=0.2",
    ]
    env = {**os.environ, "UNROLL_ADDRESS": "127.0.0.1:0", **fleet.env}
    server = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    log = []
    try:
        for line in server.stderr:
            log.append(line)
            if found := re.search(r"serving fleet version 1 on (\S+)", line):
                break
        with Client(found[1]) as client:
            before = client.model().confirmed_time.ToNanoseconds()
            eventually(lambda: client.model().confirmed_time.ToNanoseconds() > before)  # all is written
        workers = [child.pid for child in psutil.Process(server.pid).children()]
        allowed = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, allowed[1]))
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        rest = server.communicate(timeout=120)[1]
        assert server.returncode == 3, "".join(log) + rest
        last = rest.strip().splitlines()[-1]
        assert re.fullmatch(r"unroll: no worker could be had for \d+ s; the last reason: .*Too many open files", last)
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def served(fleet, tmp_path_factory):
    """A server with two workers, whose calls may compute for long."""
    with running(
        REFERENCE, cache=tmp_path_factory.mktemp("cache"), env=fleet.env,
        workers=2, poll=0.2, engine="numpy", max_computed=10**9,
    ) as (server, client):  # fmt: skip
        yield server, client


def test_a_worker_that_computes_is_left_alone(served):
    """A worker whose calls compute for longer than a silent one may live is not killed."""
    server, _ = served
    before = full(server)
    with Load(server.address, np.ones((4096, 200, 2), np.float32), threads=6) as load:
        begin = time.monotonic()
        eventually(lambda: time.monotonic() - begin > SILENT_SECONDS + 3, 60)
    assert load.failures == []
    assert full(server) == before


def test_a_stopped_worker_is_replaced(served, fleet):
    """A worker that hangs is killed and started anew; an alias is moved meanwhile, and all workers follow."""
    server, _ = served
    number = fleet.register("fleet", "r3-2")
    hung, healthy = full(server)
    os.kill(hung, signal.SIGSTOP)
    fleet.store.set_alias("fleet", "champion", number)
    try:
        server.logged(r"worker-\d hangs: it did not answer for 5 s")
        eventually(lambda: not psutil.pid_exists(hung))
        assert healthy in full(server)
        for _ in range(8):  # new connections reach both workers
            with Client(server.address) as client:
                eventually(lambda client=client: client.predict(R3_INPUTS).version == number)
    finally:
        fleet.store.set_alias("fleet", "champion", "1")


def test_a_change_beside_a_stopped_worker(served, fleet):
    """A change that waits for a worker which hangs is made when the watchdog has ended that worker."""
    server, client = served
    eventually(lambda: client.predict(R3_INPUTS).version == "1")
    number = fleet.register("fleet", "r3-3")
    with ExitStack() as open_clients:
        clients = {}  # by the worker that they reached
        while len(clients) < 2:
            more = open_clients.enter_context(Client(server.address, timeout=100))
            clients[reached(server, more)] = more
        hung, healthy = clients
        os.kill(hung, signal.SIGSTOP)
        assert clients[healthy].move_alias(number, expected_version="1", reason="r").version == number
        assert clients[healthy].predict(R3_INPUTS).version == number
    eventually(lambda: not psutil.pid_exists(hung))
    full(server)
    eventually(lambda: client.move_alias("1", expected_version=number, reason="r").version == "1")


def reached(server, client):
    """The worker that a new client is connected to."""

    def connected():
        ports = {c.laddr.port for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED}
        return {
            (pid, c.raddr.port)
            for pid in server.workers()
            for c in psutil.Process(pid).net_connections("tcp")
            if c.raddr and c.raddr.port in ports
        }

    before = connected()
    client.predict(R3_INPUTS)
    ((pid, _),) = connected() - before
    return pid


def test_a_server_that_stood_still_keeps_its_workers(served):
    """When the supervisor and its workers stood still together, nobody is killed for it."""
    server, client = served
    before = full(server)
    with stopped(server.process.pid, *before):
        time.sleep(SILENT_SECONDS + 2)  # as when the machine is paused
    eventually(client.health)
    begin = time.monotonic()
    eventually(lambda: time.monotonic() - begin > SILENT_SECONDS + 2)  # in which the watchdog would have acted
    assert full(server) == before


def test_workers_that_somebody_kills(served):
    """However often somebody killed the workers, they are back at once when that ends."""
    server, client = served
    begin = len(server.log)
    for _ in range(4):
        for pid in full(server):
            os.kill(pid, signal.SIGKILL)
    full(server)
    assert client.predict(R3_INPUTS).version == "1"
    pauses = [float(found[1]) for line in server.log[begin:] if (found := re.search(r"again in ([\d.]+) s", line))]
    assert pauses == [0.0] * 8


def test_hangup_replaces_the_workers(fleet, tmp_path):
    """On SIGHUP a server reads its tokens again, and no call fails while it replaces its workers one by one."""
    token = tmp_path / "token"
    token.write_text("old")
    with running(
        REFERENCE, cache=tmp_path / "cache", env=fleet.env, workers=2, operator_token_file=token
    ) as (server, client):  # fmt: skip
        before = full(server)
        token.write_text("new")
        with Load(server.address, R3_INPUTS) as load:
            server.process.send_signal(signal.SIGHUP)
            server.logged("reloaded: all workers are new", timeout=120)
            eventually(lambda: set(server.workers()).isdisjoint(before), 60)
        assert load.failures == []
        with Client(server.address, token="new") as operator:
            assert operator.move_alias("1", expected_version="1", reason="r").version == "1"
        token.write_text("")
        server.process.send_signal(signal.SIGHUP)
        server.logged(f"nothing is reloaded: {token} is empty")
        assert client.health()


def test_end_while_no_worker_starts(fleet, tmp_path):
    """A server none of whose workers starts ends at SIGTERM, with status 0."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os, sys\nif 'service.worker' in sys.orig_argv: os._exit(9)\n")
    env = fleet.env | {"PYTHONPATH": str(folder)}
    server = Server(REFERENCE, cache=tmp_path, env=env, workers=1)
    try:
        server.logged(r"worker-0 ended \(status 9\)", count=2)
        server.process.terminate()
        assert server.process.wait(20) == 0
    finally:
        server.stop()
