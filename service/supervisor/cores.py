"""The cores that this server may use, and how much of their time."""

import os
from pathlib import Path


def cores_available() -> list[int]:
    """The cores this process may use; empty where the platform cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cpu_quota(groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many cores' worth of time this container may use, as Docker and Kubernetes limit it; None: all there is."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # control groups version 2, 1
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
        except OSError:
            continue
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    return None
