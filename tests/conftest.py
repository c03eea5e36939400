"""For all tests: no fixed ports; TensorFlow on the CPU and quiet, BLAS with one thread; long files first."""

import os

os.environ.update(
    CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"
)  # before NumPy or TensorFlow is imported
# Servers that tests start listen on no port by number, and log as for people: standard error is no terminal here.
os.environ.update(UNROLL_METRICS="off", UNROLL_LOG_FORMAT="text")

LONG = (
    "test_tutorial.py",
    "test_readme.py",
    "test_exactness.py",
    "test_topology.py",
    "test_job_on_files.py",
    "test_sweep.py",
    "test_versions.py",
)


def pytest_collection_modifyitems(items):
    """Puts files first that take a minute each: begun last, one would keep one process busy and the other idle."""
    items.sort(key=lambda item: item.path.name not in LONG)  # which leaves everything else in its order
