"""service.supervisor.audit: a file that is only appended to, through rotation and full disks."""

import json
import os
import resource
import signal

import pytest

from service.supervisor.audit import AuditLog


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_are_appended(tmp_path):
    """Each record is one line of JSON after those that were there, and only its owner can read the file."""
    file = tmp_path / "folder" / "audit.jsonl"
    for number in range(2):
        log = AuditLog(file)
        log.write({"action": "MoveAlias", "number": number, "reason": "line\nbreak “quoted”"})
        log.close()
    assert [record["number"] for record in lines(file)] == [0, 1]
    assert lines(file)[0]["reason"] == "line\nbreak “quoted”"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_rotated(tmp_path):
    """After the file was moved away the next line begins a new one, and none is lost."""
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    log.write({"number": 1})
    file.rename(tmp_path / "audit.1")
    log.write({"number": 2})
    assert lines(tmp_path / "audit.1") == [{"number": 1}]
    assert lines(file) == [{"number": 2}]


@pytest.fixture
def full_disk():
    """Says how large files may become, as a disk without room would."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk(tmp_path, full_disk, monkeypatch):
    """Without room no line is cut; when there is room all are written in order, and how many did not fit in memory."""
    monkeypatch.setattr("service.supervisor.audit.MOST_WAITING", 3)
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    log.write({"number": 0})
    full_disk(os.stat(file).st_size + 5)
    for number in range(1, 6):
        log.write({"number": number})
    assert lines(file) == [{"number": 0}]
    full_disk(1_000_000)
    log.flush()
    assert lines(file) == [*({"number": n} for n in range(4)), {"action": "audit", "lost_lines": 2}]
    log.write({"number": 6})
    assert lines(file)[-1] == {"number": 6}


def test_a_folder_that_cannot_be_written(tmp_path):
    """A place where no file can be is refused at the start."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AuditLog(tmp_path / "file" / "audit.jsonl")
